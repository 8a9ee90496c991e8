"""The endpoint embedder against a server that misbehaves: nothing wrong is ever passed on as a vector."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulators.model_server import ModelServer, Raw, serve
from hypothesis import given
from hypothesis import strategies as st

from ragwright.embedding import EndpointEmbedder, HashingEmbedder, open_embedder, plan_batches
from ragwright.endpoints import Contract
from ragwright.endpoints.http import HttpEndpoint
from ragwright.errors import (
    BadReply,
    ConfigurationError,
    RagwrightError,
    RequestRejected,
    Throttled,
    TimedOut,
    TransientError,
    Unavailable,
)
from ragwright.hashing import hash_embed
from ragwright.model_settings import EmbeddingSettings
from ragwright.models import ModelInfo, get_model, load_tokenizer
from ragwright.settings import load_settings

DIMENSION = 16
MODEL = get_model(f"hashing-{DIMENSION}")
POOLED = MODEL.model_copy(update={"pooling": "mean"})


def right_vectors(texts: list[str]) -> list[list[float]]:
    return hash_embed(texts, DIMENSION).tolist()


def honest_tei(payload: dict[str, Any]) -> Any:
    return right_vectors(payload["inputs"])


def honest_openai(payload: dict[str, Any]) -> Any:
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(right_vectors(payload["input"]))]
    return {"object": "list", "data": data}


def honest_features(payload: dict[str, Any]) -> Any:
    """Every token gets the text's vector; padding gets rubbish."""
    counts = [len(encoded) for encoded in tokenizer().encode_batch(payload["inputs"])]
    rubbish = [[9.0] * DIMENSION] * (max(counts) + 3)
    vectors = right_vectors(payload["inputs"])
    return [[vector] * count + rubbish[count:] for vector, count in zip(vectors, counts, strict=True)]


def tokenizer() -> Any:
    return load_tokenizer(MODEL.name, cache=Path())


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve(honest_tei) as server:
        yield server


def embedder(
    server: ModelServer,
    contract: Contract = "tei",
    *,
    model: ModelInfo | None = None,
    timeout: float = 10,
    **options: Any,
) -> EndpointEmbedder:
    model = model or (POOLED if contract == "hf-feature-extraction" else MODEL)
    endpoint = HttpEndpoint("minilm", server.url, contract, timeout=timeout)
    return EndpointEmbedder(endpoint, model, tokenizer(), EmbeddingSettings(**options))


def texts(count: int) -> list[str]:
    return [f"text {i} " + "word " * (i * 7 % 23) for i in range(count)]


@pytest.mark.parametrize(
    "options", [{}, {"batch_texts": 1}, {"batch_texts": 3, "concurrency": 1}, {"batch_tokens": 32}]
)
def test_vectors_come_in_the_order_of_the_texts(server: ModelServer, options: dict[str, int]) -> None:
    with embedder(server, **options) as model:
        vectors = model.embed(texts(40))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, hash_embed(texts(40), DIMENSION), atol=1e-6)


def test_no_texts_give_no_vectors_and_ask_nobody(server: ModelServer) -> None:
    with embedder(server) as model:
        assert model.embed([]).shape == (0, DIMENSION)
    assert not server.asked


def test_a_text_over_the_limit_is_named_before_anything_is_sent(server: ModelServer) -> None:
    with embedder(server) as model, pytest.raises(RequestRejected, match=r"text 1 has 257 tokens.* 256"):
        model.embed(["short", "word " * 257, "word " * 300])
    assert not server.asked


def test_requests_stay_within_the_budgets_and_the_limit_on_flight() -> None:
    def slow(payload: dict[str, Any]) -> Any:
        time.sleep(0.02)
        return honest_tei(payload)

    with serve(slow) as server, embedder(server, batch_texts=4, batch_tokens=64, concurrency=3) as model:
        model.embed(texts(60))
        counts = [model.count_tokens(request["inputs"]) for request in server.asked]
    assert all(len(count) <= 4 and len(count) * count.max() <= 64 for count in counts)
    assert server.most_at_once == 3


def bad(change: Any) -> Any:
    return lambda payload: change(right_vectors(payload["inputs"]))


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (bad(lambda vectors: vectors[:-1]), BadReply, "4 vectors came back for 5 texts"),
        (bad(lambda vectors: [*vectors, vectors[0]]), BadReply, "6 vectors came back for 5 texts"),
        (bad(lambda vectors: [vector[:-1] for vector in vectors]), BadReply, "15 dimensions"),
        (bad(lambda vectors: [vectors[0][:-1], *vectors[1:]]), BadReply, "differ in length"),
        (bad(lambda vectors: [[float("nan"), *vectors[0][1:]], *vectors[1:]]), BadReply, "vector 0 .*not finite"),
        (bad(lambda vectors: [*vectors[:-1], [float("inf")] * DIMENSION]), BadReply, "vector 4 .*not finite"),
        (bad(lambda vectors: [[None, *vectors[0][1:]], *vectors[1:]]), BadReply, "expected numbers"),
        (bad(lambda vectors: [[str(x) for x in vector] for vector in vectors]), BadReply, "expected numbers"),
        (bad(lambda vectors: [*vectors[:-1], [0.0] * DIMENSION]), BadReply, "has no length"),
        (bad(lambda vectors: {"vectors": vectors}), BadReply, "expected a list"),
        (bad(lambda _: None), BadReply, "expected a list"),
        (lambda _: Raw(b"<html>gateway</html>"), BadReply, "<html>"),
        (lambda _: Raw(b"[[0.1, 0.2", promised=5000), TransientError, "minilm"),
        (lambda _: Raw(b'{"error": "overloaded"}', 429, {"Retry-After": "7"}), Throttled, "overloaded"),
        (lambda _: Raw(b'{"error": "boom"}', 500), Unavailable, "boom"),
        (lambda _: Raw(b'{"error": "no such model"}', 404), RequestRejected, "no such model"),
    ],
)
def test_a_reply_that_breaks_the_contract_is_refused(reply: Any, error: type[RagwrightError], words: str) -> None:
    with serve(reply) as server, embedder(server) as model, pytest.raises(error, match=words) as caught:
        model.embed(texts(5))
    assert "endpoint minilm" in str(caught.value)
    if isinstance(caught.value, Throttled):
        assert caught.value.retry_after == 7
    assert len(server.asked) == 1  # who retries is decided above


def test_a_server_that_does_not_answer_in_time_is_timed_out() -> None:
    late = Raw(b"[]", delay=0.5)
    with serve(lambda _: late) as server, embedder(server, timeout=0.1) as model, pytest.raises(TimedOut):
        model.embed(["text"])


@pytest.mark.parametrize(
    "refusal",
    [
        Raw(b'{"error": "Batch size error"}', 413),
        Raw(b'{"error": "CUDA out of memory. Tried to allocate 2 GiB"}', 424),
        Raw(b'{"error": "torch.OutOfMemoryError"}', 500),
    ],
)
def test_a_request_too_large_is_halved_until_it_fits(refusal: Raw) -> None:
    def reply(payload: dict[str, Any]) -> Any:
        return refusal if len(payload["inputs"]) > 3 else honest_tei(payload)

    with serve(reply) as server, embedder(server) as model:
        vectors = model.embed(texts(50))
    np.testing.assert_allclose(vectors, hash_embed(texts(50), DIMENSION), atol=1e-6)


def test_one_text_that_is_too_large_by_itself_is_named() -> None:
    def reply(payload: dict[str, Any]) -> Any:
        return Raw(b"{}", 413) if "huge" in str(payload["inputs"]) else honest_tei(payload)

    with serve(reply) as server, embedder(server) as model, pytest.raises(RequestRejected, match="text 17 "):
        model.embed([*texts(17), "huge", *texts(3)])


def test_the_first_error_stops_what_has_not_been_sent() -> None:
    first = threading.Event()

    def reply(payload: dict[str, Any]) -> Any:
        if not first.is_set():
            first.set()
            return Raw(b'{"error": "boom"}', 500)
        time.sleep(0.05)
        return honest_tei(payload)

    with serve(reply) as server, embedder(server, batch_texts=1, concurrency=2) as model:
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="boom"):
            model.embed(texts(100))
        assert time.monotonic() - begun < 1
        assert len(server.asked) < 20


def test_a_thread_whose_request_failed_takes_up_no_other() -> None:
    with serve(lambda _: Raw(b"no", 400)) as server, embedder(server, batch_texts=1, concurrency=1) as model:
        for tries in range(1, 21):  # the caller hears of the error in another thread, now sooner, now later
            with pytest.raises(RequestRejected):
                model.embed(texts(40))
            assert len(server.asked) == tries


def test_groups_come_one_after_another_each_as_if_alone(server: ModelServer) -> None:
    groups = [texts(7), [], texts(1), texts(30), ["one more"]]
    with embedder(server, batch_texts=4) as model:
        found = list(model.embed_each(groups))
    assert [len(vectors) for vectors in found] == [7, 0, 1, 30, 1]
    for group, vectors in zip(groups, found, strict=True):
        np.testing.assert_allclose(vectors, hash_embed(group, DIMENSION), atol=1e-6)


def test_the_next_group_is_on_its_way_before_the_last_is_answered() -> None:
    arrived = threading.Event()

    def reply(payload: dict[str, Any]) -> Any:
        if "second" in payload["inputs"]:
            arrived.set()
        elif payload["inputs"] == ["first"]:
            assert arrived.wait(10), "nobody asked for the second group while the first was under way"
        return honest_tei(payload)

    with serve(reply) as server, embedder(server, concurrency=2) as model:
        assert [len(vectors) for vectors in model.embed_each([["first"], ["second"]])] == [1, 1]
    assert arrived.is_set()


def test_no_more_than_two_groups_are_taken_at_a_time(server: ModelServer) -> None:
    taken = []

    def groups() -> Iterator[list[str]]:
        for number in range(6):
            taken.append(number)
            yield texts(3)

    with embedder(server) as model:
        ahead = [len(taken) - given for given, _ in enumerate(model.embed_each(groups()))]
    assert ahead == [2, 2, 2, 2, 2, 1]


@pytest.mark.parametrize("wrong", ["word " * 300, "the server refuses this"])
def test_what_goes_wrong_with_a_group_is_raised_in_its_turn(wrong: str) -> None:
    def reply(payload: dict[str, Any]) -> Any:
        return Raw(b"no", 400) if "refuses" in str(payload["inputs"]) else honest_tei(payload)

    with serve(reply) as server, embedder(server, batch_texts=1, concurrency=1) as model:
        vectors = model.embed_each([texts(5), [*texts(5), wrong], texts(200)])
        assert len(next(vectors)) == 5
        with pytest.raises(RequestRejected):
            next(vectors)
        asked = len(server.asked)
        assert model.embed(["goes on"]).shape == (1, DIMENSION)
        assert len(server.asked) - asked <= 2
    assert asked < 100


def test_who_wants_no_more_groups_stops_what_has_not_been_sent() -> None:
    def slow(payload: dict[str, Any]) -> Any:
        time.sleep(0.02)
        return honest_tei(payload)

    with serve(slow) as server, embedder(server, batch_texts=1, concurrency=2) as model:
        vectors = model.embed_each([["first"], texts(200)])
        next(vectors)
        assert isinstance(vectors, Generator)
        vectors.close()
        time.sleep(0.2)
        asked = len(server.asked)
        time.sleep(0.2)
        assert len(server.asked) == asked < 20


def test_a_request_that_failed_stops_the_next_group_too() -> None:
    with serve(lambda _: Raw(b"no", 400)) as server, embedder(server, batch_texts=1, concurrency=1) as model:
        for tries in range(1, 21):
            with pytest.raises(RequestRejected):
                next(model.embed_each([texts(1), texts(40)]))
            assert len(server.asked) == tries


def test_an_embedder_goes_on_after_an_error() -> None:
    replies = iter([Raw(b"{}", 500)])
    with serve(lambda payload: next(replies, None) or honest_tei(payload)) as server, embedder(server) as model:
        with pytest.raises(Unavailable):
            model.embed(texts(3))
        assert model.embed(texts(3)).shape == (3, DIMENSION)


def test_openai_vectors_are_put_in_the_order_of_their_indices() -> None:
    def reply(payload: dict[str, Any]) -> Any:
        right = honest_openai(payload)
        return {**right, "data": right["data"][::-1]}

    with serve(reply) as server, embedder(server, "openai-embeddings") as model:
        np.testing.assert_allclose(model.embed(texts(9)), hash_embed(texts(9), DIMENSION), atol=1e-6)


@pytest.mark.parametrize(
    "data",
    [
        lambda data: [{**item, "index": 0} for item in data],
        lambda data: [{**item, "index": item["index"] + 1} for item in data],
        lambda data: [{"embedding": item["embedding"]} for item in data],
        lambda data: data[:-1],
        lambda _: None,
    ],
)
def test_openai_replies_without_one_vector_for_each_text_are_refused(data: Any) -> None:
    def reply(payload: dict[str, Any]) -> Any:
        return {"data": data(honest_openai(payload)["data"])}

    with serve(reply) as server, embedder(server, "openai-embeddings") as model, pytest.raises(BadReply):
        model.embed(texts(4))


@pytest.mark.parametrize("wrapped", [False, True])
def test_token_vectors_are_averaged_without_their_padding(wrapped: bool) -> None:
    def reply(payload: dict[str, Any]) -> Any:
        return [[tokens] for tokens in honest_features(payload)] if wrapped else honest_features(payload)

    with serve(reply) as server, embedder(server, "hf-feature-extraction") as model:
        vectors = model.embed(texts(12))
    np.testing.assert_allclose(vectors, hash_embed(texts(12), DIMENSION), atol=1e-5)


def test_the_first_token_is_taken_where_the_model_says_so() -> None:
    def reply(payload: dict[str, Any]) -> Any:
        return [[vector, *[[5.0] * DIMENSION] * 40] for vector in right_vectors(payload["inputs"])]

    model_info = MODEL.model_copy(update={"pooling": "cls"})
    with serve(reply) as server, embedder(server, "hf-feature-extraction", model=model_info) as model:
        np.testing.assert_allclose(model.embed(texts(4)), hash_embed(texts(4), DIMENSION), atol=1e-5)


def test_fewer_token_vectors_than_tokens_mean_the_server_cut_the_text() -> None:
    def reply(payload: dict[str, Any]) -> Any:
        return [tokens[:8] for tokens in honest_features(payload)]

    said = "8 token vectors came back for a text of 30 tokens"
    with (
        serve(reply) as server,
        embedder(server, "hf-feature-extraction") as model,
        pytest.raises(BadReply, match=said),
    ):
        model.embed(["word " * 30])


def test_token_level_requests_are_small_enough_for_their_replies() -> None:
    with serve(honest_features) as server:
        endpoint = HttpEndpoint("e", server.url, "hf-feature-extraction", max_payload_bytes=DIMENSION * 22 * 50)
        with EndpointEmbedder(endpoint, POOLED, tokenizer(), EmbeddingSettings()) as model:
            model.embed(texts(30))
            sizes = [len(request["inputs"]) * model.count_tokens(request["inputs"]).max() for request in server.asked]
    assert max(sizes) <= 50


def test_the_server_is_asked_not_to_cut_texts(server: ModelServer) -> None:
    with embedder(server) as model:
        model.embed(["text"])
    assert server.asked == [{"inputs": ["text"], "truncate": False, "normalize": True}]


def test_many_threads_may_share_an_embedder(server: ModelServer) -> None:
    with embedder(server, batch_texts=2) as model:
        found: dict[int, Any] = {}
        threads = [
            threading.Thread(target=lambda i=i: found.update({i: model.embed(texts(i + 1))}), daemon=True)  # type: ignore[misc]
            for i in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for i in range(12):
        np.testing.assert_allclose(found[i], hash_embed(texts(i + 1), DIMENSION), atol=1e-6)


def test_vectors_of_a_model_that_does_not_normalise_are_left_alone() -> None:
    model_info = MODEL.model_copy(update={"normalised": False})
    with serve(lambda payload: [[2.0] * DIMENSION for _ in payload["inputs"]]) as server:
        with embedder(server, model=model_info) as model:
            assert model.embed(["text"]).tolist() == [[2.0] * DIMENSION]
        assert server.asked[0]["normalize"] is False


def test_the_fingerprint_tells_models_apart(server: ModelServer) -> None:
    with embedder(server) as model, HashingEmbedder(DIMENSION) as hashed:
        assert model.fingerprint == hashed.fingerprint
        assert model.fingerprint.digest != HashingEmbedder(DIMENSION + 1).fingerprint.digest
        assert model.fingerprint.digest != HashingEmbedder(DIMENSION, text_format="answer/1").fingerprint.digest


def test_a_language_model_or_a_contract_that_needs_pooling_is_refused(server: ModelServer) -> None:
    with pytest.raises(ConfigurationError, match="scripted"):
        embedder(server, model=get_model("scripted"))
    with pytest.raises(ConfigurationError, match="pooling"):
        embedder(server, "hf-feature-extraction", model=MODEL)


def test_settings_open_a_hashing_embedder_that_knows_what_is_embedded() -> None:
    with open_embedder(load_settings(embedding={"endpoint": "hashing:32"})) as model:
        assert model.fingerprint.text_format == "question+answer/1"
        assert model.embed(["a"]).shape == (1, 32)
    with pytest.raises(ConfigurationError, match="hashing:many"):
        open_embedder(load_settings(embedding={"endpoint": "hashing:many"}))


def test_settings_open_an_embedder_at_any_url() -> None:
    with serve(honest_openai) as server:
        settings = load_settings(
            embedding={
                "endpoint": f"{server.url}/v1",
                "model": MODEL.name,
                "contract": "openai-embeddings",
                "api_key": "sesame",
            }
        )
        with open_embedder(settings) as model:
            assert model.embed(["a", "b"]).shape == (2, DIMENSION)
            assert "sesame" not in repr(vars(model))
    assert json.dumps(server.asked[0]["input"]) == '["a", "b"]'


@given(st.lists(st.integers(1, 300), max_size=80), st.integers(32, 600), st.integers(1, 20))
def test_batches_hold_every_text_once_within_the_budgets(lengths: list[int], max_tokens: int, max_texts: int) -> None:
    tokens = np.array(lengths, np.int32)
    batches = plan_batches(tokens, max_tokens=max_tokens, max_texts=max_texts)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= max_texts
        assert len(batch) == 1 or len(batch) * tokens[batch].max() <= max_tokens
    flat = [tokens[index] for batch in batches for index in batch]
    assert flat == sorted(flat, reverse=True)
