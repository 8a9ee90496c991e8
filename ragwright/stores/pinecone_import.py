"""Filling a new Pinecone namespace from Parquet files on S3, which Pinecone fetches by itself.

Layout and limits: https://docs.pinecone.io/guides/index-data/import-data. A folder below the address holds the files of
the namespace of that name, which must not be there yet; the index must be on AWS; an import takes ten minutes at least.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ragwright.documents import records_schema
from ragwright.errors import BadReply
from ragwright.stores import BulkLoad
from ragwright.stores import pinecone_records as wire
from ragwright.stores.pinecone_errors import translated

if TYPE_CHECKING:
    from pinecone import Index

LAYOUT = pa.schema([("id", pa.string()), ("values", pa.list_(pa.float32())), ("metadata", pa.string())])
"""Columns of a file; the metadata is a JSON object."""

_STATES: dict[str, Literal["running", "done", "failed", "cancelled"]] = {
    "Pending": "running",
    "InProgress": "running",
    "Completed": "done",
    "Failed": "failed",
    "Cancelled": "cancelled",
}


def file_of(records: pa.Table, dimension: int) -> bytes:
    """The records as a Parquet file that Pinecone imports."""
    rows = list(wire.to_wire(records, dimension))
    columns = [
        pa.array([row["id"] for row in rows], pa.string()),
        pa.array([row["values"] for row in rows], pa.list_(pa.float32())),
        pa.array([orjson.dumps(row["metadata"]).decode() for row in rows], pa.string()),
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, LAYOUT), buffer, compression="snappy")
    return buffer.getvalue()


def records_of(data: bytes, dimension: int, *, place: str) -> pa.Table:
    """The records that a file was made of."""
    rows = pq.read_table(io.BytesIO(data)).to_pylist()
    found = ((row["id"], orjson.loads(row["metadata"]), row["values"]) for row in rows)
    return wire.table(found, records_schema(dimension), place=place)


def start(index: Index, url: str, integration: str, *, place: str) -> str:
    """Start an import that ends at the first record it cannot read; its id."""
    with translated(place):
        return index.start_import(url, error_mode="abort", integration_id=integration or None).id


def imports(index: Index, url: str, *, place: str) -> list[BulkLoad]:
    """The imports from an address that Pinecone remembers, the newest first."""
    with translated(place):
        found = [model for model in index.list_imports() if model.uri.rstrip("/") == url.rstrip("/")]
    return [_load(model, place) for model in sorted(found, key=lambda model: model.created_at, reverse=True)]


def describe(index: Index, import_id: str, *, place: str) -> BulkLoad:
    """One import."""
    with translated(place):
        model = index.describe_import(import_id)
    return _load(model, place)


def cancel(index: Index, import_id: str, *, place: str) -> None:
    """Stop an import; one that has ended stays as it is."""
    with translated(place):
        index.cancel_import(import_id)


def _load(model: object, place: str) -> BulkLoad:
    from pinecone.models.imports.model import ImportModel

    if not isinstance(model, ImportModel) or model.status not in _STATES:
        raise BadReply(f"an import is in no state that is known: {model!r}.", place=place)
    return BulkLoad(
        id=model.id,
        state=_STATES[model.status],
        percent=float(model.percent_complete or 0.0),
        records=int(model.records_imported or 0),
        error=model.error or "",
    )
