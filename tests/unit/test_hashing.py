from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.hashing import hash_embed


@given(st.lists(st.text(max_size=60), max_size=5), st.integers(1, 64))
def test_every_text_gets_a_unit_vector_of_its_own(texts: list[str], dimension: int) -> None:
    vectors = hash_embed(texts, dimension)
    assert vectors.shape == (len(texts), dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_array_equal(hash_embed([text], dimension)[0], vector)


def test_vectors_are_the_same_in_another_process() -> None:
    program = "from ragwright.hashing import hash_embed; print(hash_embed(['Où est ma clé?'], 16).tobytes().hex())"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == hash_embed(["Où est ma clé?"], 16).tobytes().hex()


def test_vectors_do_not_change_between_releases() -> None:
    # Stored vectors are compared with new ones: a change here needs a new hashing.REVISION.
    expected = [0.589256, 0.0, 0.117851, 0.353553, 0.117851, -0.707107, 0.0, 0.0]
    np.testing.assert_allclose(hash_embed(["Managed Spot Training"], 8)[0], expected, atol=1e-6)


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_a_text_without_features_gets_the_first_unit_vector(text: str) -> None:
    assert hash_embed([text], 4).tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_shared_words_bring_texts_together() -> None:
    question, answer, other = hash_embed(
        [
            "Which instances can I use with Managed Spot Training?",
            "Managed Spot Training can be used with all instances.",
            "The cafeteria closes at five.",
        ],
        384,
    )
    assert question @ answer > 2 * (question @ other)
    assert question @ answer > 0.4


def test_typos_cost_less_than_other_words() -> None:
    right, typo, other = hash_embed(["encryption at rest", "encrypton at rest", "billing at rest"], 384)
    assert right @ typo > right @ other
