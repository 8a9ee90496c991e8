"""Exact nearest neighbours by cosine, the same to the last tie in every store that searches in this process."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ragwright.documents import Match

Floats = npt.NDArray[np.float32]

_NOISE = 1e-5  # a float32 dot product of unit vectors errs by less than this
_DIGITS = 9  # scores equal to so many decimals are a tie, whatever order the products were summed in


def matrix(vectors: pa.Array | pa.ChunkedArray, dimension: int) -> Floats:
    """A column of vectors as float32 [n, dimension]."""
    array = vectors.combine_chunks() if isinstance(vectors, pa.ChunkedArray) else vectors
    return np.asarray(array.flatten().to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, dimension)


def lengths(vectors: Floats) -> Floats:
    """Euclidean length of each row: float32 [n]."""
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", vectors, vectors)), dtype=np.float32)


def similarities(vectors: Floats, row_lengths: Floats, query: Floats) -> Floats:
    """Cosine of each row and the query, float32 [n]; 0 where either has no direction."""
    scale = row_lengths * np.float32(np.linalg.norm(query))
    scores: Floats = np.divide(vectors @ query, scale, out=np.zeros(len(vectors), dtype=np.float32), where=scale > 0)
    return scores


def similarities_of_many(vectors: Floats, row_lengths: Floats, queries: Floats) -> Floats:
    """Cosine of each row and each of several queries, float32 [queries, n]; 0 where either has no direction."""
    scale = np.linalg.norm(queries, axis=1).astype(np.float32)[:, np.newaxis] * row_lengths
    products = queries @ vectors.T
    scores: Floats = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return scores


def candidates(scores: Floats, k: int) -> npt.NDArray[np.int64]:
    """Positions of every row that may be among the k best once float32 noise and ties are settled."""
    if k >= len(scores):
        return np.arange(len(scores))
    edge = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= edge - _NOISE)


def ranked(records: pa.Table, query: Floats, k: int) -> list[Match]:
    """The k best of few candidate records (with vectors): by score in double precision, then by record id."""
    return by_score(records.drop_columns(["vector"]), cosines(records["vector"], query), k)


def by_score(records: pa.Table, scores: npt.NDArray[np.float64], k: int) -> list[Match]:
    """The k best of few candidate records (without vectors), whose scores are given: by score, then by record id."""
    order = np.lexsort((np.array(records["record_id"].to_pylist(), dtype=object), -scores))[:k]
    rows = records.take(order).to_pylist()
    return [match(row, float(score)) for row, score in zip(rows, scores[order], strict=True)]


def cosines(vectors: pa.Array | pa.ChunkedArray, query: Floats) -> npt.NDArray[np.float64]:
    """The scores of a column of vectors as `ranked` gives them, float64 [n]; 0 where either has no direction."""
    return exact(matrix(vectors, len(query)), query)


def exact(vectors: Floats, query: Floats) -> npt.NDArray[np.float64]:
    """The scores of few vectors, float32 [n, dimension], as `cosines` gives them."""
    rows, target = vectors.astype(np.float64), query.astype(np.float64)
    # Row-wise sums, not a matrix product: equal rows must get equal scores wherever they stand.
    scale = np.sqrt((rows * rows).sum(axis=1) * (target * target).sum())
    scores = np.divide((rows * target).sum(axis=1), scale, out=np.zeros(len(rows)), where=scale > 0)
    rounded: npt.NDArray[np.float64] = np.clip(np.round(scores, _DIGITS), -1.0, 1.0)
    return rounded


def match(row: dict[str, object], score: float) -> Match:
    """A record as a query's answer has it."""
    fields = {name: row[name] for name in Match.__dataclass_fields__ if name not in ("score", "metadata")}
    return Match(**fields, score=score, metadata=json.loads(str(row["metadata"]) or "{}"))  # type: ignore[arg-type]
