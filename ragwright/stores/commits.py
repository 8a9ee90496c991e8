"""Committing beside other writers: taking turns with our own, and trying again when a foreign one was faster."""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ragwright.errors import Unavailable

ATTEMPTS = 6
_PAUSE = 0.005


@contextmanager
def exclusive(path: Path, *, timeout: float) -> Iterator[None]:
    """Hold a lock file among all threads and processes; a killed holder lets go by dying.

    Args:
        path: A file on a local disk, made if it is not there; its content does not matter.
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


def despite_conflicts(commit: Callable[[], object], *, place: str) -> None:
    """Call `commit` until LanceDB accepts it; other programs may write to its tables without our lock.

    Raises:
        Unavailable: It met another writer's commit `ATTEMPTS` times.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            commit()
        except (OSError, RuntimeError, ValueError) as error:
            if not _is_conflict(error):
                raise
            if attempt == ATTEMPTS:
                raise Unavailable(
                    f"{attempt} attempts to commit were each overtaken by another writer.",
                    place=place,
                    hint="Try again when it is done.",
                ) from error
            time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311  (jitter, not a secret)
        else:
            return


def _is_conflict(error: Exception) -> bool:
    # LanceDB has no exception of its own for this.
    text = str(error).lower()
    return any(said in text for said in ("commit conflict", "concurrent writers", "write contention"))
