"""The vectors of one version of a LanceDB table in memory, searched exactly and brought up to date by what changed.

LanceDB searches 100,000 records with a visibility filter in hundreds of milliseconds, this in about ten. A row of a
LanceDB table never changes at its address: replacing or marking a record writes a new row elsewhere. So the addresses
(`_rowid`) that two versions share need not be read again, and only `born` and `died` decide who sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import Match, records_schema
from ragwright.stores import nearest

_BATCH_ROWS = 8_192
_MOST_BLOCKS = 32
_NEVER = np.iinfo(np.int64).min  # as `died` of a row that is gone: no generation sees it

Integers = npt.NDArray[np.int64]


class RowsMoved(Exception):
    """Rows of the snapshot's version are no longer on disk: the table was compacted and swept since."""


@dataclass(frozen=True)
class _Block:
    vectors: nearest.Floats
    lengths: nearest.Floats

    @classmethod
    def of(cls, vectors: nearest.Floats) -> _Block:
        return cls(vectors, nearest.lengths(vectors))


@dataclass(frozen=True)
class Snapshot:
    """Everything a query needs except the records' text, which is read for the few that are found.

    Attributes:
        table: A handle pinned to the snapshot's version.
        dimension: Length of a vector.
        rows: Addresses, uint64 [n], in the order of the blocks.
        born: First generation that sees the row, int64 [n].
        died: First generation that no longer does, int64 [n].
        blocks: The vectors, in runs; one for each time the snapshot was brought up to date.
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
        """Bytes of memory that the vectors take."""
        return sum(block.vectors.nbytes for block in self.blocks)

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
        added = _take(table, new, ["born", "died", "vector"])
        return Snapshot(
            table,
            self.dimension,
            np.concatenate([self.rows, added["_rowid"].to_numpy()]),
            np.concatenate([born, added["born"].to_numpy()]),
            np.concatenate([died, added["died"].to_numpy()]),
            (*self.blocks, _Block.of(nearest.matrix(added["vector"], self.dimension))),
        )

    def query(self, vector: nearest.Floats, *, k: int, as_of: int) -> list[Match]:
        """The k rows nearest to `vector` that generation `as_of` sees.

        Raises:
            RowsMoved: The version is gone from the disk; take a snapshot of the latest.
        """
        scores = np.concatenate([nearest.similarities(block.vectors, block.lengths, vector) for block in self.blocks])
        visible = np.flatnonzero((self.born <= as_of) & (as_of < self.died))
        chosen = visible[nearest.candidates(scores[visible], k)]
        if not len(chosen):
            return []
        found = _take(self.table, self.rows[chosen], records_schema(self.dimension).names)
        return nearest.ranked(found, vector, k)

    @cached_property
    def _row_index(self) -> pa.Array:
        return pa.array(self.rows)


def _take(table: Any, rows: npt.NDArray[np.uint64], columns: list[str]) -> pa.Table:
    found = table.take_row_ids(rows.tolist()).select(columns).with_row_id().to_arrow()
    if found.num_rows != len(rows):
        raise RowsMoved
    return found
