"""Tables of a catalog that are read and written in parts: memory holds a part, not the table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from ragwright.errors import StorageFull, is_disk_full
from ragwright.index.catalog import Catalog

ROWS = 65_536
"""Rows of a table that are in memory at a time."""

# A file up to this size never touches the disk on its way.
_SPOOLED_BYTES = 2**24
_COMPRESSION: dict[str, Any] = {"compression": "zstd", "compression_level": 1}


@dataclass(frozen=True)
class Facts:
    """What a Parquet file says of itself.

    Attributes:
        rows: How many.
        metadata: What its writer noted beside the schema.
    """

    rows: int
    metadata: Mapping[str, str]


class TableWriter:
    """Writes one table of a catalog, a part at a time; `writing` makes one."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._schema = schema
        self._parquet = pq.ParquetWriter(file, schema, **_COMPRESSION)
        self.groups = 0

    def write(self, part: pa.Table) -> None:
        """Add rows, as a group that can be read by itself; an empty part leaves nothing."""
        if len(part):
            self._parquet.write_table(part.cast(self._schema), row_group_size=len(part))
            self.groups += 1

    def note(self, metadata: Mapping[str, str]) -> None:
        """Add to what the file says of itself."""
        self._parquet.add_key_value_metadata(dict(metadata))

    def close(self) -> None:
        """Write the end."""
        self._parquet.close()


@contextmanager
def writing(catalog: Catalog, path: str, schema: pa.Schema) -> Iterator[TableWriter]:
    """Write or replace a Parquet file: there once the block has ended, and not at all if it fails.

    Raises:
        StorageFull: No room for it, here or there.
        CatalogError: It cannot be written.
    """
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as spooled:
        file = cast("IO[bytes]", spooled)
        try:
            writer = TableWriter(file, schema)
            try:
                yield writer
            finally:
                writer.close()
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise StorageFull(
                f"no room to write {path!r}", place=tempfile.gettempdir(), hint="Free some space and run again."
            ) from error
        catalog.write_file(path, file)


def facts(catalog: Catalog, path: str) -> Facts | None:
    """What a Parquet file says of itself, from its end alone; None if there is none."""
    with _reading(catalog, path) as found:
        if found is None:
            return None
        noted = {key.decode(): value.decode() for key, value in (found.metadata.metadata or {}).items()}
        return Facts(found.metadata.num_rows, noted)


def batches(
    catalog: Catalog, path: str, columns: Sequence[str], *, groups: Sequence[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Some columns of a Parquet file, a part at a time; nothing if there is no such file.

    Args:
        catalog: Where it is.
        path: Its place there.
        columns: The only ones that are read, in this order.
        groups: Only these of the parts that were written; None: all.
    """
    with _reading(catalog, path) as found:
        if found is None:
            return
        for batch in found.iter_batches(ROWS, columns=list(columns), row_groups=groups, use_threads=False):
            yield batch.select(list(columns))


@contextmanager
def _reading(catalog: Catalog, path: str) -> Iterator[pq.ParquetFile | None]:
    file = catalog.open(path)
    if file is None:
        yield None
        return
    try:
        with pq.ParquetFile(file, pre_buffer=False) as found:
            yield found
    except (pa.ArrowInvalid, OSError) as error:
        raise catalog.damaged(path, "a readable Parquet file", error) from error


def table_of(parts: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Parts as one table in a layout; an empty one if there are none."""
    return pa.Table.from_batches([part.cast(schema) for part in parts], schema)
