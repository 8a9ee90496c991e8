"""One writer at a time on a folder, across threads and processes; a killed holder lets go by dying."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ragwright.errors import Unavailable

_PAUSE = 0.005


@contextmanager
def exclusive(path: Path, *, timeout: float) -> Iterator[None]:
    """Hold the lock file `path`, made if it is not there.

    Args:
        path: A file on a local disk; its content does not matter.
        timeout: Seconds to wait for another holder.

    Raises:
        Unavailable: Another holder kept it for `timeout` seconds.
        OSError: The file cannot be made or locked.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise Unavailable(
                        f"another writer has held the lock for {timeout:g} s.",
                        place=str(path),
                        hint="Try again when it is done.",
                    ) from error
                time.sleep(_PAUSE)
        try:
            yield
        finally:
            # Unlocked by hand, not by closing: a process forked meanwhile holds the same open file.
            fcntl.flock(file, fcntl.LOCK_UN)
    finally:
        os.close(file)
