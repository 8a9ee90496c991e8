"""What a LanceDB store has at hand for searches: snapshots of spaces that fit into memory, the others' indexes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ragwright.stores.on_disk import OnDisk
from ragwright.stores.snapshot import Snapshot

INCARNATION = b"ragwright.incarnation"
"""Names one making of a space in its table's metadata: a space that was dropped and made anew has another."""

View = Snapshot | OnDisk


class Views:
    """One view a space, brought up to date by what changed. Threads may share it; one at a time reads from the disk.

    Args:
        most_bytes: Memory for snapshots, over all spaces.
        pinned: A handle of its own at a version of a space's table.
    """

    def __init__(self, most_bytes: int, pinned: Callable[[str, int], Any]) -> None:
        self._most_bytes, self._pinned = most_bytes, pinned
        self._views: dict[str, tuple[tuple[bytes, int], View]] = {}
        self._settled: dict[str, int] = {}
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def settled(self, space: str, as_of: int) -> View | None:
        """A view, of whichever version, that shows all of a generation that is held."""
        with self._lock:
            held = self._views.get(space)
            return held[1] if held and self._settled.get(space) == as_of else None

    def at(self, space: str, table: Any) -> View:
        """The view of the version that a handle is at."""
        with self._reading:
            return self._brought_to(space, table)

    def hold(self, space: str, table: Any, as_of: int) -> None:
        """Bring the view to a version, with all that searches need, and use it from then on for one generation."""
        with self._reading:
            view = self._brought_to(space, table)
            with self._lock:
                others = self._bytes() - view.nbytes
            view.read_ahead(self._most_bytes - others)
            with self._lock:
                self._settled[space] = as_of

    def fits(self, table: Any) -> bool:
        """Whether the vectors of a table may be held in memory."""
        return int(table.count_rows()) * _dimension(table) * 4 <= self._most_bytes

    def forget(self, space: str) -> None:
        """Start anew with the next search; `hold` has to be called again."""
        with self._lock:
            self._views.pop(space, None)
            self._settled.pop(space, None)

    def _brought_to(self, space: str, table: Any) -> View:
        # No search waits here that a settled view can answer: the old one stays in place until the new one is whole.
        key = (table.schema.metadata[INCARNATION], int(table.version))
        with self._lock:
            held = self._views.get(space)
        if held is None or held[0] != key:
            kind: type[Snapshot] | type[OnDisk] = Snapshot if self.fits(table) else OnDisk
            pinned = self._pinned(space, key[1])
            if held is not None and held[0][0] == key[0] and isinstance(held[1], kind):
                held = (key, held[1].advanced(pinned))
            else:
                held = (key, kind.load(pinned, _dimension(table)))
        with self._lock:
            self._views.pop(space, None)
            self._views[space] = held  # last: the one used most recently
            for other in list(self._views)[:-1]:
                if self._bytes() > self._most_bytes:
                    del self._views[other]
            return held[1]

    def _bytes(self) -> int:
        return sum(view.nbytes for _, view in self._views.values())


def _dimension(table: Any) -> int:
    return int(table.schema.field("vector").type.list_size)
