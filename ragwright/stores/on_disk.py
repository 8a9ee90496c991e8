"""Searching a LanceDB table that is too large to hold in memory, with the results that memory would give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ragwright.documents import Match, records_schema
from ragwright.stores import nearest, words
from ragwright.stores.snapshot import read_ranked

_BATCH_ROWS = 8_192


def visible_at(as_of: int) -> str:
    """The condition, in SQL, that a generation sees a record."""
    return f"born <= {int(as_of)} AND died > {int(as_of)}"


def query(table: Any, vector: nearest.Floats, *, k: int, as_of: int) -> list[Match]:
    """The k records nearest to a vector, by LanceDB's own search."""
    columns = records_schema(len(vector)).names
    search = table.search(vector, vector_column_name="vector").distance_type("cosine").select([*columns, "_distance"])
    # A few more than asked for, so that ties at the edge are settled by record id and not by LanceDB's order.
    found = search.where(visible_at(as_of), prefilter=True).limit(k + 16).to_arrow()
    return nearest.ranked(found.select(columns), vector, k)


def search_text(table: Any, wanted: Sequence[str], *, k: int, as_of: int) -> list[Match]:
    """The k records that share most of the terms `wanted`; reads the text of all that are visible.

    Raises:
        RowsMoved: The table was compacted meanwhile.
    """
    rows: list[npt.NDArray[np.uint64]] = []

    def texts() -> Iterator[str | None]:
        reading = table.search().where(visible_at(as_of)).select(list(words.FIELDS)).with_row_id(True)
        for batch in reading.to_batches(batch_size=_BATCH_ROWS):
            rows.append(batch["_rowid"].to_numpy())
            yield from words.texts(batch)

    postings = words.Postings.of(texts(), only=wanted)
    scores = words.scores([postings], np.ones(len(postings.lengths), dtype=bool), wanted)
    sharing = words.candidates(scores, k)
    return read_ranked(table, np.concatenate(rows)[sharing] if rows else np.zeros(0, np.uint64), scores[sharing], k)
