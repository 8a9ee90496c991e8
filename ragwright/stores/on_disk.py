"""Searching a LanceDB table that is too large to hold in memory, with the results that memory would give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import Match, records_schema
from ragwright.stores import nearest, words
from ragwright.stores.snapshot import read_ranked, take

_BATCH_ROWS = 8_192
_TIES = (
    16  # more records than asked for, so that ties at the edge are settled by record id and not by the order on disk
)
_RUN = 65_536  # texts whose words are counted at a time


def visible_at(as_of: int) -> str:
    """The condition, in SQL, that a generation sees a record."""
    return f"born <= {int(as_of)} AND died > {int(as_of)}"


def query(table: Any, vector: nearest.Floats, *, k: int, as_of: int) -> list[Match]:
    """The k records nearest to a vector, by LanceDB's own search."""
    columns = records_schema(len(vector)).names
    search = table.search(vector, vector_column_name="vector").distance_type("cosine").select([*columns, "_distance"])
    found = search.where(visible_at(as_of), prefilter=True).limit(k + _TIES).to_arrow()
    return nearest.ranked(found.select(columns), vector, k)


def query_many(table: Any, vectors: nearest.Floats, *, k: int, as_of: int) -> list[list[Match]]:
    """The k records nearest to each of many vectors, float32 [n, dimension], in one reading of the table.

    Raises:
        RowsMoved: The table was compacted meanwhile.
    """
    count, dimension = vectors.shape
    scores = np.full((count, k + _TIES), -np.inf, np.float32)
    rows = np.zeros((count, k + _TIES), np.uint64)
    reading = table.search().where(visible_at(as_of)).select(["vector"]).with_row_id(True)
    for batch in reading.to_batches(batch_size=_BATCH_ROWS):
        block = nearest.matrix(batch["vector"], dimension)
        lengths = nearest.lengths(block)
        here = np.stack([nearest.similarities(block, lengths, vector) for vector in vectors])
        addresses = np.broadcast_to(batch["_rowid"].to_numpy(), here.shape)
        all_scores, all_rows = np.concatenate([scores, here], axis=1), np.concatenate([rows, addresses], axis=1)
        best = np.argpartition(-all_scores, k + _TIES - 1, axis=1)[:, : k + _TIES]
        scores, rows = np.take_along_axis(all_scores, best, axis=1), np.take_along_axis(all_rows, best, axis=1)
    chosen = [one[score > -np.inf] for one, score in zip(rows, scores, strict=True)]
    needed = np.unique(np.concatenate(chosen)) if chosen else np.zeros(0, np.uint64)
    if not len(needed):
        return [[] for _ in chosen]
    records = take(table, needed, records_schema(dimension).names)
    addresses = records["_rowid"].combine_chunks()
    places = [pc.index_in(pa.array(one), value_set=addresses) for one in chosen]
    return [nearest.ranked(records.take(at), vector, k) for at, vector in zip(places, vectors, strict=True)]


def search_text(table: Any, wanted: Sequence[str], *, k: int, as_of: int) -> list[Match]:
    """The k records that share most of the terms `wanted`; reads the text of all that are visible.

    Raises:
        RowsMoved: The table was compacted meanwhile.
    """
    return search_text_many(table, [wanted], k=k, as_of=as_of)[0]


def search_text_many(table: Any, wanted: Sequence[Sequence[str]], *, k: int, as_of: int) -> list[list[Match]]:
    """The k records that share most of each of several lists of terms, in one reading of the table.

    Raises:
        RowsMoved: The table was compacted meanwhile.
    """
    rows: list[npt.NDArray[np.uint64]] = []

    def texts() -> Iterator[str | None]:
        reading = table.search().where(visible_at(as_of)).select(list(words.FIELDS)).with_row_id(True)
        for batch in reading.to_batches(batch_size=_BATCH_ROWS):
            rows.append(batch["_rowid"].to_numpy())
            yield from words.texts(batch)

    terms = list(dict.fromkeys(chain.from_iterable(wanted)))
    left, runs = texts(), list[words.Postings]()
    while not runs or len(runs[-1].lengths) == _RUN:
        runs.append(words.Postings.of(islice(left, _RUN), only=terms))
    visible = np.ones(sum(len(run.lengths) for run in runs), dtype=bool)
    addresses = np.concatenate(rows) if rows else np.zeros(0, np.uint64)
    found = []
    for asked in wanted:
        scores = words.scores(runs, visible, asked)
        sharing = words.candidates(scores, k)
        found.append(read_ranked(table, addresses[sharing], scores[sharing], k))
    return found
