"""Searching a LanceDB table that is too large to hold in memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import Match, records_schema
from ragwright.stores import nearest, vector_index, visibility
from ragwright.stores.fragment_words import FragmentWords
from ragwright.stores.snapshot import read_ranked, take

log = logging.getLogger(__name__)

_BATCH_ROWS = 8_192


@dataclass(frozen=True)
class OnDisk:
    """One version of a table: vectors by LanceDB's index where there is one, else exactly; words exactly.

    Attributes:
        table: A handle pinned to the version.
        dimension: Length of a vector.
        indexed: Whether the table has a vector index.
        words: Of the rows; read when a search first asks for them, and shared by later versions.
    """

    table: Any
    dimension: int
    indexed: bool
    words: FragmentWords = field(default_factory=FragmentWords)

    @classmethod
    def load(cls, table: Any, dimension: int) -> OnDisk:
        """Look at what a pinned table has; nothing is read."""
        return cls(table, dimension, vector_index.exists(table))

    def advanced(self, table: Any) -> OnDisk:
        """The same for another version of the same table."""
        return OnDisk(table, self.dimension, vector_index.exists(table), self.words)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that vectors take."""
        return 0

    def read_ahead(self, most_bytes: int) -> None:
        """Have at hand what searches before this version needed; it takes no memory that counts."""
        self.words.follow(self.table)

    def query_many(self, vectors: nearest.Floats, *, k: int, as_of: int) -> list[list[Match]]:
        """The k records nearest to each of some vectors, float32 [n, dimension], that generation `as_of` sees.

        With an index nearly always those (docs/performance.md), without one exactly those.

        Raises:
            RowsMoved: The table was compacted meanwhile.
        """
        found = [self._by_index(vector, k=k, as_of=as_of) for vector in vectors]
        left = [at for at, matches in enumerate(found) if matches is None]
        rest = iter(self._exactly(vectors[left], k=k, as_of=as_of) if left else ())
        return [next(rest) if matches is None else matches for matches in found]

    def _by_index(self, vector: nearest.Floats, *, k: int, as_of: int) -> list[Match] | None:
        """What the index finds; None where it cannot tell: it has no vectors without a direction."""
        if not self.indexed or not vector.any():
            return None
        try:
            rows = vector_index.search(self.table, vector, k=k, as_of=as_of)
        except vector_index.Unusable as error:
            log.warning("searching without the vector index of %s, which is slow: %s", self.table.name, error)
            return None
        if rows is None:
            return None
        columns = records_schema(self.dimension).names
        return nearest.ranked(take(self.table, rows, columns).select(columns), vector, k)

    def _exactly(self, vectors: nearest.Floats, *, k: int, as_of: int) -> list[list[Match]]:
        """One reading of the table for all of them."""
        scores = [np.zeros(0, np.float32) for _ in vectors]
        rows = [np.zeros(0, np.uint64) for _ in vectors]
        reading = self.table.search().where(visibility.condition(as_of)).select(["vector"]).with_row_id(True)
        for batch in reading.to_batches(batch_size=_BATCH_ROWS):
            block = nearest.matrix(batch["vector"], self.dimension)
            addresses = batch["_rowid"].to_numpy()
            for at, here in enumerate(nearest.similarities_of_many(block, nearest.lengths(block), vectors)):
                both = np.concatenate([scores[at], here])
                best = nearest.candidates(both, k)
                scores[at], rows[at] = both[best], np.concatenate([rows[at], addresses])[best]
        needed = np.unique(np.concatenate(rows)) if rows else np.zeros(0, np.uint64)
        if not len(needed):
            return [[] for _ in rows]
        records = take(self.table, needed, records_schema(self.dimension).names)
        addresses = records["_rowid"].combine_chunks()
        places = [pc.index_in(pa.array(one), value_set=addresses) for one in rows]
        return [nearest.ranked(records.take(at), vector, k) for at, vector in zip(places, vectors, strict=True)]

    def search_text_many(self, wanted: Sequence[Sequence[str]], *, k: int, as_of: int) -> list[list[Match]]:
        """The k records that share most of each of some lists of terms, among those that `as_of` sees.

        Raises:
            RowsMoved: As `query_many`.
        """
        found = [self.words.candidates(self.table, terms, k=k, as_of=as_of) for terms in wanted]
        return read_ranked(self.table, [rows for rows, _ in found], [scores for _, scores in found], k)
