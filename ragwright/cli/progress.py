"""How far work is, on stderr: bars on a terminal, a line now and then in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

from ragwright.progress import Progress

LINE_SECONDS = 5.0


@contextmanager
def follow(console: Console) -> Iterator[Progress]:
    """A `Progress` for as long as the block runs; it may be called from several threads."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with RichProgress(*columns, console=console, transient=True) as bars:
        yield Bars(bars)


class Bars:
    """One bar for each kind of work."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Move the bar of `what`."""
        with self._lock:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(escape(what), total=total)
            self._bars.update(self._tasks[what], completed=done, total=total)


class Lines:
    """One line when a kind of work begins, one when it is done, and one every few seconds between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: dict[str, tuple[float, bool]] = {}
        self._lock = threading.Lock()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Print how far `what` is, if it is time."""
        finished = total is not None and done >= total
        with self._lock:
            now = time.monotonic()
            when, was_finished = self._printed.get(what, (float("-inf"), False))
            if finished != was_finished or (not finished and now - when >= LINE_SECONDS):
                self._printed[what] = (now, finished)
                self._console.print(f"{what}: {done:,}" + ("" if total is None else f" of {total:,}"), markup=False)
