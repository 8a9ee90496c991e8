"""Records as Pinecone keeps them: an ASCII id, a vector with a direction, and flat metadata.

Numbers in metadata are doubles, so integers are exact up to 2**53 (`documents.FOREVER` is chosen for it).
A vector of zeros is refused by Pinecone, as it has no direction: such a record carries a stand-in and `DIRECTIONLESS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ragwright import documents
from ragwright.documents import FOREVER, records_schema
from ragwright.errors import BadReply, StoreError
from ragwright.stores import MAX_REQUEST_BYTES, limits, nearest

DIRECTIONLESS = "directionless"
"""Metadata field, 1, of a record whose vector is all zeros; no other record has it."""

FILTERED = ("born", "died", DIRECTIONLESS)
"""Metadata fields that queries filter on; a space indexes no others."""

LONGEST_ID = 512
_ENVELOPE_BYTES = 1_024  # of a request around its records: names, brackets, the namespace
_ADDRESS_BYTES = 6_000  # of ids in a URL; what stands in front of servers refuses 8 kB
_SLAB = 1_000  # records turned into JSON at a time
_INTEGERS = ("born", "died", "row", "part", "parts")
_KEPT = [name for name in records_schema(1).names if name not in ("record_id", "vector")]


def wire_id(record_id: str) -> str:
    """A record id in the signs that every route takes: ASCII, no spaces, nothing with a meaning in a URL."""
    return quote(record_id, safe="")


def plain_id(identifier: str) -> str:
    """The record id behind a `wire_id`."""
    return unquote(identifier)


def addressable(record_ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids, as `wire_id`, in lists that fit the address of one fetch each."""
    ids = list(map(wire_id, record_ids))
    sizes = np.array([len("&ids=") + len(quote(identifier, safe="")) for identifier in ids], dtype=np.int64)
    for run in limits.request_slices(sizes, max_bytes=_ADDRESS_BYTES):
        yield ids[run]


def check_fits(records: pa.Table, *, place: str) -> None:
    """Refuse ids and integers that Pinecone would refuse or round.

    Raises:
        StoreError: It names the record. Nothing has been written then.
    """
    for record_id in records["record_id"].to_pylist():
        if not 0 < len(wire_id(record_id)) <= LONGEST_ID:
            raise StoreError(
                f"record id {record_id!r} takes {len(wire_id(record_id))} signs, the limit is {LONGEST_ID}.",
                place=place,
            )
    for name in _INTEGERS:
        bounds = pc.min_max(records[name])
        if records.num_rows and not -FOREVER <= bounds["min"].as_py() <= bounds["max"].as_py() <= FOREVER:
            raise StoreError(f"{name!r} has values beyond 2**53, which Pinecone would round.", place=place)


def requests(records: pa.Table, dimension: int) -> Iterator[list[dict[str, Any]]]:
    """The records in runs that fit one upsert each."""
    for start in range(0, records.num_rows, _SLAB):
        wire = list(to_wire(records.slice(start, _SLAB), dimension))
        sizes = np.array([len(orjson.dumps(record)) + 1 for record in wire], dtype=np.int64)
        for run in limits.request_slices(sizes, max_bytes=MAX_REQUEST_BYTES - _ENVELOPE_BYTES):
            yield wire[run]


def to_wire(records: pa.Table, dimension: int) -> Iterator[dict[str, Any]]:
    """Id, values and metadata of each record, as Pinecone takes them."""
    vectors = nearest.matrix(records["vector"], dimension)
    blank: npt.NDArray[np.bool_] = np.logical_not(vectors.any(axis=1))
    vectors = np.where(blank[:, None], np.eye(1, dimension, dtype=np.float32), vectors)
    ids = records["record_id"].to_pylist()
    rows = records.select(_KEPT).to_pylist()
    for record_id, vector, metadata, none in zip(ids, vectors.tolist(), rows, blank, strict=True):
        if none:
            metadata[DIRECTIONLESS] = 1
        if record_id == documents.record_id(metadata["chunk_id"], metadata["born"]):
            del metadata["chunk_id"]  # the id says it
        yield {"id": wire_id(record_id), "values": vector, "metadata": metadata}


def table(found: Iterable[tuple[str, Mapping[str, Any] | None, Any]], layout: pa.Schema, *, place: str) -> pa.Table:
    """Records as they were, from the id, metadata and values of each.

    Args:
        found: Wire id, metadata, values (float [dimension]; read only if the layout has vectors).
        layout: Columns wanted, out of `records_schema`.
        place: Index and space, for the error.

    Raises:
        BadReply: A record lacks what this adapter writes.
    """
    rows = []
    for identifier, metadata, values in found:
        record_id = plain_id(identifier)
        row = {"chunk_id": record_id.rpartition(".")[0], **(metadata or {}), "record_id": record_id}
        if "vector" in layout.names:
            blank = row.get(DIRECTIONLESS) == 1
            row["vector"] = np.zeros(len(values), np.float32) if blank else np.asarray(values, np.float32)
        rows.append(row)
    try:
        columns = [_column(rows, field) for field in layout]
    except (KeyError, TypeError, ValueError, pa.ArrowInvalid) as error:
        raise BadReply(f"a record does not have what ragwright writes: {error!r}.", place=place) from error
    return pa.table(columns, layout)


def _column(rows: list[dict[str, Any]], field: pa.Field) -> pa.Array:
    if field.name == "vector":
        flat = np.concatenate([row["vector"] for row in rows]) if rows else np.zeros(0, np.float32)
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), field.type.list_size)
    if field.name in _INTEGERS:
        return pa.array([int(row[field.name]) for row in rows], field.type)
    return pa.array([row[field.name] for row in rows], field.type)
