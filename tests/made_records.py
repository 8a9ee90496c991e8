"""Records for store tests, every field of which follows from chunk and edition: a torn or mixed record shows."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from ragwright.documents import FOREVER, record_id, records_schema

DIMENSION = 8


def vector_of(chunk: str, edition: int = 0, dimension: int = DIMENSION) -> np.ndarray:
    vector = np.random.default_rng(zlib.crc32(f"{chunk}/{edition}".encode())).standard_normal(dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def make_records(
    chunks: Sequence[str],
    *,
    born: int = 1,
    died: int = FOREVER,
    edition: int = 0,
    dimension: int = DIMENSION,
    vectors: Sequence[Sequence[float]] | None = None,
    **texts: str,
) -> pa.Table:
    """One record a chunk, laid out for a store; `texts` replaces question, text, row_key or metadata of all."""
    if vectors is None:
        vectors = [vector_of(chunk, edition, dimension) for chunk in chunks]
    rows = [
        {
            "record_id": record_id(chunk, born),
            "chunk_id": chunk,
            "born": born,
            "died": died,
            "row_key": f"key of {chunk}",
            "row": zlib.crc32(chunk.encode()),
            "part": 0,
            "parts": 1,
            "question": f"question of {chunk}",
            "text": f"text of {chunk}, edition {edition}",
            "metadata": json.dumps({"edition": str(edition)}),
            **texts,
            "vector": [float(x) for x in vector],
        }
        for chunk, vector in zip(chunks, vectors, strict=True)
    ]
    return pa.Table.from_pylist(rows, records_schema(dimension))


def ids(chunks: Sequence[str], born: int = 1) -> list[str]:
    return [record_id(chunk, born) for chunk in chunks]


def edition_of(row: Mapping[str, object], dimension: int = DIMENSION) -> int:
    """The edition of a record read back; fails if its parts are not all of that edition."""
    edition = int(json.loads(row["metadata"])["edition"])
    chunk = row["chunk_id"]
    assert row["text"] == f"text of {chunk}, edition {edition}"
    assert row["question"] == f"question of {chunk}"
    assert row["record_id"] == record_id(chunk, row["born"])
    assert np.array_equal(np.float32(row["vector"]), vector_of(chunk, edition, dimension))
    return edition
