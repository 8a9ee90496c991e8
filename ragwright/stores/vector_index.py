"""LanceDB's index over the vectors of a space that is too large to hold in memory: when it pays, and its use."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ragwright.stores import nearest, visibility

LEAST_ROWS = 50_000
"""Smaller spaces are read through in less time than readers notice."""

_NAME = "vector_idx"
_ROWS_A_PARTITION, _MOST_PARTITIONS = 16_384, 256
_SAMPLE, _ITERATIONS = 128, 10  # vectors a partition that its centre is learnt from, and how often
_BITS = 4  # of each number of a vector
_REFINED = 3  # times as many candidates as asked for whose exact distance is looked up
_MORE_TIMES, _MORE = 2, 32  # of what is asked for: more, because some of it may not be visible
_UNINDEXED = 0.01  # share of rows outside the index from which on bringing it up to date pays: they are read through
_CODED = 8  # numbers of a vector that are coded together: its dimension has to be a multiple


class Unusable(Exception):
    """LanceDB cannot search by the index."""


def exists(table: Any) -> bool:
    """Whether a version of a table has the index."""
    return any(index.name == _NAME for index in table.list_indices())


def due(table: Any) -> Literal["build", "extend", "nothing"]:
    """What would make searches of a table faster."""
    rows, dimension = int(table.count_rows()), int(table.schema.field("vector").type.list_size)
    stats = table.index_stats(_NAME) if exists(table) else None
    if rows < LEAST_ROWS or dimension % _CODED:
        return "nothing"
    if stats is None:
        return "build"
    return "extend" if stats.num_unindexed_rows > _UNINDEXED * rows else "nothing"


def build(table: Any) -> None:
    """Make the index: a few bits of each number, by which all vectors are compared; the best then by themselves."""
    from lancedb.index import IvfRq

    partitions = min(max(int(table.count_rows()) // _ROWS_A_PARTITION, 1), _MOST_PARTITIONS)
    kind = IvfRq(
        distance_type="cosine",
        num_partitions=partitions,
        sample_rate=_SAMPLE,
        max_iterations=_ITERATIONS,
        num_bits=_BITS,
    )
    table.create_index("vector", config=kind, name=_NAME, replace=True)


def search(table: Any, vector: nearest.Floats, *, k: int, as_of: int) -> npt.NDArray[np.uint64] | None:
    """Addresses of the k rows near a vector that a generation sees, and of those that may tie with the last of them.

    As a rule few rows of a table are not visible. To find some more than are asked for and leave those out takes a
    fifth of the time that LanceDB needs to filter a million rows before it looks at their vectors.

    Returns:
        None if fewer were found, or a tie reaches further than what was found: there may be no more, or rows whose
        vectors have no direction, which the index leaves out.

    Raises:
        Unusable: LanceDB failed.
    """
    most = _MORE_TIMES * k + _MORE
    searching = table.search(vector, vector_column_name="vector").distance_type("cosine")
    searching = searching.select(["born", "died", "_distance"]).with_row_id(True).limit(most)
    # All partitions: to leave some out loses what lies between them, which is much among texts.
    searching = searching.nprobes(_MOST_PARTITIONS).refine_factor(_REFINED)
    settled = _settled(searching, most, k, as_of)
    if settled is None:
        settled = _settled(searching.where(visibility.condition(as_of), prefilter=True), most, k, as_of)
    return settled


def _settled(searching: Any, most: int, k: int, as_of: int) -> npt.NDArray[np.uint64] | None:
    try:
        found = searching.to_arrow()
    except (OSError, RuntimeError, ValueError) as error:
        raise Unusable(str(error)) from error
    near = 1 - found["_distance"].to_numpy()
    seen = visibility.visible_at(found, as_of).to_numpy()
    if seen.sum() < k:
        return None
    chosen = nearest.candidates(near[seen], k)
    if found.num_rows == most and near[-1] >= near[seen][chosen].min():
        return None
    rows: npt.NDArray[np.uint64] = found["_rowid"].to_numpy()[seen][chosen]
    return rows
