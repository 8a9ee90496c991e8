"""Bars in the Prefect UI."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

from ragwright.markdown import inline
from ragwright.progress import Progress, silent
from tasks.portions import Portion

UPDATE_SECONDS = 1.0
"""Between two updates of a bar."""
_together: ContextVar[SharedProgress] = ContextVar("the bar of the task runs that work side by side")
_LAST_SECONDS = 5.0  # for the last one; a server that is away must not hold up the run


@contextmanager
def progress_artifact(key: str, description: str) -> Iterator[Progress]:
    """A `Progress` shown as a bar while the block runs; at its end the bar is full, or says why it is not.

    The bar is moved by a thread of its own, so that neither a busy server nor one that is away slows the work down. It
    may be called from several threads.

    Args:
        key: Distinct among an index's bars; lowercase letters, digits and dashes.
        description: What is done, as the beginning of a sentence.
    """
    with _shown(key, description) as bar:
        yield bar.advance


@contextmanager
def shared_progress(key: str, description: str, partitions: int) -> Iterator[SharedProgress]:
    """One bar for task runs that work side by side, so that many of them do not bury the run's report under theirs.

    Those in threads of this process find it by `portion_progress`.
    """
    with _shown(key, description) as bar:
        shared = SharedProgress(bar, partitions)
        token = _together.set(shared)
        try:
            yield shared
        finally:
            _together.reset(token)


@contextmanager
def portion_progress(portion: Portion) -> Iterator[Progress]:
    """How far a task run is with its portion, told to the bar of all of them; to nobody in another process.

    Only parts of the portion are told: at the end of the block it is done.
    """
    shared = _together.get(None)
    if shared is None:
        yield silent
        return
    yield lambda what, done, total: shared.tell(portion, done / total if total else 0.0)
    shared.tell(portion, 1.0)


class SharedProgress:
    """How far several portions are together."""

    def __init__(self, bar: _Bar, partitions: int) -> None:
        self._bar, self._partitions = bar, partitions
        self._done: dict[int, float] = {}
        self._lock = threading.Lock()

    def tell(self, portion: Portion, share: float) -> None:
        """Note which share of a portion is done."""
        with self._lock:
            self._done[portion.number] = share * portion.count
            done = sum(self._done.values())
        self._bar.show(100.0 * done / self._partitions, f"partitions: {int(done + 1e-6):,} of {self._partitions:,}")


@contextmanager
def _shown(key: str, description: str) -> Iterator[_Bar]:
    bar = _Bar(key, description)
    context = contextvars.copy_context()  # says which run the artifact belongs to
    thread = threading.Thread(target=context.run, args=(bar.follow,), name=f"progress of {key}", daemon=True)
    thread.start()
    try:
        yield bar
    except BaseException as error:
        bar.end(type(error).__name__)
        raise
    else:
        bar.end()
    finally:
        thread.join(_LAST_SECONDS)


class _Bar:
    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description
        self._shown: UUID | None = None
        self._state = (0.0, description)
        self._over = threading.Event()

    def advance(self, what: str, done: int, total: int | None) -> None:
        """Note how far the work is; told to Prefect by the next update."""
        counted = f"{done:,}" if total is None else f"{done:,} of {total:,}"
        self.show(100.0 * done / total if total else self._state[0], f"{inline(what)}: {counted}")

    def show(self, percent: float, said: str) -> None:
        """Note how far the work is, in Markdown."""
        self._state = min(100.0, round(percent, 1)), f"{self._description}; {said}"

    def end(self, failure: str | None = None) -> None:
        """The work is over: all of it, or as far as it got when it failed."""
        percent, said = self._state
        self._state = (100.0, self._description) if failure is None else (percent, f"{said}. Stopped by {failure}.")
        self._over.set()

    def follow(self) -> None:
        """Tell Prefect, at once and then every second, until the work is over."""
        told: tuple[float, str] | None = None
        warned = over = False
        while True:
            try:
                if self._state != told:
                    told = self._tell()
            except (httpx.HTTPError, PrefectException, RuntimeError) as error:  # RuntimeError: the run's client closed
                if not warned:
                    get_run_logger().warning("progress of %r is not shown: %s", self._description, error)
                warned = True
            if over:
                return
            over = self._over.wait(UPDATE_SECONDS)

    def _tell(self) -> tuple[float, str]:
        percent, said = state = self._state
        if self._shown is None:
            made = create_progress_artifact(percent, key=self._key, description=said)
            self._shown = made if isinstance(made, UUID) else None  # typed as if it might have to be awaited
        else:
            update_progress_artifact(self._shown, percent, said)
        return state
