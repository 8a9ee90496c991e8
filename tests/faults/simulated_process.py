"""Processes that die between two calls, calls that go wrong, and time that passes only when somebody waits."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple, TypeVar

_T = TypeVar("_T")

Kind = Literal["refused", "lost", "half", "dies before", "dies half-way", "dies after"]
"""How a call goes wrong: without effect, without its answer, in part; or the process with it."""


class Crash(BaseException):
    """The process is gone: whatever it still tries has no effect."""


Sort = Literal["store", "catalog", "reading"]
"""A call that changes the store or the catalog, or one that changes nothing."""


class Trouble(NamedTuple):
    """What goes wrong with the `at`-th call of a sort."""

    on: Sort
    at: int
    kind: Kind


@dataclass
class Process:
    """One run of a program, and what goes wrong in it.

    Attributes:
        number: Stands for its pid.
        troubles: At which calls what goes wrong.
        interruptions: What others do right after the n-th call of either sort.
        short_batches: Which calls of the embedder are answered with too few vectors.
        embedded: Every text that was embedded.
    """

    number: int
    troubles: tuple[Trouble, ...] = ()
    interruptions: Mapping[int, Callable[[], None]] = field(default_factory=dict)
    short_batches: frozenset[int] = frozenset()
    embedded: list[str] = field(default_factory=list)
    dead: bool = False
    reached: bool = False
    _calls: Counter[Sort] = field(default_factory=Counter)

    def look(self, effect: Callable[[], _T], error: Callable[[str], Exception]) -> _T:
        """Carry out a call that changes nothing, as well as it goes."""
        return self._call("reading", effect, None, error)

    def change(
        self,
        on: Sort,
        effect: Callable[[], _T],
        error: Callable[[str], Exception],
        half: Callable[[], object] | None = None,
    ) -> _T:
        """Carry out a call that changes something, as well as it goes; `half` is what it does in part."""
        return self._call(on, effect, half, error)

    def die(self) -> None:
        """End here."""
        self.dead = True
        raise Crash

    def _call(
        self,
        on: Sort,
        effect: Callable[[], _T],
        half: Callable[[], object] | None,
        error: Callable[[str], Exception],
    ) -> _T:
        if self.dead:
            raise Crash
        self._calls[on] += 1
        here = (on, self._calls[on])
        kind = next((trouble.kind for trouble in self.troubles if (trouble.on, trouble.at) == here), None)
        self.reached |= kind is not None
        if kind == "dies before":
            self.die()
        if kind == "refused":
            raise error("refused on purpose")
        if kind in ("half", "dies half-way"):
            if half:
                half()
            if kind == "dies half-way":
                self.die()
            raise error("taken in part on purpose")
        result = effect()
        if kind == "dies after":
            self.die()
        if kind == "lost":
            raise error("answer lost on purpose")
        interrupt = self.interruptions.get(self._calls.total())
        if interrupt:
            interrupt()
        return result


class Clock:
    """Stands in for the module `time`: waiting takes no time, and every call to a store a little."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += max(seconds, 0.0)


class LeaseClock:
    """The clocks that leases go by: real ones, but for time that we let pass and for mistakes of the wall clock.

    Stands in for the module `time` and, as `wall`, for the class `datetime`.

    Attributes:
        passed: Seconds that both clocks have counted.
        slept: Seconds that only the wall clock has: the monotonic one stands still while a machine sleeps.
        wrong: Seconds by which the wall clock is wrong.
    """

    def __init__(self) -> None:
        self.passed = self.slept = self.wrong = 0.0
        clock = self

        class Wall(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = UTC) -> datetime:
                return datetime.now(tz) + timedelta(seconds=clock.passed + clock.slept + clock.wrong)

        self.wall = Wall

    def monotonic(self) -> float:
        return time.monotonic() + self.passed
