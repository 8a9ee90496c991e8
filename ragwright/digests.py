"""Content hashes of many rows at once, at a third of what they cost one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LENGTH = 8  # bytes before each part


def content_hashes(parts: Sequence[pa.Array | pa.ChunkedArray]) -> list[str]:
    """`documents.content_hash` of each row.

    Args:
        parts: One array of strings for each part, equally long and without nulls; 2 GB in all at most.
    """
    pieces: list[pa.Array] = []
    for part in parts:
        whole = part.combine_chunks() if isinstance(part, pa.ChunkedArray) else part
        data = whole.cast(pa.binary())
        pieces += (_lengths(data), data)
    joined = pc.binary_join_element_wise(*pieces, b"")
    return [hashlib.blake2b(row, digest_size=16).hexdigest() for row in joined.to_pylist()]


def _lengths(data: pa.Array) -> pa.Array:
    """How many bytes each has, in eight bytes, the lowest first."""
    lengths = pc.binary_length(data).to_numpy().astype("<i8")
    offsets = np.arange(len(data) + 1, dtype=np.int32) * _LENGTH
    return pa.Array.from_buffers(pa.binary(), len(data), [None, pa.py_buffer(offsets), pa.py_buffer(lengths)])
