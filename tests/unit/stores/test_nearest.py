from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from made_records import make_records

from ragwright.stores import nearest


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 60), k=st.integers(1, 70))
def test_candidates_hold_the_k_best_and_every_tie_at_the_edge(seed: int, n: int, k: int) -> None:
    scores = np.random.default_rng(seed).integers(-4, 5, n).astype(np.float32) / 4
    chosen = set(nearest.candidates(scores, k).tolist())
    edge = sorted(scores, reverse=True)[min(k, n) - 1] if n else 0
    assert chosen == {i for i, score in enumerate(scores) if score >= edge}


def test_noise_of_single_precision_does_not_decide_between_neighbours() -> None:
    scores = np.float32([0.9, 0.5, 0.5 - 3e-7, 0.1])
    assert nearest.candidates(scores, 2).tolist() == [0, 1, 2]


def test_vectors_without_direction_score_zero() -> None:
    vectors = np.float32([[0, 0], [3, 4]])
    scores = nearest.similarities(vectors, nearest.lengths(vectors), np.float32([3, 4]))
    assert scores.tolist() == [0, 1]
    assert nearest.similarities(vectors, nearest.lengths(vectors), np.zeros(2, np.float32)).tolist() == [0, 0]


def test_equal_vectors_score_equally_wherever_they_stand() -> None:
    rng = np.random.default_rng(5)
    same = rng.standard_normal(384).tolist()
    chunks = [f"{n:03}" for n in range(101)]
    records = make_records(chunks[::-1], dimension=384, vectors=[same] * 101)
    found = nearest.ranked(records, np.float32(rng.standard_normal(384)), 101)
    assert [match.chunk_id for match in found] == chunks
    assert len({match.score for match in found}) == 1


def test_a_column_in_chunks_or_slices_is_read_in_order() -> None:
    column = pa.chunked_array([make_records([c])["vector"].chunk(0) for c in "abc"]).slice(1)
    assert np.array_equal(nearest.matrix(column, 8), np.float32(column.to_pylist()))
    sliced = make_records(list("abc"))["vector"].chunk(0).slice(1, 1)
    assert np.array_equal(nearest.matrix(sliced, 8), np.float32(sliced.to_pylist()))
