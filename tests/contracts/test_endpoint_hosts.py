"""What every endpoint host promises in its port's docstring, one clause a test."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from emulators.aws_cloud import AwsCloud

from ragwright.endpoints import Endpoint, EndpointHost, EndpointSpec, EndpointStatus, Lease
from ragwright.endpoints.local import LocalHost
from ragwright.endpoints.sagemaker import SageMakerHost
from ragwright.errors import EndpointError, TimedOut
from ragwright.settings import load_settings

STANDIN = Path(__file__).resolve().parents[1] / "emulators" / "endpoint_server.py"


@dataclass(frozen=True)
class Stage:
    """A kind of host, and models that behave in known ways on it.

    Attributes:
        log: What a failed start quotes of the log, or where it says that the log is.
        reply: What the good model says to `{"inputs": ["a"]}`, as far as it can be told.
        incarnation: What tells an endpoint from an earlier one of the same name.
        prepare: Called with a model's name before it is deployed.
    """

    open: Callable[[], EndpointHost]
    good: str
    slow: str
    broken: str
    broken_reason: str
    log: str
    reply: Callable[[Any], bool]
    incarnation: Callable[[EndpointHost, str], object]
    prepare: Callable[[str], object] = field(default=lambda model: None)

    def spec(self, name: str = "minilm", model: str | None = None) -> EndpointSpec:
        self.prepare(model or self.good)
        return EndpointSpec(name=name, model=model or self.good, contract="tei")


@pytest.fixture(scope="module")
def cloud() -> Iterator[AwsCloud]:
    with AwsCloud(models="hashing") as cloud:
        yield cloud


@pytest.fixture(params=["local", "sagemaker"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    match request.param:
        case "local":
            stage = Stage(
                open=lambda: LocalHost(tmp_path, cache=tmp_path / "models", server=(sys.executable, str(STANDIN))),
                good="good",
                slow="slow-30",
                broken="crash-3",
                broken_reason="exit code 3",
                log="log line 99",
                reply=lambda reply: bool(reply["echo"] == {"inputs": ["a"]}),
                incarnation=serving_process,
            )
        case "sagemaker":
            stage = on_sagemaker(
                request.getfixturevalue("cloud"), request.getfixturevalue("monkeypatch"), home=tmp_path
            )
        case unknown:
            raise AssertionError(unknown)
    yield stage
    with stage.open() as host:
        for info in host.list():
            host.delete(info.name)


@pytest.fixture
def host(stage: Stage) -> Iterator[EndpointHost]:
    with stage.open() as host:
        yield host


def lease(minutes: float = 5, owner: str = "me") -> Lease:
    return Lease.lasting(owner=owner, minutes=minutes, run_id="run-1")


def on_sagemaker(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch, *, home: Path) -> Stage:
    cloud.reset()
    for variable, value in cloud.environment().items():
        monkeypatch.setenv(variable, value)
    models = ("hashing-384", "hashing-128", "hashing-64")
    (home / "presets.toml").write_text(
        "\n".join(
            f'[{model}]\nmodel = "{model}"\ncontract = "tei"\ncontainer = "tei-cpu"\n'
            f'image = "registry.example/tei-cpu:1"\ninstances = [{{ type = "ml.m5.xlarge" }}]\n'
            for model in models
        )
    )
    settings = load_settings(
        home=home,
        sagemaker={
            "role_arn": "arn:aws:iam::123456789012:role/containers",
            "scheduler_role_arn": "arn:aws:iam::123456789012:role/dead-mans-switch",
            "poll_seconds": 0.05,
        },
    )
    good, slow, broken = models

    def prepare(model: str) -> None:
        cloud.switches.start_seconds = 1 if model == slow else 0
        cloud.switches.failing_starts = {"broken": "no ping from the container"} if model == broken else {}

    return Stage(
        open=lambda: SageMakerHost(settings),
        good=good,
        slow=slow,
        broken=broken,
        broken_reason="no ping from the container",
        log="logsV2:log-groups/log-group/$252Faws$252Fsagemaker$252FEndpoints$252Fbroken",
        reply=lambda reply: [len(vector) for vector in reply] == [384],
        incarnation=lambda host, name: host.describe(name).created_at,
        prepare=prepare,
    )


def serving_process(host: EndpointHost, name: str) -> int:
    with host.connect(name) as endpoint:
        return int(endpoint.invoke({})["pid"])


def test_a_host_is_a_host(host: EndpointHost) -> None:
    assert isinstance(host, EndpointHost)


def test_deploy_does_not_wait_for_the_model(stage: Stage, host: EndpointHost) -> None:
    begun = time.monotonic()
    info = host.deploy(stage.spec(model=stage.slow), lease())
    assert time.monotonic() - begun < 5
    assert info.status is EndpointStatus.CREATING


def test_deploy_says_what_was_deployed_and_for_whom(stage: Stage, host: EndpointHost) -> None:
    wanted = lease()
    info = host.deploy(stage.spec(), wanted)
    assert (info.name, info.model, info.contract) == ("minilm", stage.good, "tei")
    assert (info.owner, info.run_id, info.lease_expires_at) == ("me", "run-1", wanted.expires_at)


def test_a_waited_for_endpoint_answers(stage: Stage, host: EndpointHost) -> None:
    host.deploy(stage.spec(), lease())
    [info] = host.wait(["minilm"], timeout=30)
    assert info.status is EndpointStatus.IN_SERVICE
    with host.connect("minilm", timeout=10) as endpoint:
        assert isinstance(endpoint, Endpoint)
        assert (endpoint.name, endpoint.contract) == ("minilm", "tei")
        assert stage.reply(endpoint.invoke({"inputs": ["a"]}))


def test_deploying_the_same_spec_twice_returns_the_same_endpoint(stage: Stage, host: EndpointHost) -> None:
    host.deploy(stage.spec(), lease())
    host.wait(["minilm"], timeout=30)
    first = stage.incarnation(host, "minilm")
    host.deploy(stage.spec(), lease())
    assert stage.incarnation(host, "minilm") == first
    assert [info.name for info in host.list()] == ["minilm"]


def test_deploying_again_extends_a_lease_that_would_end_sooner(stage: Stage, host: EndpointHost) -> None:
    host.deploy(stage.spec(), lease(5))
    longer = lease(50)
    assert host.deploy(stage.spec(), longer).lease_expires_at == longer.expires_at
    assert host.deploy(stage.spec(), lease(1)).lease_expires_at == longer.expires_at


def test_another_spec_under_a_taken_name_replaces_it(stage: Stage, host: EndpointHost) -> None:
    host.deploy(stage.spec(model=stage.slow), lease())
    host.deploy(stage.spec(), lease())
    [info] = host.wait(["minilm"], timeout=30)
    assert info.model == stage.good
    assert [info.model for info in host.list()] == [stage.good]


def test_two_hosts_that_deploy_at_once_get_one_endpoint(stage: Stage) -> None:
    barrier = threading.Barrier(4)
    found: list[object] = []

    def deploy() -> None:
        with stage.open() as host:
            barrier.wait()
            host.deploy(stage.spec(), lease())
            host.wait(["minilm"], timeout=30)
            found.append(stage.incarnation(host, "minilm"))

    threads = [threading.Thread(target=deploy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_wait_returns_in_the_order_of_the_names(stage: Stage, host: EndpointHost) -> None:
    for name in ("b", "a"):
        host.deploy(stage.spec(name), lease())
    assert [info.name for info in host.wait(["b", "a"], timeout=30)] == ["b", "a"]


def test_a_failed_start_is_reported_at_once_with_reason_and_log(stage: Stage, host: EndpointHost) -> None:
    host.deploy(stage.spec("fine"), lease())
    host.deploy(stage.spec("broken", stage.broken), lease())
    begun = time.monotonic()
    with pytest.raises(EndpointError, match="'broken'") as caught:
        host.wait(["fine", "broken"], timeout=60)
    assert time.monotonic() - begun < 20
    assert stage.broken_reason in str(caught.value)
    assert stage.log in str(caught.value)
    assert host.describe("broken").status is EndpointStatus.FAILED


def test_a_slow_start_times_out(stage: Stage, host: EndpointHost) -> None:
    host.deploy(stage.spec(model=stage.slow), lease())
    with pytest.raises(TimedOut, match="'minilm'"):
        host.wait(["minilm"], timeout=0.3)


@pytest.mark.parametrize("name", ["missing", "../escape", "", "a b", "x" * 64, "a/b", "-a", "a\n"])
def test_a_name_the_host_does_not_know_is_an_error(host: EndpointHost, name: str) -> None:
    for call in (host.describe, host.connect, lambda name: host.extend(name, datetime.now(UTC))):
        with pytest.raises(EndpointError):
            call(name)
    with pytest.raises(EndpointError):
        host.wait([name], timeout=1)


def test_extend_moves_the_end_of_a_lease_but_never_shortens_it(stage: Stage, host: EndpointHost) -> None:
    host.deploy(stage.spec(), lease(5))
    later = datetime.now(UTC) + timedelta(minutes=30)
    assert host.extend("minilm", later).lease_expires_at == later
    assert host.extend("minilm", later - timedelta(minutes=10)).lease_expires_at == later
    assert host.describe("minilm").lease_expires_at == later


def test_delete_returns_when_the_endpoint_is_gone(stage: Stage, host: EndpointHost) -> None:
    host.deploy(stage.spec(), lease())
    host.wait(["minilm"], timeout=30)
    assert host.delete("minilm") is True
    assert host.list() == []
    with pytest.raises(EndpointError):
        host.describe("minilm")


def test_deleting_a_missing_endpoint_succeeds(stage: Stage, host: EndpointHost) -> None:
    assert host.delete("minilm") is False
    host.deploy(stage.spec(), lease())
    host.delete("minilm")
    assert host.delete("minilm") is False


def test_an_endpoint_that_is_still_starting_can_be_deleted(stage: Stage, host: EndpointHost) -> None:
    host.deploy(stage.spec(model=stage.slow), lease())
    assert host.delete("minilm") is True
    assert host.list() == []


def test_list_shows_all_endpoints_or_one_owners_by_name(stage: Stage, host: EndpointHost) -> None:
    for name, owner in (("c", "me"), ("a", "you"), ("b", "me")):
        host.deploy(stage.spec(name, stage.slow), lease(owner=owner))
    assert [info.name for info in host.list()] == ["a", "b", "c"]
    assert [info.name for info in host.list(owner="me")] == ["b", "c"]
    assert host.list(owner="nobody") == []


def test_endpoints_outlive_the_host_that_deployed_them(stage: Stage) -> None:
    with stage.open() as first:
        first.deploy(stage.spec(), lease())
        first.wait(["minilm"], timeout=30)
        first_incarnation = stage.incarnation(first, "minilm")
    with stage.open() as second:
        [info] = second.wait(["minilm"], timeout=30)
        assert info.status is EndpointStatus.IN_SERVICE
        assert stage.incarnation(second, "minilm") == first_incarnation


def test_an_endpoint_can_be_deployed_again_after_its_deletion(stage: Stage, host: EndpointHost) -> None:
    host.deploy(stage.spec(), lease())
    host.wait(["minilm"], timeout=30)
    first = stage.incarnation(host, "minilm")
    host.delete("minilm")
    host.deploy(stage.spec(), lease())
    host.wait(["minilm"], timeout=30)
    assert stage.incarnation(host, "minilm") != first


def test_reap_removes_what_is_past_its_lease_whoever_owns_it_and_nothing_else(stage: Stage, host: EndpointHost) -> None:
    for name, owner, minutes in (("a", "me", 5), ("b", "you", 5), ("c", "me", 500)):
        host.deploy(stage.spec(name), lease(minutes, owner))
    assert list(host.reap(datetime.now(UTC))) == []
    assert sorted(host.reap(datetime.now(UTC) + timedelta(minutes=60))) == ["a", "b"]
    assert [info.name for info in host.list()] == ["c"]
    assert list(host.reap(datetime.now(UTC) + timedelta(minutes=60))) == []


def test_removers_may_be_at_one_endpoint_at_once(stage: Stage, host: EndpointHost) -> None:
    host.deploy(stage.spec(), lease())
    barrier = threading.Barrier(4)

    def remove(by: str) -> object:
        with stage.open() as own:
            barrier.wait()
            return own.delete("minilm") if by == "owner" else own.reap(datetime.now(UTC) + timedelta(minutes=60))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(remove, ["owner", "janitor"] * 2))
    assert host.list() == []
    assert list(host.reap(datetime.now(UTC) + timedelta(minutes=60))) == [], "nothing is left"
