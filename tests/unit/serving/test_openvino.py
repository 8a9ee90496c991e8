"""The real encoder. Its files are fetched once a machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.errors import ModelError
from ragwright.models import get_model
from ragwright.progress import silent
from ragwright.serving.runtimes import Encoder, Vectors, open_encoder
from ragwright.serving.runtimes.openvino import batches, read_graph

MINILM = "all-minilm-l6-v2-int8"
TEXTS = [f"{'Training jobs write their model artifacts to a bucket. ' * (i % 5)}Question {i}?" for i in range(21)]


@pytest.fixture(scope="module")
def encoder(model_cache: Path) -> Encoder:
    return open_encoder(get_model(MINILM), cache=model_cache, progress=silent)


def embed(encoder: Encoder, texts: list[str], *, truncate: bool = False) -> Vectors:
    vectors = encoder.sentence_vectors(encoder.tokenize(texts, truncate=truncate))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_vectors_say_what_is_alike(encoder: Encoder) -> None:
    question, answer, other = embed(
        encoder,
        [
            "How do I cut the cost of training?",
            "Managed Spot Training lowers training costs by using spare capacity.",
            "The cafeteria serves lunch until two.",
        ],
    )
    assert question @ answer > 0.4 > question @ other


# Of the original fp32 weights, computed with numpy; the int8 weights and the processor's bf16 are why not all is equal.
REFERENCE = {
    "How do I cut the cost of training?": [0.05059, 0.05438, 0.02513, 0.06124, 0.00556, 0.027, -0.0472, -0.00792]
}


def test_vectors_are_the_original_models(encoder: Encoder) -> None:
    for text, expected in REFERENCE.items():
        np.testing.assert_allclose(embed(encoder, [text])[0][: len(expected)], expected, atol=0.01)


def test_a_vector_does_not_depend_on_its_neighbours(encoder: Encoder) -> None:
    together = embed(encoder, TEXTS)
    shuffled = embed(encoder, TEXTS[::-1])[::-1]
    alone = np.concatenate([embed(encoder, [text]) for text in TEXTS])
    for other in (shuffled, alone):
        assert np.sum(together * other, axis=1).min() > 0.9999
        np.testing.assert_allclose(together, other, atol=2e-3)


def test_pooled_token_states_are_the_sentence_vectors(encoder: Encoder) -> None:
    tokenized = encoder.tokenize(TEXTS, truncate=False)
    states = encoder.token_states(tokenized)
    assert states.rows.shape == (sum(text.tokens for text in tokenized), 384)
    pooled = np.stack([rows.mean(axis=0, dtype=np.float32) for rows in states.by_text()])
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    assert np.sum(pooled * embed(encoder, TEXTS), axis=1).min() > 0.9999


def test_threads_get_their_own_answers(encoder: Encoder) -> None:
    expected = embed(encoder, TEXTS)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda i: embed(encoder, [TEXTS[i % 21]])[0], range(60)))
    for i, vector in enumerate(found):
        assert vector @ expected[i % 21] > 0.9999


def test_a_long_text_is_counted_whole_and_cut_on_request(encoder: Encoder) -> None:
    [whole] = encoder.tokenize(["word " * 400], truncate=False)
    [cut] = encoder.tokenize(["word " * 400], truncate=True)
    assert (whole.tokens, len(whole.ids)) == (402, 402)
    assert (cut.tokens, len(cut.ids), cut.ids[-1]) == (402, 256, whole.ids[-1])


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="OpenVINO cannot load it"):
        read_graph({"model": tmp_path / "model.onnx"})


@given(st.lists(st.integers(1, 600), max_size=80), st.integers(32, 5_000))
def test_every_text_is_in_one_batch_that_fits_with_its_padding(lengths: list[int], tokens: int) -> None:
    found = batches(lengths, tokens)
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        longest = max(lengths[i] for i in batch)
        padded = 16 if longest <= 16 else -(-longest // 32) * 32
        assert len(batch) == 1 or len(batch) * padded <= tokens
    together = [lengths[i] for batch in found for i in batch]
    assert together == sorted(lengths)


def test_full_batches_of_one_padded_length_have_one_shape() -> None:
    assert [len(batch) for batch in batches([70 + i % 20 for i in range(20)], 1024)] == [8, 8, 4]
