"""The lines of a manifest: what an earlier generation shows of the source, and what the new one is to show.

Read a run at a time; of an earlier generation's rows 48 bytes stay in memory while they are looked up, and its lines
where some of them are shown on.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.index import tables
from ragwright.index.attempt import MANIFEST, Attempt, manifest_of
from ragwright.index.catalog import Catalog, folder
from ragwright.seen import NEVER, Seen

SOURCE = pa.schema([("row", pa.int64()), ("row_key", pa.string()), ("base_row", pa.int64())])
"""A source row that is fit: its number, its key, and its number in the base (`ShownRows`), or `NEVER`."""
LINES = pa.schema([MANIFEST.field(name) for name in ("row", "row_key", "row_hash", "part", "parts", "chunk_id")])
"""What a generation shows, before it is known which records show it."""


class ShownRows:
    """The rows that a generation shows: their keys, and the hash of each. They are numbered from 0, in its order."""

    def __init__(self) -> None:
        self._rows, self._keys = Seen(), Seen()

    @classmethod
    def by(cls, catalog: Catalog, generation: int) -> ShownRows:
        """Those of one generation; none if its number is 0."""
        found = cls()
        path = f"{folder(generation)}/manifest.parquet"
        for lines in tables.batches(catalog, path, ["row_key", "row_hash", "part"]) if generation else ():
            first = lines.filter(pc.equal(lines["part"], 0))
            numbers = np.arange(len(found), len(found) + len(first))
            found._rows.note(_identities(first), numbers)
            found._keys.note(first["row_key"].to_pylist(), numbers)
        return found

    def __len__(self) -> int:
        """How many rows."""
        return len(self._keys)

    def numbers(self, rows: pa.Table) -> npt.NDArray[np.int64]:
        """The number of each row (with `row_key` and `row_hash`) that it shows as it is, else `NEVER`: [len(rows)]."""
        if not len(self._keys):
            return np.full(len(rows), NEVER, np.int64)
        return self._rows.find(_identities(rows))

    def keys_among(self, rows: pa.Table) -> int:
        """How many of the rows have the key of one that it shows."""
        return int((self._keys.find(rows["row_key"].to_pylist()) != NEVER).sum()) if len(self._keys) else 0


class DesiredLines:
    """The new generation's manifest but for the records' ids (`LINES`), in the source's order, a run at a time.

    Lines of unchanged rows come from the base's manifest, with the row's number of today. They may be gone through more
    than once; where they are a single run it is put together only once.
    """

    def __init__(self, attempt: Attempt, partitions: int) -> None:
        self._attempt, self._partitions = attempt, partitions
        self._only: list[pa.Table] | None = None

    def __iter__(self) -> Iterator[pa.Table]:
        if self._only is not None:
            yield from self._only
            return
        kept, count = list[pa.Table](), 0
        for lines in _desired_lines(self._attempt, self._partitions):
            count += 1
            kept = [lines] if count == 1 else []
            yield lines
        if count <= 1:
            self._only = kept


def _desired_lines(attempt: Attempt, partitions: int) -> Iterator[pa.Table]:
    if attempt.same_as:
        path = f"{folder(attempt.same_as)}/manifest.parquet"
        yield from map(_as_lines, tables.batches(attempt.catalog, path, LINES.names))
        return
    base = attempt.base_manifest
    unchanged = _Unchanged(attempt, base) if base is not None and len(base) else None
    staged = _StagedLines(attempt, partitions)
    for batch in tables.batches(attempt.catalog, attempt.path("source.parquet"), SOURCE.names):
        rows = pa.Table.from_batches([batch])
        lines = staged.through(rows["row"][-1].as_py())
        if unchanged:
            lines = pa.concat_tables([lines, unchanged.of(rows)]).sort_by([("row", "ascending"), ("part", "ascending")])
        yield lines.combine_chunks()


def chunk_ids(lines: pa.Table) -> pa.Array:
    """The ids of chunks, as one array."""
    return lines["chunk_id"].combine_chunks()


def _as_lines(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch.cast(LINES)])


class _StagedLines:
    """Lines of staged chunks, in order."""

    def __init__(self, attempt: Attempt, partitions: int) -> None:
        self._attempt, self._left, self._waiting = attempt, iter(range(partitions)), LINES.empty_table()

    def through(self, row: int) -> pa.Table:
        """Those of rows up to this one that were not given before."""
        found = []
        while True:
            upto = int(np.searchsorted(self._waiting["row"].to_numpy(), row, "right"))
            found.append(self._waiting.slice(0, upto))
            self._waiting = self._waiting.slice(upto)
            if len(self._waiting) or (number := next(self._left, None)) is None:
                return pa.concat_tables(found)
            chunks = self._attempt.table(f"chunks/{number:05d}.parquet", columns=LINES.names)
            self._waiting = chunks.select(LINES.names).cast(LINES)


class _Unchanged:
    """Lines of the base's manifest whose rows are as they were, damaged ones left out."""

    def __init__(self, attempt: Attempt, base: pa.Table) -> None:
        self._base, self._damage = base.select(LINES.names), attempt.damage
        self._parts = base["parts"].to_numpy()
        self._first = np.flatnonzero(base["part"].to_numpy() == 0)

    def of(self, rows: pa.Table) -> pa.Table:
        """Those of some source rows (`SOURCE`)."""
        found = rows["base_row"].to_numpy()
        at = np.flatnonzero((found != NEVER) & ~self._damage.concerns(rows).to_numpy(zero_copy_only=False))
        start = self._first[found[at]]
        count = self._parts[start]
        # A row's lines are neighbours: start, start + 1, ... for as many as it has parts.
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        lines = self._base.take(pa.array(np.repeat(start, count) + within))
        numbers = np.repeat(rows["row"].to_numpy()[at], count)
        return lines.set_column(0, "row", pa.array(numbers, pa.int64())).cast(LINES)


def row_numbers(catalog: Catalog, generation: int) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.int64]]:
    """The records that a generation shows, sorted, bytes [n], and the number of each one's row, int64 [n].

    Raises:
        CatalogError: It has no manifest: it was never planned, or vacuum removed it.
    """
    parts = list(tables.batches(catalog, f"{folder(generation)}/manifest.parquet", ["record_id", "row"]))
    if not parts:
        manifest_of(catalog, generation)
    ids = np.concatenate([np.zeros(0, "S1"), *(np.array(part["record_id"].to_pylist(), np.bytes_) for part in parts)])
    rows = np.concatenate([np.zeros(0, np.int64), *(part["row"].to_numpy() for part in parts)])
    order = np.argsort(ids)
    return ids[order], rows[order]


def _identities(rows: pa.Table | pa.RecordBatch) -> list[str]:
    found: list[str] = pc.binary_join_element_wise(rows["row_hash"], rows["row_key"], " ").to_pylist()
    return found
