"""How many requests a server takes at once, found out by asking: fewer after each 429, more with each success."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ragwright.errors import Throttled, TimedOut


class AdaptiveLimiter:
    """Admits so many requests at once; additive increase, multiplicative decrease (Chiu and Jain, 1989).

    A refused request halves what is admitted, once for all the requests that were in flight together; as many successes
    as are admitted raise it by one. It starts at its maximum, so a server that never refuses never waits.

    Args:
        maximum: Requests in flight at most.
        minimum: Requests that are always admitted.
        decrease: What is left of the limit after a refusal.
    """

    def __init__(self, maximum: int, *, minimum: int = 1, decrease: float = 0.5) -> None:
        if not (1 <= minimum <= maximum and 0 < decrease < 1):
            raise ValueError(f"not a limit: {minimum=} {maximum=} {decrease=}")
        self._maximum, self._minimum, self._decrease = float(maximum), float(minimum), decrease
        self._limit = float(maximum)
        self._in_flight = 0
        self._sent = 0
        self._sent_before_decrease = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """Requests that may be in flight at once."""
        return int(self._limit)

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self._in_flight

    @contextmanager
    def slot(self, *, timeout: float) -> Iterator[None]:
        """Wait for a place, and learn from how the block ends: `Throttled` is a refusal, no error a success.

        Raises:
            TimedOut: No place became free within `timeout` seconds.
        """
        number = self._enter(timeout)
        try:
            yield
        except Throttled:
            self._leave(number, refused=True)
            raise
        except BaseException:
            self._leave(number, refused=None)
            raise
        self._leave(number, refused=False)

    def _enter(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        with self._changed:
            if not self._changed.wait_for(lambda: self._in_flight < self.limit, deadline - time.monotonic()):
                raise TimedOut(f"no place among {self.limit} requests at once became free within {timeout:g} s")
            self._in_flight += 1
            self._sent += 1
            return self._sent

    def _leave(self, number: int, *, refused: bool | None) -> None:
        with self._changed:
            if refused and number > self._sent_before_decrease:
                # What was in flight is what was too much; the limit itself may never have been reached.
                reached = min(self._limit, self._in_flight)
                self._limit = max(self._minimum, reached * self._decrease)
                self._sent_before_decrease = self._sent
            elif refused is False:
                self._limit = min(self._maximum, self._limit + 1 / self._limit)
            self._in_flight -= 1
            self._changed.notify_all()
