"""Calls through the SageMaker runtime: their limits, their errors, and fewer at once when asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from emulators.aws_cloud import AwsCloud

from ragwright.endpoints import Endpoint, EndpointSpec, Lease, open_endpoint, open_host
from ragwright.endpoints.sagemaker_runtime import MAX_PAYLOAD_BYTES, SageMakerEndpoint
from ragwright.errors import (
    BadReply,
    ConfigurationError,
    NoSuchOperation,
    PayloadTooLarge,
    RagwrightError,
    RequestRejected,
    Throttled,
    TimedOut,
    Unavailable,
)
from ragwright.generation import EndpointGenerator, Generation, Message
from ragwright.models import get_model
from ragwright.settings import Settings


@pytest.fixture
def settings(cloud: AwsCloud, on_sagemaker: Callable[..., Settings]) -> Settings:
    settings = on_sagemaker()
    with open_host(settings) as host:
        lease = Lease.lasting(owner="me", minutes=60)
        host.deploy(EndpointSpec(name="minilm", model="hashing-384", contract="tei"), lease)
        host.wait(["minilm"], timeout=20)
    return settings


@pytest.fixture
def endpoint(settings: Settings) -> Iterator[SageMakerEndpoint]:
    with open_endpoint("minilm", "tei", settings) as endpoint:
        assert isinstance(endpoint, SageMakerEndpoint)
        yield endpoint


def test_an_endpoint_is_opened_by_its_name_and_contract(endpoint: SageMakerEndpoint, settings: Settings) -> None:
    assert isinstance(endpoint, Endpoint)
    assert (endpoint.name, endpoint.contract, endpoint.max_payload_bytes) == ("minilm", "tei", MAX_PAYLOAD_BYTES)
    assert [len(vector) for vector in endpoint.invoke({"inputs": ["one", "two"]})] == [384, 384]
    with pytest.raises(ConfigurationError, match="speaks 'tei'"):
        open_endpoint("minilm", "tgi", settings)


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (429, b'{"error": "Model is overloaded", "error_type": "overloaded"}', Throttled, "429: Model is overloaded"),
        (503, b"no workers", Unavailable, "503: no workers"),
        (500, b'{"error": {"message": "CUDA"}}', Unavailable, "500: .*CUDA"),
        (424, b'{"error": "Request failed during generation"}', Unavailable, "424: Request failed"),
        (413, b'{"error": "batch too large"}', PayloadTooLarge, "413: batch too large"),
        (422, b'{"error": "inputs must have less than 512 tokens"}', RequestRejected, "422: inputs must"),
        (400, b'{"code": 400, "message": "bad input"}', RequestRejected, "400: bad input"),
        (404, b"nothing here", NoSuchOperation, "404: nothing here"),
        (200, b"<html>", BadReply, "no JSON: '<html>'"),
        (200, b" " * (MAX_PAYLOAD_BYTES + 1), PayloadTooLarge, "over the limit"),
    ],
)
def test_what_a_container_says_decides_whether_to_try_again(
    cloud: AwsCloud, endpoint: SageMakerEndpoint, status: int, body: bytes, error: type[RagwrightError], said: str
) -> None:
    cloud.switches.replies.append((status, body))
    with pytest.raises(error, match=said) as caught:
        endpoint.invoke({"inputs": ["a"]})
    assert type(caught.value) is error
    assert "minilm" in str(caught.value)


def test_numbers_that_are_none_are_passed_on(cloud: AwsCloud, endpoint: SageMakerEndpoint) -> None:
    cloud.switches.replies.append((200, b"[[NaN]]"))
    [[number]] = endpoint.invoke({"inputs": ["a"]})
    assert number != number  # noqa: PLR0124 - only NaN does that


def test_a_container_that_takes_too_long_times_out(cloud: AwsCloud, endpoint: SageMakerEndpoint) -> None:
    cloud.switches.invoke_seconds, cloud.switches.model_delay = 0.1, 1
    with pytest.raises(TimedOut, match="timed out"):
        endpoint.invoke({"inputs": ["a"]})


def test_a_caller_that_waits_less_times_out_earlier(cloud: AwsCloud, settings: Settings) -> None:
    cloud.switches.model_delay = 1
    with open_host(settings) as host, host.connect("minilm", timeout=0.1) as endpoint, pytest.raises(TimedOut):
        endpoint.invoke({"inputs": ["a"]})


def test_an_endpoint_that_is_gone_is_not_tried_again(endpoint: SageMakerEndpoint, settings: Settings) -> None:
    with open_host(settings) as host:
        host.delete("minilm")
    with pytest.raises(RequestRejected, match=r"not found.*endpoints up"):
        endpoint.invoke({"inputs": ["a"]})


def test_missing_permission_and_throttling_are_told_apart(cloud: AwsCloud, endpoint: SageMakerEndpoint) -> None:
    cloud.throttle("sagemaker:InvokeEndpoint", 1.0)
    with pytest.raises(Throttled):
        endpoint.invoke({"inputs": ["a"]})
    cloud.deny("sagemaker:InvokeEndpoint")
    with pytest.raises(RequestRejected, match=r"AccessDenied.*deploy/iam"):
        endpoint.invoke({"inputs": ["a"]})


def test_too_much_is_refused_before_it_is_sent(cloud: AwsCloud, endpoint: SageMakerEndpoint) -> None:
    with pytest.raises(PayloadTooLarge, match="6,291,456"):
        endpoint.invoke({"inputs": ["a" * MAX_PAYLOAD_BYTES]})
    assert ("sagemaker", "InvokeEndpoint") not in cloud.calls


def test_a_payload_that_is_no_json_is_refused(endpoint: SageMakerEndpoint) -> None:
    with pytest.raises(RequestRejected, match="no JSON"):
        endpoint.invoke({"inputs": [float("nan")]})


def test_there_is_no_other_operation(endpoint: SageMakerEndpoint) -> None:
    with pytest.raises(NoSuchOperation, match="'embed_all'"):
        endpoint.invoke({"inputs": ["a"]}, operation="embed_all")


def test_fewer_requests_go_out_at_once_after_throttling(cloud: AwsCloud, endpoint: SageMakerEndpoint) -> None:
    cloud.switches.most_at_once, cloud.switches.model_delay = 2, 0.02
    throttled, lock = 0, threading.Lock()

    def send(_: int) -> None:
        nonlocal throttled
        while True:
            try:
                endpoint.invoke({"inputs": ["a"]})
            except Throttled:
                with lock:
                    throttled += 1
            else:
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(48)))
    assert 1 <= throttled <= 48
    assert endpoint.limiter.limit <= 4
    cloud.switches.most_at_once = None
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(48)))
    assert endpoint.limiter.limit > 4


def test_a_server_that_cannot_be_reached_is_unavailable(
    cloud: AwsCloud, endpoint: SageMakerEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "http://127.0.0.1:9")
    with pytest.raises(Unavailable):
        endpoint.invoke({"inputs": ["a"]})


def test_the_licence_is_accepted_with_every_call_that_wants_it(cloud: AwsCloud, endpoint: SageMakerEndpoint) -> None:
    accepting = SageMakerEndpoint("minilm", "tei", accept_eula=True, timeout=1)
    sent: list[str] = []
    client = accepting._aws.client("sagemaker-runtime")
    client.meta.events.register("before-send.*", lambda request, **_: sent.append(str(request.headers)))
    with accepting, suppress(RagwrightError):
        accepting.invoke({"inputs": ["a"]})
    assert "accept_eula=true" in sent[0]


@pytest.fixture
def talker(settings: Settings) -> Iterator[EndpointGenerator]:
    """A language model on SageMaker."""
    with open_host(settings) as host:
        lease = Lease.lasting(owner="me", minutes=60)
        host.deploy(EndpointSpec(name="talker", model="flan-t5-xl", contract="tgi"), lease)
        host.wait(["talker"], timeout=20)
    with open_endpoint("talker", "tgi", settings) as endpoint:
        yield EndpointGenerator(endpoint, get_model("flan-t5-xl"), settings.generation)


def told(talker: EndpointGenerator) -> list[str | Generation]:
    return list(talker.stream([Message("user", "Say\none two thr\u00e9\u00e9")], max_new_tokens=20))


@pytest.mark.parametrize("part_bytes", [None, 1, 13])
def test_a_reply_comes_in_pieces_however_its_parts_are_cut(
    cloud: AwsCloud, talker: EndpointGenerator, part_bytes: int | None
) -> None:
    cloud.switches.part_bytes = part_bytes
    *pieces, whole = told(talker)
    assert pieces == ["one", " two", " thr\u00e9\u00e9"]
    assert whole == talker.generate([Message("user", "Say\none two thr\u00e9\u00e9")], max_new_tokens=20)


@pytest.mark.parametrize("fault", ["ModelStreamError", "InternalStreamFailure", ""])
def test_a_stream_that_breaks_off_says_so_and_shows_nothing_as_whole(
    cloud: AwsCloud, talker: EndpointGenerator, fault: str
) -> None:
    cloud.switches.break_stream_after = (1, fault)
    seen: list[object] = []
    with pytest.raises(Unavailable, match="broke off") as caught:
        seen.extend(talker.stream([Message("user", "Say\none two three")], max_new_tokens=20))
    assert seen == ["one"]
    assert "talker" in str(caught.value.place)
    assert "Ask again" in str(caught.value.hint)
    cloud.switches.break_stream_after = None
    assert told(talker)[0] == "one"


def test_a_container_that_does_not_stream_is_read_whole(cloud: AwsCloud, talker: EndpointGenerator) -> None:
    cloud.switches.replies.append((200, b'[{"generated_text": "one two"}]'))
    assert told(talker)[0] == "one two"
    cloud.switches.replies.append((422, b'{"error": "stream is not supported"}'))
    assert told(talker)[0] == "one two thr\u00e9\u00e9"


def test_what_a_container_refuses_before_the_first_part_is_told_as_ever(
    cloud: AwsCloud, talker: EndpointGenerator
) -> None:
    cloud.switches.replies.append((429, b'{"error": "Model is overloaded"}'))
    with pytest.raises(Throttled, match="overloaded"):
        told(talker)
    cloud.deny("sagemaker:InvokeEndpoint")
    with pytest.raises(RequestRejected, match="AccessDenied"):
        told(talker)
