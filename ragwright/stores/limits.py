"""What every store refuses before it writes, and how large calls are cut into requests.

One set of checks for all adapters, so that records which fit on a laptop fit in the cloud as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import records_schema
from ragwright.errors import StoreError
from ragwright.stores import MAX_IDS_PER_REQUEST, MAX_METADATA_BYTES, MAX_REQUEST_BYTES

SPACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Names that are valid as a folder, as a LanceDB table and as a Pinecone namespace."""

_TEXT_FIELDS = ("chunk_id", "row_key", "question", "text", "metadata")
_KEYS_AND_NUMBERS_BYTES = 256  # the object's keys, quotes and commas, and six integers at their longest
_LONGEST_ESCAPE = 6  # a control character of one byte becomes \u0000


def check_space_name(space: str) -> None:
    """Refuse a name that some store could not hold."""
    if not SPACE_NAME.fullmatch(space):
        raise StoreError(
            f"{space!r} cannot name a space.", hint="Use 1 to 64 letters, digits, '-' and '_', a letter or digit first."
        )


def check_records(records: pa.Table, dimension: int, *, place: str) -> pa.Table:
    """The records as a store writes them: in the exact layout, each id once (its last occurrence counts).

    Raises:
        StoreError: Columns, dimension or values are not as `records_schema(dimension)` wants them, or the metadata of a
            record is over `MAX_METADATA_BYTES`. Nothing has been written then.
    """
    records = _in_layout(records, dimension, place=place)
    for name in records.column_names:
        if records[name].null_count:
            raise StoreError(f"records have {records[name].null_count} nulls in {name!r}.", place=place)
    _check_vectors(records, dimension, place=place)
    _check_metadata(records, place=place)
    return _last_of_each(records)


def check_query(vector: npt.NDArray[np.float32], k: int, dimension: int, *, place: str) -> npt.NDArray[np.float32]:
    """The query vector as float32 [dimension]; another shape, a value not finite or k < 1 is a `StoreError`."""
    vector = np.asarray(vector, dtype=np.float32)
    if vector.shape != (dimension,):
        raise StoreError(
            f"the query vector has shape {vector.shape}, the space has dimension {dimension}.",
            place=place,
            hint="Embed the question with the model that the space was built with.",
        )
    if not np.isfinite(vector).all():
        raise StoreError("the query vector has values that are not finite.", place=place)
    check_count(k, place=place)
    return vector


def check_count(k: int, *, place: str) -> None:
    """Refuse to look for no records, or fewer."""
    if k < 1:
        raise StoreError(f"cannot look for the {k} best records.", place=place, hint="Ask for at least one.")


def check_columns(columns: Sequence[str], dimension: int, *, place: str) -> pa.Schema:
    """The layout of a scan limited to `columns`; none named means all of them."""
    layout = records_schema(dimension)
    unknown = [name for name in columns if name not in layout.names]
    if unknown:
        raise StoreError(f"records have no column {unknown[0]!r}.", place=place, hint=f"Choose from {layout.names}.")
    return pa.schema([layout.field(name) for name in columns]) if columns else layout


def unknown_space(space: str, *, place: str) -> StoreError:
    """The error for a space that is not there."""
    return StoreError(f"there is no space {space!r}.", place=place, hint="Index the source first: ragwright reindex.")


def dimension_conflict(space: str, has: int, wanted: int, *, place: str) -> StoreError:
    """The error for a space that exists with another dimension."""
    return StoreError(
        f"space {space!r} has dimension {has}, not {wanted}.",
        place=place,
        hint="Vectors of another model need a space of their own.",
    )


def metadata_json(record: dict[str, object]) -> str:
    """What a cloud store keeps beside id and vector, as the JSON that its limit is measured on."""
    kept = {name: value for name, value in record.items() if name not in ("record_id", "vector")}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def request_slices(
    sizes: npt.NDArray[np.int64], *, max_bytes: int = MAX_REQUEST_BYTES, max_count: int = MAX_IDS_PER_REQUEST
) -> Iterator[slice]:
    """Cut records of the given sizes (bytes, int64 [n]) into runs that fit one request each, in order.

    A record larger than `max_bytes` gets a request of its own: whether it fits is for the other side to say.
    """
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        fits = int(np.searchsorted(ends, before + max_bytes, side="right"))
        stop = min(max(fits, start + 1), start + max_count, len(sizes))
        yield slice(start, stop)
        start = stop


def id_batches(record_ids: Sequence[str], size: int = MAX_IDS_PER_REQUEST) -> Iterator[list[str]]:
    """The ids, each once and in order, in lists of at most `size`."""
    unique = list(dict.fromkeys(record_ids))
    for start in range(0, len(unique), size):
        yield unique[start : start + size]


def _in_layout(records: pa.Table, dimension: int, *, place: str) -> pa.Table:
    layout = records_schema(dimension)
    if set(records.column_names) != set(layout.names):
        raise StoreError(
            f"records have columns {records.column_names}, not {layout.names}.",
            place=place,
            hint="Lay them out as documents.records_schema.",
        )
    vector = records.schema.field("vector").type
    if pa.types.is_fixed_size_list(vector) and vector.list_size != dimension:
        raise StoreError(
            f"records have vectors of dimension {vector.list_size}, the space has {dimension}.",
            place=place,
            hint="Vectors of another model need a space of their own.",
        )
    try:
        return records.select(layout.names).cast(layout)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise StoreError(f"records cannot be laid out as {layout.names}: {error}.", place=place) from error


def _check_vectors(records: pa.Table, dimension: int, *, place: str) -> None:
    at = 0
    for chunk in records["vector"].chunks:
        finite = np.isfinite(chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, dimension)).all(axis=1)
        if not finite.all():
            bad = records["record_id"][at + int(np.argmin(finite))].as_py()
            raise StoreError(f"the vector of record {bad!r} has values that are not finite.", place=place)
        at += len(chunk)


def _check_metadata(records: pa.Table, *, place: str) -> None:
    raw = np.zeros(records.num_rows, dtype=np.int64)
    for name in _TEXT_FIELDS:
        raw += pc.binary_length(records[name]).to_numpy()
    # Encoding every record to measure it would cost more than writing it; few come near the limit.
    suspects = np.flatnonzero(raw * _LONGEST_ESCAPE + _KEYS_AND_NUMBERS_BYTES > MAX_METADATA_BYTES)
    for record in records.select([n for n in records.column_names if n != "vector"]).take(suspects).to_pylist():
        size = len(metadata_json(record).encode("utf-8"))
        if size > MAX_METADATA_BYTES:
            raise StoreError(
                f"record {record['record_id']!r} (row key {record['row_key']!r}) has {size} bytes of metadata, "
                f"over the limit of {MAX_METADATA_BYTES}.",
                place=place,
                hint="Use smaller chunks or fewer metadata columns.",
            )


def _last_of_each(records: pa.Table) -> pa.Table:
    if pc.count_distinct(records["record_id"]).as_py() == records.num_rows:
        return records
    last = {record_id: position for position, record_id in enumerate(records["record_id"].to_pylist())}
    return records.take(sorted(last.values()))
