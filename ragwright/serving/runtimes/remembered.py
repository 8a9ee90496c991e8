"""Token states of the texts that were embedded last: who compares their words need not have them computed again.

They lie in a temporary file without a name, a ring of rows in which the newest take the place of the oldest. It is read
and written, not mapped: pages in the system's cache are not this process's memory, the system may put them on the disk,
and a disk that is full is an error here and no signal that ends the process.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

_MIB = 2**20
# Meant by the systems that have it for files too large for /tmp, which on some of them is memory.
_LARGE_FILES = "/var/tmp"  # noqa: S108 - the file in it has no name


class RememberedStates:
    """Holds the states of so many tokens at most; safe to use from several threads.

    A text is known by the ids of its tokens, all of them. Of what nobody asks for while it goes round, ever less is
    kept: an index of a million texts would otherwise wear out a disk for the few thousand texts that still lie there
    when it is done.

    Args:
        file: Where they lie; closed with this.
        rows: Tokens at most.
        dimension: Numbers of a token's state.
    """

    def __init__(self, file: IO[bytes], rows: int, dimension: int) -> None:
        self._file, self._rows, self._row_bytes = file, rows, 2 * dimension
        # Where each text begins, and its tokens, counted from the first token there ever was; oldest first.
        self._places: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        self._head = self._head_when_asked = self._offered = 0
        self._lock = threading.Lock()

    def put(self, ids: Sequence[int], states: npt.NDArray[np.float16]) -> None:
        """Keep the states of a text, contiguous float16 [len(ids), dimension], if it is not known yet.

        Where they cannot be written nothing is kept from then on, and the log says so.
        """
        key, count = _key(ids), len(ids)
        with self._lock:
            if key in self._places or count > self._rows or self._file.closed:
                return
            self._offered += 1
            if self._offered % (1 + (self._head - self._head_when_asked) // self._rows):
                return
            start, self._head = self._head, self._head + count
            while self._places and next(iter(self._places.values()))[0] < self._head - self._rows:
                self._places.popitem(last=False)
            try:
                written = sum(os.pwrite(self._fd, states[a:b].data, at) for a, b, at in self._pieces(start, count))
            except OSError as error:
                self._give_up(error.strerror)
            else:
                self._places[key] = start, count
                if written < states.nbytes:
                    self._give_up("there is no more room")

    def get(self, ids: Sequence[int], into: npt.NDArray[np.float16]) -> bool:
        """Copy the states of a text to `into`, contiguous float16 [len(ids), dimension]; whether they are known."""
        with self._lock:
            found = self._places.get(_key(ids))
            if found is None:
                return False
            self._head_when_asked = self._head
            try:
                pieces = [os.pread(self._fd, (b - a) * self._row_bytes, at) for a, b, at in self._pieces(*found)]
            except OSError as error:
                self._give_up(error.strerror)
                return False
            read = b"".join(pieces)
            if len(read) < into.nbytes:
                self._give_up("the file has been cut")
                return False
        into[:] = np.frombuffer(read, np.float16).reshape(into.shape)
        return True

    def close(self) -> None:
        """Give back the disk."""
        with self._lock:
            self._places.clear()
            self._file.close()

    def _give_up(self, why: str | None) -> None:
        log.warning("token states are not remembered any more, and computed again instead: %s", why)
        self._places.clear()
        self._file.close()

    @property
    def _fd(self) -> int:
        return self._file.fileno()

    def _pieces(self, start: int, count: int) -> Iterator[tuple[int, int, int]]:
        """A text's rows that lie together, from and to, and where in the file: two pieces if it goes over the end."""
        first = min(count, self._rows - start % self._rows)
        yield 0, first, start % self._rows * self._row_bytes
        if first < count:
            yield first, count, 0


def open_remembered(megabytes: int, dimension: int, *, warn: Callable[[str], None]) -> RememberedStates | None:
    """Room for token states on the disk; None, and a warning, where there is none.

    The file lies in TMPDIR, or else where the system wants large temporary files, and is gone with the process.

    Args:
        megabytes: MiB at most; 0: none.
        dimension: Numbers of a token's state.
        warn: Told why there is none.
    """
    rows = megabytes * _MIB // (2 * dimension)
    if not rows:
        return None
    large = os.path.isdir(_LARGE_FILES) and os.access(_LARGE_FILES, os.W_OK)
    folder = os.environ.get("TMPDIR") or (_LARGE_FILES if large else tempfile.gettempdir())
    try:
        free = shutil.disk_usage(folder).free // _MIB
        if free < 2 * megabytes:
            warn(f"token states are not remembered: {folder} has {free} MiB, and should have twice {megabytes} MiB")
            return None
        return RememberedStates(tempfile.TemporaryFile(dir=folder, buffering=0), rows, dimension)
    except OSError as error:
        warn(f"token states are not remembered: {folder} cannot be written: {error.strerror}")
        return None


def _key(ids: Sequence[int]) -> bytes:
    return array("i", ids).tobytes()
