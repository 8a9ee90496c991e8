"""Vectors in this process's memory, searched exactly: for tests, trials and small corpora."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import Match, records_schema
from ragwright.stores import limits, nearest, visibility, words

_SCAN_ROWS = 8_192
_shared: dict[str, MemoryStore] = {}
_shared_lock = threading.Lock()


@dataclass(frozen=True)
class _State:
    """A space at one moment; a write puts another in its place, so a reader never sees half of one."""

    dimension: int
    records: pa.Table

    @cached_property
    def vectors(self) -> nearest.Floats:
        return nearest.matrix(self.records["vector"], self.dimension)

    @cached_property
    def lengths(self) -> nearest.Floats:
        return nearest.lengths(self.vectors)

    @cached_property
    def postings(self) -> words.Postings:
        return words.Postings.of(words.texts(self.records))

    def visible(self, as_of: int) -> npt.NDArray[np.bool_]:
        seen: npt.NDArray[np.bool_] = visibility.visible_at(self.records, as_of).to_numpy(zero_copy_only=False)
        return seen


class MemoryStore:
    """A `VectorStore` that lives as long as its process. Closing it keeps the records: other holders may go on."""

    def __init__(self, name: str = "") -> None:
        self._place = f"memory:{name}"
        self._spaces: dict[str, _State] = {}
        self._lock = threading.Lock()

    @classmethod
    def shared(cls, name: str) -> MemoryStore:
        """The one store of this name in this process."""
        with _shared_lock:
            return _shared.setdefault(name, cls(name))

    def ensure_space(self, space: str, dimension: int) -> None:
        """See `VectorStore`."""
        limits.check_space_name(space)
        with self._lock:
            state = self._spaces.setdefault(space, _State(dimension, records_schema(dimension).empty_table()))
        if state.dimension != dimension:
            raise limits.dimension_conflict(space, state.dimension, dimension, place=self._place)

    def spaces(self) -> list[str]:
        """See `VectorStore`."""
        return sorted(self._spaces)

    def drop_space(self, space: str) -> None:
        """See `VectorStore`."""
        with self._lock:
            self._spaces.pop(space, None)

    def upsert(self, space: str, records: pa.Table) -> None:
        """See `VectorStore`."""
        records = limits.check_records(records, self._state(space).dimension, place=f"{self._place}/{space}")
        with self._lock:
            state = self._state(space)
            replaced = pc.is_in(state.records["record_id"], value_set=records["record_id"].combine_chunks())
            kept = state.records.filter(pc.invert(replaced))
            self._spaces[space] = _State(state.dimension, pa.concat_tables([kept, records]).combine_chunks())

    def mark(self, space: str, record_ids: Sequence[str], died: int) -> None:
        """See `VectorStore`."""
        with self._lock:
            state = self._state(space)
            chosen = _among(state.records, record_ids)
            column = pc.if_else(chosen, pa.scalar(died, pa.int64()), state.records["died"])
            at = state.records.schema.get_field_index("died")
            self._spaces[space] = _State(state.dimension, state.records.set_column(at, "died", column))

    def delete(self, space: str, record_ids: Sequence[str]) -> None:
        """See `VectorStore`."""
        with self._lock:
            state = self._state(space)
            kept = state.records.filter(pc.invert(_among(state.records, record_ids)))
            self._spaces[space] = _State(state.dimension, kept)

    def fetch(self, space: str, record_ids: Sequence[str], *, columns: Sequence[str] = ()) -> pa.Table:
        """See `VectorStore`."""
        state = self._state(space)
        layout = limits.check_columns(columns, state.dimension, place=f"{self._place}/{space}")
        return state.records.filter(_among(state.records, record_ids)).select(layout.names)

    def query(self, space: str, vector: npt.NDArray[np.float32], *, k: int, as_of: int) -> list[Match]:
        """See `VectorStore`."""
        state = self._state(space)
        query = limits.check_query(vector, k, state.dimension, place=f"{self._place}/{space}")
        visible = np.flatnonzero(state.visible(as_of))
        scores = nearest.similarities(state.vectors, state.lengths, query)[visible]
        return nearest.ranked(state.records.take(visible[nearest.candidates(scores, k)]), query, k)

    def search_text(self, space: str, text: str, *, k: int, as_of: int) -> list[Match]:
        """See `VectorStore`."""
        state = self._state(space)
        limits.check_count(k, place=f"{self._place}/{space}")
        wanted = words.asked(text)
        if not wanted:
            return []
        scores = words.scores([state.postings], state.visible(as_of), wanted)
        sharing = words.candidates(scores, k)
        return words.ranked(state.records.drop_columns(["vector"]).take(sharing), scores[sharing], k)

    def scan(self, space: str, *, as_of: int | None = None, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """See `VectorStore`."""
        state = self._state(space)
        layout = limits.check_columns(columns, state.dimension, place=f"{self._place}/{space}")
        records = state.records
        if as_of is not None:
            records = records.filter(visibility.visible_at(records, as_of))
        return iter(records.select(layout.names).to_batches(max_chunksize=_SCAN_ROWS))

    def wait_visible(
        self, space: str, *, present: Sequence[str] = (), absent: Sequence[str] = (), timeout: float = 60
    ) -> None:
        """See `VectorStore`. Writes are visible at once; what another thread has yet to write is waited for."""
        self._state(space)
        visibility.wait_until(
            lambda ids: set(self.fetch(space, ids)["record_id"].to_pylist()),
            present=present,
            absent=absent,
            timeout=timeout,
            place=f"{self._place}/{space}",
        )

    def optimise(self, space: str) -> None:
        """See `VectorStore`. Nothing to do here."""
        self._state(space)

    def close(self) -> None:
        """See `VectorStore`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _state(self, space: str) -> _State:
        state = self._spaces.get(space)
        if state is None:
            raise limits.unknown_space(space, place=self._place)
        return state


def _among(records: pa.Table, record_ids: Sequence[str]) -> pa.ChunkedArray:
    return pc.is_in(records["record_id"], value_set=pa.array(record_ids, pa.string()))
