"""Which records a table has, remembered by its writers, so that records it lacks are appended without looking them up.

LanceDB's `merge_insert` reads the ids of the whole table for every batch, so that a first load of n batches takes the
time of n * n; an append takes the same time however large the table is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_READ_ROWS = 65_536
_MOST_RUNS = 16

_shared: WeakValueDictionary[bytes, KnownIds] = WeakValueDictionary()
_lock = threading.Lock()


class KnownIds:
    """Hashes of the ids in a table, 8 bytes an id. It may take an id for a known one, never a known one for new.

    Used under the lock that lets writers of a table take turns. All stores of a process share what is known of a table.
    """

    def __init__(self) -> None:
        self._version: int | None = None
        self._runs: list[npt.NDArray[np.int64]] = []  # each sorted
        # How far the table has been read: so many rows, and the address of the last of them.
        self._rows = 0
        self._last: int | None = None

    @classmethod
    def of(cls, incarnation: bytes) -> KnownIds:
        """What this process knows of a table, which is named by what no other table is."""
        with _lock:
            found = _shared.get(incarnation)
            if found is None:
                found = _shared[incarnation] = cls()
            return found

    def lacks(self, table: Any, ids: pa.ChunkedArray) -> bool:
        """Whether the table, at its latest version, certainly has none of these ids."""
        if self._version != table.version:
            if not self._read_on(table):
                self.forget()
                self._read_on(table)
            self._join()
            self._version = table.version
        new = _hashes(ids)
        return not any(_meet(run, new) for run in self._runs)

    def took(self, table: Any, ids: pa.ChunkedArray) -> None:
        """Note what this process has just written to the version that `lacks` has seen."""
        self._runs.append(_hashes(ids))
        if len(self._runs) > _MOST_RUNS:
            self._join()
        self._version = table.version

    def forget(self) -> None:
        """Read the table again before the next write: nobody knows what the last one did."""
        self._version, self._runs, self._rows, self._last = None, [], 0, None

    def _read_on(self, table: Any) -> bool:
        """Read what was written since, by others and by this process; False if a row before that has gone or moved.

        Rows are read in the order in which they were written. So where the last one that was read before has as many
        before it as it had, at the address that it had, all of them are where they were, and what is new comes after.
        """
        ids = table.search().select(["record_id"]).with_row_id(True).offset(max(self._rows - 1, 0))
        batches: Iterator[pa.RecordBatch] = (batch for batch in ids.to_batches(batch_size=_READ_ROWS) if len(batch))
        if self._last is not None:
            first = next(batches, None)
            if first is None or first["_rowid"][0].as_py() != self._last:
                return False
            batches = chain([first.slice(1)], batches)
        for batch in batches:
            self._runs.append(_hashes(batch["record_id"]))
            self._rows += len(batch)
            self._last = batch["_rowid"][-1].as_py() if len(batch) else self._last
        return True

    def _join(self) -> None:
        # The largest run is joined only once the others have grown to a good part of it, so that it is rarely copied.
        largest, *others = sorted(self._runs, key=len, reverse=True) or [np.zeros(0, np.int64)]
        small = np.unique(np.concatenate(others)) if others else np.zeros(0, np.int64)
        if len(small) * 8 > len(largest):
            self._runs = [np.unique(np.concatenate([largest, small]))]  # own writes are read once more
        else:
            self._runs = [largest, small]


def _hashes(ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Sorted; the hash is Python's own, so it means something in this process alone."""
    found = np.fromiter(map(hash, ids.to_pylist()), np.int64, len(ids))
    found.sort()
    return found


def _meet(known: npt.NDArray[np.int64], new: npt.NDArray[np.int64]) -> bool:
    at = np.searchsorted(known, new)
    at[at == len(known)] = 0
    return bool(len(known)) and bool((known[at] == new).any())
