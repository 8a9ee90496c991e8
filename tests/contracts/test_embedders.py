"""What every embedder promises in its port's docstring, one clause a test.

RAGWRIGHT_TEST_EMBEDDER names one of another package, to be tested with the others.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from guide import adapters_of_the_guide

from ragwright.embedding import Embedder, EndpointEmbedder, HashingEmbedder, embed_each, open_embedder
from ragwright.endpoints import Contract, EndpointSpec, Lease
from ragwright.endpoints.local import LocalHost
from ragwright.errors import RequestRejected
from ragwright.model_settings import EmbeddingSettings
from ragwright.models import get_model, load_tokenizer
from ragwright.settings import load_settings

MINILM = "all-minilm-l6-v2-int8"
CONTRACTS: tuple[Contract, ...] = ("tei", "hf-feature-extraction", "openai-embeddings")
OUTSIDE = {"guide": "python:letter_embedder:LetterEmbedder", "outside": os.environ.get("RAGWRIGHT_TEST_EMBEDDER", "")}
EMBEDDERS = ("hashing", *CONTRACTS, *(name for name, reference in OUTSIDE.items() if reference))
SENTENCES = [
    "Managed Spot Training uses spare capacity to train models at a lower price.",
    "Spot capacity makes the training of a model cheaper.",
    "The cat sleeps on the warm windowsill all afternoon.",
    "Yes.",
    "Emoji 👩‍👩‍👧‍👦 and עברית and 漢字 are text too.",
    " ".join(["An endpoint keeps an instance running until it is deleted, whether or not it is called."] * 12),
]


@pytest.fixture(scope="module")
def embedders(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Iterator[dict[str, Embedder]]:
    """One of each kind; the endpoints are real server processes that run the real model."""
    with ExitStack() as stack:
        host = stack.enter_context(LocalHost(tmp_path_factory.mktemp("home"), cache=model_cache))
        lease = Lease.lasting(owner="tests", minutes=10)
        models: dict[str, tuple[Contract, str]] = {contract: (contract, MINILM) for contract in CONTRACTS}
        models["served-hashing"] = ("tei", "hashing-48")
        for name, (contract, model) in models.items():
            stack.callback(host.delete, name)
            host.deploy(EndpointSpec(name=name, model=model, contract=contract), lease)
        host.wait(list(models), timeout=100)
        opened: dict[str, Embedder] = {"hashing": HashingEmbedder(48)}
        for name, (_, model) in models.items():
            tokenizer = load_tokenizer(model, cache=model_cache)
            settings = EmbeddingSettings(batch_texts=8)
            opened[name] = EndpointEmbedder(host.connect(name), get_model(model), tokenizer, settings)
            stack.enter_context(opened[name])
        stack.enter_context(adapters_of_the_guide(tmp_path_factory.mktemp("guide")))
        for name, reference in OUTSIDE.items():
            if reference:
                opened[name] = open_embedder(load_settings(embedding={"endpoint": reference}))
                stack.enter_context(opened[name])
        yield opened


@pytest.fixture(params=EMBEDDERS)
def embedder(request: pytest.FixtureRequest, embedders: dict[str, Embedder]) -> Embedder:
    return embedders[request.param]


def cosines(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    return (a64 * b64).sum(axis=1) / np.linalg.norm(a64, axis=1) / np.linalg.norm(b64, axis=1)


def of_tokens(embedder: Embedder, count: int) -> str:
    """A text of exactly so many tokens."""
    special = int(embedder.count_tokens([""])[0])
    text = " ".join(["word"] * (count - special))
    assert embedder.count_tokens([text])[0] == count
    return text


def test_every_wire_contract_of_embedders_is_here() -> None:
    assert set(CONTRACTS) == set(get_args(EmbeddingSettings.model_fields["contract"].annotation))


def test_an_embedder_is_an_embedder(embedder: Embedder) -> None:
    assert isinstance(embedder, Embedder)


def test_vectors_are_float32_of_the_fingerprints_dimension_and_length_one(embedder: Embedder) -> None:
    vectors = embedder.embed(SENTENCES)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(SENTENCES), embedder.fingerprint.dimension)
    assert embedder.fingerprint.normalised
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.fingerprint.dimension)
    assert embedder.count_tokens([]).shape == (0,)


def test_the_same_texts_give_the_same_vectors(embedder: Embedder) -> None:
    assert cosines(embedder.embed(SENTENCES), embedder.embed(SENTENCES)).min() > 0.99999


def test_a_vector_does_not_depend_on_its_neighbours(embedder: Embedder) -> None:
    together = embedder.embed(SENTENCES)
    alone = np.concatenate([embedder.embed([text]) for text in SENTENCES])
    assert cosines(together, alone).min() >= 0.9999


def test_vectors_follow_the_order_of_the_texts(embedder: Embedder) -> None:
    backwards = embedder.embed(SENTENCES[::-1])[::-1]
    assert cosines(embedder.embed(SENTENCES), backwards).min() >= 0.9999


def test_groups_of_texts_are_embedded_one_after_another(embedder: Embedder) -> None:
    groups = [SENTENCES[:2], [], SENTENCES[2:], SENTENCES[:1]]
    found = list(embed_each(embedder, groups))
    assert [len(vectors) for vectors in found] == [2, 0, 4, 1]
    for group, vectors in zip(groups, found, strict=True):
        assert not group or cosines(vectors, embedder.embed(group)).min() >= 0.9999


def test_texts_that_say_the_same_are_nearer_than_others(embedder: Embedder) -> None:
    spot, paraphrase, cat = embedder.embed(SENTENCES[:3])
    assert spot @ paraphrase > spot @ cat


def test_a_query_is_embedded_like_a_document_by_these_models(embedder: Embedder) -> None:
    assert cosines(embedder.embed(SENTENCES[:2], kind="query"), embedder.embed(SENTENCES[:2])).min() >= 0.9999


def test_the_longest_text_is_embedded_whole(embedder: Embedder) -> None:
    longest = of_tokens(embedder, embedder.max_tokens)
    changed = longest[: longest.rindex(" ")] + " volcano"
    assert embedder.count_tokens([changed])[0] == embedder.max_tokens
    one, other = embedder.embed([longest, changed])
    assert not np.array_equal(one, other)


def test_a_text_over_the_limit_is_refused_and_named(embedder: Embedder) -> None:
    with pytest.raises(RequestRejected, match=rf"text 2 has {embedder.max_tokens + 1} tokens"):
        embedder.embed(["a", "b", of_tokens(embedder, embedder.max_tokens) + " word"])


def test_tokens_are_counted_per_text_and_not_cut(embedder: Embedder) -> None:
    counts = embedder.count_tokens(["", "word", "word " * 1000])
    assert counts.dtype == np.int32
    assert (counts - counts[0]).tolist() == [0, 1, 1000]


def test_threads_share_an_embedder(embedder: Embedder) -> None:
    expected = embedder.embed(SENTENCES)
    found: list[npt.NDArray[np.float32]] = []
    threads = [threading.Thread(target=lambda: found.append(embedder.embed(SENTENCES))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert min(cosines(expected, vectors).min() for vectors in found) >= 0.9999


@pytest.mark.parametrize("contract", CONTRACTS[1:])
def test_every_contract_gives_the_models_vectors(embedders: dict[str, Embedder], contract: str) -> None:
    assert cosines(embedders["tei"].embed(SENTENCES), embedders[contract].embed(SENTENCES)).min() >= 0.9999
    assert embedders["tei"].fingerprint == embedders[contract].fingerprint


def test_hashing_is_the_same_in_this_process_and_behind_an_endpoint(embedders: dict[str, Embedder]) -> None:
    here, served = embedders["hashing"], embedders["served-hashing"]
    np.testing.assert_allclose(here.embed(SENTENCES), served.embed(SENTENCES), atol=1e-6)
    assert here.fingerprint == served.fingerprint
    assert here.max_tokens == served.max_tokens
    assert here.count_tokens(SENTENCES).tolist() == served.count_tokens(SENTENCES).tolist()


@pytest.mark.parametrize("contract", ["tei", "hf-feature-extraction"])
def test_tokens_have_vectors_of_length_one_and_their_place_in_the_text(
    embedders: dict[str, Embedder], contract: str
) -> None:
    found = embedders[contract].token_vectors(SENTENCES)
    assert found is not None
    counts = embedders[contract].count_tokens(SENTENCES) - embedders[contract].count_tokens([""])
    assert [len(tokens.vectors) for tokens in found] == [len(tokens.spans) for tokens in found] == counts.tolist()
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([t.vectors for t in found]), axis=1), 1, atol=1e-3)
    first, last = found[0].spans[0], found[0].spans[-1]
    assert (SENTENCES[0][slice(*first)], SENTENCES[0][slice(*last)]) == ("Managed", ".")


def test_a_word_means_what_its_text_makes_of_it(embedders: dict[str, Embedder]) -> None:
    found = embedders["tei"].token_vectors(["the river bank", "the savings bank", "a bank account for savings"])
    assert found is not None
    river, savings, account = found
    assert savings.vectors[-1] @ account.vectors[1] > river.vectors[-1] @ account.vectors[1]


def test_both_contracts_give_a_token_the_same_vector(embedders: dict[str, Embedder]) -> None:
    one, other = (embedders[contract].token_vectors(SENTENCES[:4]) for contract in ("tei", "hf-feature-extraction"))
    assert one is not None
    assert other is not None
    for here, there in zip(one, other, strict=True):
        assert cosines(here.vectors, there.vectors).min() >= 0.99  # int8: a little else beside longer texts
        assert here.spans.tolist() == there.spans.tolist()


@pytest.mark.parametrize("name", ["hashing", "served-hashing", "openai-embeddings"])
def test_where_tokens_have_no_vectors_it_says_so(embedders: dict[str, Embedder], name: str) -> None:
    assert embedders[name].token_vectors(SENTENCES) is None
