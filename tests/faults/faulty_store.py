"""Stores that answer late, in part or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from simulated_process import Clock, Process

from ragwright.errors import NotVisibleYet, Throttled, Unavailable
from ragwright.stores import VectorStore
from ragwright.stores.memory import MemoryStore


class FaultyStore:
    """A store as one process reaches it. Calls `written` after each request that had an effect, whole or in part."""

    def __init__(self, store: VectorStore, process: Process, written: Callable[[], None]) -> None:
        self._store, self._process, self._written = store, process, written

    def ensure_space(self, space: str, dimension: int) -> None:
        self._change(partial(self._store.ensure_space, space, dimension))

    def spaces(self) -> list[str]:
        return self._look(self._store.spaces)

    def drop_space(self, space: str) -> None:
        self._change(partial(self._store.drop_space, space))

    def upsert(self, space: str, records: pa.Table) -> None:
        half = records.slice(0, len(records) // 2)
        self._change(partial(self._store.upsert, space, records), partial(self._store.upsert, space, half))

    def mark(self, space: str, record_ids: Sequence[str], died: int) -> None:
        half = record_ids[: len(record_ids) // 2]
        self._change(partial(self._store.mark, space, record_ids, died), partial(self._store.mark, space, half, died))

    def delete(self, space: str, record_ids: Sequence[str]) -> None:
        half = record_ids[: len(record_ids) // 2]
        self._change(partial(self._store.delete, space, record_ids), partial(self._store.delete, space, half))

    def fetch(self, space: str, record_ids: Sequence[str], *, columns: Sequence[str] = ()) -> pa.Table:
        return self._look(partial(self._store.fetch, space, record_ids, columns=columns))

    def query(self, space: str, vector: Any, *, k: int, as_of: int) -> Any:
        return self._look(partial(self._store.query, space, vector, k=k, as_of=as_of))

    def search_text(self, space: str, text: str, *, k: int, as_of: int) -> Any:
        return self._look(partial(self._store.search_text, space, text, k=k, as_of=as_of))

    def scan(self, space: str, *, as_of: int | None = None, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        return self._look(partial(self._store.scan, space, as_of=as_of, columns=columns))

    def wait_visible(
        self, space: str, *, present: Sequence[str] = (), absent: Sequence[str] = (), timeout: float = 60
    ) -> None:
        self._look(partial(self._store.wait_visible, space, present=present, absent=absent, timeout=timeout))

    def optimise(self, space: str) -> None:
        self._change(partial(self._store.optimise, space))

    def close(self) -> None: ...

    def __enter__(self) -> FaultyStore:
        return self

    def __exit__(self, *_: object) -> None: ...

    def _look(self, effect: Callable[[], Any]) -> Any:
        return self._process.look(effect, Throttled)

    def _change(self, effect: Callable[[], None], half: Callable[[], None] | None = None) -> None:
        def seen(part: Callable[[], None]) -> None:
            part()
            self._written()

        self._process.change("store", partial(seen, effect), Unavailable, partial(seen, half) if half else None)


@dataclass(eq=False)
class _Late:
    due: float
    space: str
    record_id: str
    record: pa.Table | None  # as the write left it; None: removed


class LaggingStore(MemoryStore):
    """Memory whose reads show each record as it was some seconds ago; which record lags how much is no pattern.

    Writes to one record land in order. `wait_visible` returns once every write to the named records has landed.

    Args:
        clock: Moved on by every call, and by waiting.
        lag: Seconds at most.
    """

    def __init__(self, clock: Clock, lag: float) -> None:
        super().__init__("lagging")
        self._shown = MemoryStore("shown")
        self._clock, self.lag = clock, lag
        self._late: list[_Late] = []
        self._writes = 0

    def ensure_space(self, space: str, dimension: int) -> None:
        super().ensure_space(space, dimension)
        self._shown.ensure_space(space, dimension)

    def drop_space(self, space: str) -> None:
        super().drop_space(space)
        self._shown.drop_space(space)
        self._late = [late for late in self._late if late.space != space]

    def upsert(self, space: str, records: pa.Table) -> None:
        super().upsert(space, records)
        self._delay(space, records["record_id"].to_pylist())

    def mark(self, space: str, record_ids: Sequence[str], died: int) -> None:
        super().mark(space, record_ids, died)
        self._delay(space, record_ids)

    def delete(self, space: str, record_ids: Sequence[str]) -> None:
        super().delete(space, record_ids)
        self._delay(space, record_ids)

    def fetch(self, space: str, record_ids: Sequence[str], *, columns: Sequence[str] = ()) -> pa.Table:
        self._land()
        return self._shown.fetch(space, record_ids, columns=columns)

    def query(self, space: str, vector: Any, *, k: int, as_of: int) -> Any:
        self._land()
        return self._shown.query(space, vector, k=k, as_of=as_of)

    def search_text(self, space: str, text: str, *, k: int, as_of: int) -> Any:
        self._land()
        return self._shown.search_text(space, text, k=k, as_of=as_of)

    def scan(self, space: str, *, as_of: int | None = None, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        self._land()
        return self._shown.scan(space, as_of=as_of, columns=columns)

    def truth(self, space: str) -> pa.Table:
        """Every record as it will be shown in the end."""
        return self._state(space).records

    def wait_visible(
        self, space: str, *, present: Sequence[str] = (), absent: Sequence[str] = (), timeout: float = 60
    ) -> None:
        ids = {*present, *absent}
        deadline = self._clock.seconds + timeout
        last = max((late.due for late in self._late if late.space == space and late.record_id in ids), default=0.0)
        self._clock.seconds = max(self._clock.seconds, min(last, deadline))
        self._land()
        there = set(self._shown.fetch(space, list(ids), columns=["record_id"])["record_id"].to_pylist())
        if last > deadline or not there >= set(present) or there & set(absent):
            self._clock.seconds = max(self._clock.seconds, deadline)
            raise NotVisibleYet("reads lag on purpose")

    def settle(self) -> None:
        """Let so much time pass that reads show everything."""
        self._clock.sleep(self.lag)
        self._land()

    def _delay(self, space: str, record_ids: Sequence[str]) -> None:
        for record_id in record_ids:
            self._writes += 1
            due = self._clock.seconds + self.lag * (self._writes * 7 % 5) / 4
            record = super().fetch(space, [record_id])
            self._late.append(_Late(due, space, record_id, record if len(record) else None))
        self._land()

    def _land(self) -> None:
        self._clock.sleep(0.01)
        landed = [late for late in self._late if late.due <= self._clock.seconds]
        if not landed:
            return
        newest = {(late.space, late.record_id): number for number, late in enumerate(self._late) if late in landed}
        for (space, record_id), number in newest.items():
            record = self._late[number].record
            if record is None:
                self._shown.delete(space, [record_id])
            else:
                self._shown.upsert(space, record)
        # What landed overtakes everything that was written to the same record before.
        self._late = [
            late for number, late in enumerate(self._late) if number > newest.get((late.space, late.record_id), -1)
        ]
