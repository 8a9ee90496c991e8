"""Many requests at a time, fewer while the other side asks for fewer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

from ragwright.endpoints.limiter import AdaptiveLimiter
from ragwright.retry import RetryPolicy

_LONGEST_QUEUE = 600.0  # seconds for a free lane; requests have limits of their own, so one comes free long before

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


class Lanes:
    """Sends the parts of a call side by side; threads may share one.

    A part that fails for the moment is tried again by itself, so that one busy moment does not repeat the others.

    Args:
        most: Requests under way at a time, at most; fewer while the other side throttles.
        retry: How often and when a part is tried again.
    """

    def __init__(self, most: int, retry: RetryPolicy) -> None:
        self._most = most
        self._retry = retry
        self._limiter = AdaptiveLimiter(most)
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="pinecone")

    @property
    def width(self) -> int:
        """Requests that may be under way at this moment."""
        return self._limiter.limit

    def each(self, action: Callable[[_Part], _Result], parts: Iterable[_Part]) -> list[_Result]:
        """What `action` returns for each part, in their order.

        Returns when all have ended. After the first failure nothing more is sent, and that failure is raised.

        Args:
            action: One request; must be repeatable.
            parts: Taken as lanes become free, so that a long call is never in memory as a whole.
        """
        results: list[_Result] = []
        under_way: deque[Future[_Result]] = deque()
        failures: list[BaseException] = []
        over = threading.Event()
        try:
            for part in parts:
                under_way.append(self._pool.submit(self._send, action, part, over, failures))
                while len(under_way) > self._most:
                    results.append(under_way.popleft().result())
            while under_way:
                results.append(under_way.popleft().result())
        except CancelledError:
            pass  # this part gave way to one that had failed
        else:
            return results
        finally:
            over.set()
            for request in under_way:
                if not request.cancel():
                    request.exception()
        raise failures[0]

    def close(self) -> None:
        """Wait for what is under way and give back the threads."""
        self._pool.shutdown()

    def _send(
        self,
        action: Callable[[_Part], _Result],
        part: _Part,
        over: threading.Event,
        failures: list[BaseException],
    ) -> _Result:
        def in_turn() -> _Result:
            with self._limiter.slot(timeout=_LONGEST_QUEUE):
                if over.is_set():
                    raise CancelledError
                return action(part)

        try:
            return self._retry.call(in_turn, sleep=over.wait)
        except CancelledError:
            raise
        except BaseException as error:
            failures.append(error)
            over.set()
            raise
