"""Trying again what may pass: which errors, how often, and how long to wait in between.

It is done next to the call that failed, so that one busy moment does not cost the work around it, and by one layer
only: whoever gives up marks the error, and layers further out let a marked error through.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from ragwright.errors import TransientError

log = logging.getLogger(__name__)

_T = TypeVar("_T")


class RetryPolicy(BaseModel):
    """Exponential backoff with jitter, for `TransientError` alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(5, ge=1, le=100, description="Calls in all, the first one included; 1: never try again.")
    first_pause_seconds: float = Field(
        1.0, ge=0, le=60, description="Wait before the second attempt; each later wait is twice as long."
    )
    jitter: float = Field(
        0.5, ge=0, le=1, description="Waits are up to this share longer, so that clients do not come back all at once."
    )
    longest_pause_seconds: float = Field(
        60.0,
        ge=0,
        description="No wait of its own is longer; who asks for a longer one by Retry-After is not tried again.",
    )

    def applies(self, error: BaseException) -> bool:
        """Whether trying again may help, and no layer has given up on it yet."""
        return (
            isinstance(error, TransientError)
            and not error.tried_again
            and (error.retry_after or 0.0) <= self.longest_pause_seconds
        )

    def pause(self, error: BaseException, failures: int) -> float:
        """Seconds to wait after so many failures: the backoff, or what the other side asks for if that is longer."""
        backoff = min(self.first_pause_seconds * 2.0 ** (failures - 1), self.longest_pause_seconds)
        wish: float = getattr(error, "retry_after", None) or 0.0
        return max(wish, backoff) * (1 + random.uniform(0, self.jitter))  # noqa: S311 - jitter, not a secret

    def call(self, action: Callable[[], _T], *, sleep: Callable[[float], object] = time.sleep) -> _T:
        """Call until it succeeds or the attempts are used up; the last error is then raised, marked.

        Args:
            action: Must be repeatable: a call that failed half-way, or whose answer got lost, is completed by the next.
            sleep: Waits for so many seconds.
        """
        failures = 0
        while True:
            try:
                return action()
            except TransientError as error:
                failures += 1
                if not self.applies(error):
                    raise
                if failures == self.attempts:
                    # A policy of one attempt has not tried again: somebody further out may.
                    error.tried_again = self.attempts > 1
                    raise
                seconds = self.pause(error, failures)
                log.warning("attempt %d of %d failed, the next in %.1f s: %s", failures, self.attempts, seconds, error)
            sleep(seconds)


ONCE = RetryPolicy(attempts=1)
"""For callers that decide themselves what to do about an error."""
