"""One version of a LanceDB table in memory, searched exactly and brought up to date by what changed.

LanceDB searches 100,000 records with a visibility filter in hundreds of milliseconds, this in about ten. A row of a
LanceDB table never changes at its address: replacing or marking a record writes a new row elsewhere. So the addresses
(`_rowid`) that two versions share need not be read again, and only `born` and `died` decide who sees them.

Vectors are read at once, words when the first search asks for them (docs/decisions/0013 says why LanceDB's own
full-text index is not used).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import Match, records_schema
from ragwright.stores import nearest, words

_BATCH_ROWS = 8_192
_MOST_BLOCKS = 32
_AT_ONCE = 16  # questions whose similarities are in memory at a time
_SHOWN = [name for name in records_schema(1).names if name in Match.__dataclass_fields__]
_NEVER = np.iinfo(np.int64).min  # as `died` of a row that is gone: no generation sees it

Integers = npt.NDArray[np.int64]


class RowsMoved(Exception):
    """Rows of the snapshot's version are no longer on disk: the table was compacted and swept since."""


@dataclass
class _Block:
    vectors: nearest.Floats
    lengths: nearest.Floats
    postings: words.Postings | None = None  # once a search has asked for them; of the rows there were then
    shown: pa.Table | None = None  # once they are held; of the rows there were then, in the block's order
    reading: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, vectors: nearest.Floats) -> _Block:
        return cls(vectors, nearest.lengths(vectors))


@dataclass(frozen=True)
class Snapshot:
    """Everything a search needs except the records as they are shown, which are read for the few that are found.

    Attributes:
        table: A handle pinned to the snapshot's version.
        dimension: Length of a vector.
        rows: Addresses, uint64 [n], in the order of the blocks.
        born: First generation that sees the row, int64 [n].
        died: First generation that no longer does, int64 [n].
        blocks: Vectors and words, in runs; one for each time the snapshot was brought up to date. Snapshots share them.
    """

    table: Any
    dimension: int
    rows: npt.NDArray[np.uint64]
    born: Integers
    died: Integers
    blocks: tuple[_Block, ...]

    @classmethod
    def load(cls, table: Any, dimension: int) -> Snapshot:
        """Read the whole of a pinned table, in batches straight into place."""
        count = table.count_rows()
        vectors = np.empty((count, dimension), dtype=np.float32)
        rows, born, died = np.empty(count, dtype=np.uint64), np.empty(count, np.int64), np.empty(count, np.int64)
        at = 0
        query = table.search().select(["born", "died", "vector"]).with_row_id(True)
        for batch in query.to_batches(batch_size=_BATCH_ROWS):
            here = slice(at, at + batch.num_rows)
            vectors[here] = nearest.matrix(batch["vector"], dimension)
            rows[here], born[here], died[here] = batch["_rowid"], batch["born"], batch["died"]
            at += batch.num_rows
        return cls(table, dimension, rows, born, died, (_Block.of(vectors),))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that vectors take, and what matches show."""
        return sum(
            block.vectors.nbytes + (0 if block.shown is None else int(block.shown.nbytes)) for block in self.blocks
        )

    def advanced(self, table: Any) -> Snapshot:
        """The snapshot of another version of the same table, sharing the vectors of rows that both have."""
        keys = table.search().select(["born", "died"]).with_row_id(True).to_arrow()
        row_ids = keys["_rowid"].to_numpy()
        at = pc.index_in(keys["_rowid"], value_set=self._row_index)
        known = at.is_valid().to_numpy()
        new = row_ids[~known]
        survivors = int(known.sum())
        if len(new) * 10 > survivors or survivors * 2 < len(self.rows) or len(self.blocks) >= _MOST_BLOCKS:
            return self.load(table, self.dimension)
        born, died = np.zeros_like(self.born), np.full_like(self.died, _NEVER)
        place = at.drop_null().to_numpy()
        born[place], died[place] = keys["born"].to_numpy()[known], keys["died"].to_numpy()[known]
        if not len(new):
            return Snapshot(table, self.dimension, self.rows, born, died, self.blocks)
        added = take(table, new, ["born", "died", "vector"])
        return Snapshot(
            table,
            self.dimension,
            np.concatenate([self.rows, added["_rowid"].to_numpy()]),
            np.concatenate([born, added["born"].to_numpy()]),
            np.concatenate([died, added["died"].to_numpy()]),
            (*self.blocks, _Block.of(nearest.matrix(added["vector"], self.dimension))),
        )

    def query_many(self, vectors: nearest.Floats, *, k: int, as_of: int) -> list[list[Match]]:
        """The k rows nearest to each of some vectors, float32 [n, dimension], that generation `as_of` sees.

        Raises:
            RowsMoved: The version is gone from the disk; take a snapshot of the latest.
        """
        visible = np.flatnonzero(self.visible(as_of))
        chosen: list[Integers] = []
        scores: list[npt.NDArray[np.float64]] = []
        for start in range(0, len(vectors), _AT_ONCE):
            some = vectors[start : start + _AT_ONCE]
            parts = [nearest.similarities_of_many(block.vectors, block.lengths, some) for block in self.blocks]
            near = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
            for row, vector in zip(near, some, strict=True):
                chosen.append(visible[nearest.candidates(row[visible], k)])
                scores.append(nearest.exact(self._vectors(chosen[-1]), vector))
        return self._shown(chosen, scores, k)

    def search_text_many(self, wanted: Sequence[Sequence[str]], *, k: int, as_of: int) -> list[list[Match]]:
        """The k rows that share most of each of some lists of terms, among those that generation `as_of` sees.

        Raises:
            RowsMoved: As `query_many`.
        """
        visible = self.visible(as_of)
        postings = self._postings(visible)
        scores = [words.scores(postings, visible, one) for one in wanted]
        chosen = [words.candidates(one, k) for one in scores]
        return self._shown(chosen, [one[at] for one, at in zip(scores, chosen, strict=True)], k)

    def visible(self, as_of: int) -> npt.NDArray[np.bool_]:
        """Whether generation `as_of` sees each row, bool [n]."""
        seen: npt.NDArray[np.bool_] = (self.born <= as_of) & (as_of < self.died)
        return seen

    def _vectors(self, positions: Integers) -> nearest.Floats:
        """Of few rows, float32 [n, dimension]."""
        found = np.empty((len(positions), self.dimension), np.float32)
        start = 0
        for block in self.blocks:
            here = (positions >= start) & (positions < start + len(block.vectors))
            found[here] = block.vectors[positions[here] - start]
            start += len(block.vectors)
        return found

    def _shown(
        self, chosen: Sequence[Integers], scores: Sequence[npt.NDArray[np.float64]], k: int
    ) -> list[list[Match]]:
        if any(block.shown is None for block in self.blocks):
            return read_ranked(self.table, [self.rows[one] for one in chosen], scores, k)
        found = []
        for positions, those in zip(chosen, scores, strict=True):
            parts, order, start = [], [], 0
            for block in self.blocks:
                here = np.flatnonzero((positions >= start) & (positions < start + len(block.vectors)))
                if len(here) and block.shown is not None:
                    parts.append(block.shown.take(positions[here] - start))
                    order.append(here)
                start += len(block.vectors)
            records = pa.concat_tables(parts) if parts else None
            if records is not None and records["record_id"].null_count:
                raise RowsMoved  # a newer snapshot read them, without rows that have gone since this one
            found.append([] if records is None else nearest.by_score(records, those[np.concatenate(order)], k))
        return found

    def read_ahead(self, most_bytes: int) -> None:
        """Have at hand the words that searches before this version needed, and what matches show.

        The latter only if the snapshot then takes no more than so many bytes.

        Raises:
            RowsMoved: As `query_many`.
        """
        left, start = most_bytes - self.nbytes, 0
        if any(block.postings for block in self.blocks):
            self._postings(self.died != _NEVER)
        for block in self.blocks:
            here = slice(start, start + len(block.vectors))
            start = here.stop
            with block.reading:
                if block.shown is None:
                    parts = []
                    for part in self._read(here, _SHOWN):
                        parts.append(part)
                        left -= part.nbytes
                        if left < 0:
                            return
                    block.shown = pa.concat_tables(parts).combine_chunks() if parts else None

    def _postings(self, visible: npt.NDArray[np.bool_]) -> list[words.Postings]:
        """Of every block; read where no search has asked for them yet."""
        found: list[words.Postings] = []
        start = 0
        for block in self.blocks:
            here = slice(start, start + len(block.vectors))
            start = here.stop
            with block.reading:
                postings = block.postings = block.postings or words.Postings.of(self._texts(here))
            if (postings.lengths[visible[here]] < 0).any():
                raise RowsMoved  # a newer snapshot read the words, without rows that have gone since this one
            found.append(postings)
        return found

    def _texts(self, here: slice) -> Iterator[str | None]:
        """What is searched of a run of rows; None for those that are gone."""
        for found in self._read(here, list(words.FIELDS)):
            yield from words.texts(found)

    def _read(self, here: slice, columns: list[str]) -> Iterator[pa.Table]:
        """A run of rows in its order, in batches; nulls for those that are gone."""
        for start in range(here.start, here.stop, _BATCH_ROWS):
            batch = slice(start, min(start + _BATCH_ROWS, here.stop))
            there = self.rows[batch][self.died[batch] != _NEVER]
            if not len(there):
                layout = records_schema(self.dimension)
                yield pa.table({name: pa.nulls(len(self.rows[batch]), layout.field(name).type) for name in columns})
                continue
            found = take(self.table, there, columns)
            at = pc.index_in(pa.array(self.rows[batch]), value_set=found["_rowid"].combine_chunks())
            yield found.select(columns).take(at)

    @cached_property
    def _row_index(self) -> pa.Array:
        return pa.array(self.rows)


def read_ranked(
    table: Any, rows: Sequence[npt.NDArray[np.uint64]], scores: Sequence[npt.NDArray[np.float64]], k: int
) -> list[list[Match]]:
    """The k best of each of several lists of rows, whose addresses and scores are given, read at once.

    Raises:
        RowsMoved: They are not all there.
    """
    needed = np.unique(np.concatenate(rows)) if rows else np.zeros(0, np.uint64)
    if not len(needed):
        return [[] for _ in rows]
    found = take(table, needed, _SHOWN)
    addresses = found["_rowid"].combine_chunks()
    places = [pc.index_in(pa.array(one), value_set=addresses) for one in rows]
    return [nearest.by_score(found.take(at), those, k) for at, those in zip(places, scores, strict=True)]


def take(table: Any, rows: npt.NDArray[np.uint64], columns: list[str]) -> pa.Table:
    """Rows by their addresses, in any order, with the addresses as `_rowid`.

    Raises:
        RowsMoved: They are not all there.
    """
    found = table.take_row_ids(rows.tolist()).select(columns).with_row_id().to_arrow()
    if found.num_rows != len(rows):
        raise RowsMoved
    return found
