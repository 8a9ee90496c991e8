"""Many requests at a time, fewer while the other side asks for fewer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

from ragwright.errors import Throttled
from ragwright.retry import RetryPolicy

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


class Lanes:
    """Sends the parts of a call side by side; threads may share one.

    How many at a time is found out as TCP does: halved when the other side throttles, one more after as many successes
    as there are lanes. A part that fails for the moment is tried again by itself, so that one busy moment does not
    repeat the others.

    Args:
        most: Requests under way at a time, at most.
        retry: How often and when a part is tried again.
    """

    def __init__(self, most: int, retry: RetryPolicy) -> None:
        self._most = most
        self._retry = retry
        self._open = float(most)
        self._busy = 0
        self._turn = threading.Condition()
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="pinecone")

    @property
    def width(self) -> int:
        """Requests that may be under way at this moment."""
        return max(1, int(self._open))

    def each(self, action: Callable[[_Part], _Result], parts: Iterable[_Part]) -> list[_Result]:
        """What `action` returns for each part, in their order.

        Returns when all have ended; after the first failure nothing more is sent.

        Args:
            action: One request; must be repeatable.
            parts: Taken as lanes become free, so that a long call is never in memory as a whole.
        """
        results: list[_Result] = []
        under_way: deque[Future[_Result]] = deque()
        failed = threading.Event()
        try:
            for part in parts:
                under_way.append(self._pool.submit(self._send, action, part, failed))
                while len(under_way) > self._most:
                    results.append(under_way.popleft().result())
            while under_way:
                results.append(under_way.popleft().result())
        except BaseException:
            failed.set()
            with self._turn:
                self._turn.notify_all()
            for request in under_way:
                if not request.cancel():
                    request.exception()
            raise
        return results

    def close(self) -> None:
        """Wait for what is under way and give back the threads."""
        self._pool.shutdown()

    def _send(self, action: Callable[[_Part], _Result], part: _Part, failed: threading.Event) -> _Result:
        def in_turn() -> _Result:
            with self._turn:
                self._turn.wait_for(lambda: failed.is_set() or self._busy < self.width)
                if failed.is_set():
                    raise CancelledError
                self._busy += 1
                sent_at = self._open
            lanes = 0.0
            try:
                result = action(part)
                lanes = 1 / sent_at
            except Throttled:
                # Requests that were sent side by side are turned away together: that is one sign, not several.
                lanes = sent_at / 2 - self._open if self._open > sent_at / 2 else 0.0
                raise
            finally:
                with self._turn:
                    self._busy -= 1
                    self._open = min(max(self._open + lanes, 1.0), float(self._most))
                    self._turn.notify_all()
            return result

        return self._retry.call(in_turn, sleep=failed.wait)
