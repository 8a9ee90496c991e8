"""Token vectors from a server that has none, fails, or misbehaves: nothing wrong is passed on, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulators.model_server import ModelServer, Raw, serve

from ragwright.embedding import EndpointEmbedder
from ragwright.endpoints import Contract
from ragwright.endpoints.arrays import write_array
from ragwright.endpoints.http import HttpEndpoint
from ragwright.errors import BadReply, RagwrightError, RequestRejected, Unavailable
from ragwright.model_settings import EmbeddingSettings
from ragwright.models import get_model, load_tokenizer

DIMENSION = 4
MODEL = get_model(f"hashing-{DIMENSION}").model_copy(update={"pooling": "mean"})
TOKENIZER = load_tokenizer(f"hashing-{DIMENSION}", cache=Path())
TEXTS = ["one", "one two three", "two, three"]


def tokens_of(payload: dict[str, Any]) -> list[list[list[float]]]:
    """The nth token points along axis n."""
    counts = [len(encoded) for encoded in TOKENIZER.encode_batch(payload["inputs"])]
    return [(2 * np.eye(DIMENSION)[[n % DIMENSION for n in range(count)]]).tolist() for count in counts]


def array_of(payload: dict[str, Any]) -> np.ndarray:
    """The same as rows of halves, text after text."""
    return np.concatenate([np.array(tokens, np.float16) for tokens in tokens_of(payload)])


def as_array(payload: dict[str, Any]) -> Raw:
    return Raw(write_array(array_of(payload)), headers={"Content-Type": "application/x-npy"})


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve(tokens_of) as server:
        yield server


def embedder(server: ModelServer, contract: Contract = "tei", **options: Any) -> EndpointEmbedder:
    endpoint = HttpEndpoint("minilm", server.url, contract, timeout=10)
    return EndpointEmbedder(endpoint, MODEL, TOKENIZER, EmbeddingSettings(**options))


@pytest.mark.parametrize("options", [{}, {"batch_texts": 1}])
@pytest.mark.parametrize("contract", ["tei", "hf-feature-extraction"])
def test_each_token_gets_its_own_vector_of_length_one(
    server: ModelServer, contract: Contract, options: dict[str, int]
) -> None:
    with embedder(server, contract, **options) as model:
        found = model.token_vectors(TEXTS)
    assert found is not None
    for text, tokens in zip(TEXTS, found, strict=True):
        assert tokens.vectors.argmax(axis=1).tolist() == [n % DIMENSION for n in range(len(tokens.spans))]
        assert np.linalg.norm(tokens.vectors, axis=1) == pytest.approx(1)
        assert "".join(text[start:end] for start, end in tokens.spans) == text.replace(" ", "")


@pytest.mark.parametrize("options", [{}, {"batch_texts": 1}])
def test_an_array_says_the_same_as_json(server: ModelServer, options: dict[str, int]) -> None:
    with embedder(server, **options) as model:
        from_json = model.token_vectors(TEXTS)
        server.reply = as_array
        from_array = model.token_vectors(TEXTS)
    assert from_json is not None
    assert from_array is not None
    for one, other in zip(from_json, from_array, strict=True):
        assert (one.vectors.dtype, other.vectors.dtype) == (np.float32, np.float32)
        assert np.array_equal(one.vectors, other.vectors)
        assert np.array_equal(one.spans, other.spans)


def test_halves_come_to_length_one_as_exactly_as_floats_can(server: ModelServer) -> None:
    sent = np.random.default_rng(0).uniform(-60_000, 60_000, (len(TOKENIZER.encode(TEXTS[1])), DIMENSION))
    sent[-1] *= 1e-9  # of halves this small some are subnormal
    halves = sent.astype(np.float16)
    server.reply = lambda _: Raw(write_array(halves), headers={"Content-Type": "application/x-npy"})
    with embedder(server) as model:
        found = model.token_vectors([TEXTS[1]])
    assert found is not None
    exact = halves / np.linalg.norm(halves.astype(np.float64), axis=1, keepdims=True)
    assert np.allclose(found[0].vectors, exact, atol=1e-7)


def test_requests_grow_once_the_server_has_shown_that_it_sends_arrays(server: ModelServer) -> None:
    texts = ["one two three four five six seven eight"] * 30
    endpoint = HttpEndpoint("minilm", server.url, "tei", timeout=10, max_payload_bytes=10 * 8 * DIMENSION * 22)

    def texts_a_request(model: EndpointEmbedder) -> list[int]:
        server.asked.clear()
        assert model.token_vectors(texts) is not None
        return [len(payload["inputs"]) for payload in server.asked]

    with EndpointEmbedder(endpoint, MODEL, TOKENIZER, EmbeddingSettings()) as model:
        assert texts_a_request(model) == [10, 10, 10]
        server.reply = as_array
        assert texts_a_request(model) == [10, 10, 10]
        assert texts_a_request(model) == [30]
        server.reply = tokens_of
        assert texts_a_request(model) == [30]
        assert texts_a_request(model) == [10, 10, 10]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows[:-1],
        lambda rows: np.concatenate([rows, rows[:1]]),
        lambda rows: rows[:, :-1],
        lambda rows: np.where(rows, np.float16("inf"), rows),
        lambda rows: rows * np.float16(0),
    ],
    ids=["a token too few", "a token too many", "a dimension too few", "not finite", "no length"],
)
def test_an_array_that_breaks_the_contract_is_refused(server: ModelServer, spoil: Any) -> None:
    headers = {"Content-Type": "application/x-npy"}
    server.reply = lambda payload: Raw(write_array(spoil(array_of(payload))), headers=headers)
    with embedder(server) as model, pytest.raises(BadReply, match="endpoint minilm"):
        model.token_vectors(TEXTS)


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_them_is_asked_once(server: ModelServer, status: int) -> None:
    server.reply = lambda _: Raw(b"", status=status)
    with embedder(server) as model:
        assert model.token_vectors(TEXTS) is None
        assert model.token_vectors(TEXTS) is None
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(400, RequestRejected), (401, RequestRejected), (424, RequestRejected), (503, Unavailable)]
)
def test_a_server_that_refuses_for_another_reason_is_not_taken_for_one_without(
    server: ModelServer, status: int, error: type[RagwrightError]
) -> None:
    server.reply = lambda _: Raw(b"", status=status)
    with embedder(server) as model:
        with pytest.raises(error):
            model.token_vectors(TEXTS)
        server.reply = tokens_of
        assert model.token_vectors(TEXTS) is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda reply: reply[:-1],
        lambda reply: [*reply[:-1], reply[-1][:-1]],
        lambda reply: [[vector[:-1] for vector in tokens] for tokens in reply],
        lambda reply: [*reply[:-1], [[None] * DIMENSION] * len(reply[-1])],
        lambda reply: [*reply[:-1], [[0.0] * DIMENSION] * len(reply[-1])],
        lambda reply: {"data": reply},
    ],
    ids=["a text too few", "a token too few", "a dimension too few", "no numbers", "no length", "no list"],
)
def test_a_reply_that_breaks_the_contract_is_refused(server: ModelServer, spoil: Any) -> None:
    server.reply = lambda payload: Raw(json.dumps(spoil(tokens_of(payload))).encode())
    with embedder(server) as model, pytest.raises(BadReply, match="endpoint minilm"):
        model.token_vectors(TEXTS)


def test_a_text_over_the_limit_is_refused_before_anything_is_sent(server: ModelServer) -> None:
    with embedder(server) as model, pytest.raises(RequestRejected, match="text 1 has 300 tokens"):
        model.token_vectors(["short", "word " * 300])
    assert not server.asked


def test_no_texts_ask_nobody(server: ModelServer) -> None:
    with embedder(server) as model:
        assert model.token_vectors([]) == []
    assert not server.asked
