"""Requests at once, found out by asking."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.endpoints.limiter import AdaptiveLimiter
from ragwright.errors import Throttled, TimedOut


def succeed(limiter: AdaptiveLimiter) -> None:
    with limiter.slot(timeout=1):
        pass


def refuse(limiter: AdaptiveLimiter) -> None:
    with pytest.raises(Throttled), limiter.slot(timeout=1):
        raise Throttled("429")


def refuse_together(limiter: AdaptiveLimiter, requests: int) -> None:
    together = threading.Barrier(requests)

    def send() -> None:
        with suppress(Throttled), limiter.slot(timeout=5):
            together.wait(5)
            raise Throttled("429")

    threads = [threading.Thread(target=send) for _ in range(requests)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@given(st.integers(1, 64), st.lists(st.booleans(), max_size=80))
def test_the_limit_stays_between_its_bounds_whatever_happens(maximum: int, outcomes: list[bool]) -> None:
    limiter = AdaptiveLimiter(maximum)
    for succeeds in outcomes:
        before = limiter.limit
        (succeed if succeeds else refuse)(limiter)
        assert 1 <= limiter.limit <= maximum
        assert limiter.limit >= before if succeeds else limiter.limit <= before
    assert limiter.in_flight == 0


def test_requests_refused_together_count_as_one_refusal() -> None:
    limiter = AdaptiveLimiter(16)
    refuse_together(limiter, 8)
    assert limiter.limit == 4


def test_what_was_in_flight_is_halved_not_a_limit_never_reached() -> None:
    limiter = AdaptiveLimiter(100)
    refuse_together(limiter, 4)
    assert limiter.limit == 2


def test_successes_bring_the_limit_back_to_its_maximum() -> None:
    limiter = AdaptiveLimiter(8)
    refuse_together(limiter, 8)
    assert limiter.limit == 4
    for _ in range(4 + 5):
        succeed(limiter)
    assert limiter.limit == 5
    for _ in range(40):
        succeed(limiter)
    assert limiter.limit == 8


def test_no_more_are_admitted_than_the_limit_says() -> None:
    limiter = AdaptiveLimiter(3)
    most, lock = 0, threading.Lock()

    def send() -> None:
        nonlocal most
        with limiter.slot(timeout=5):
            with lock:
                most = max(most, limiter.in_flight)
            time.sleep(0.005)

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3


def test_a_place_that_does_not_become_free_times_out() -> None:
    limiter = AdaptiveLimiter(1)
    with limiter.slot(timeout=1), pytest.raises(TimedOut, match=r"0\.05 s"), limiter.slot(timeout=0.05):
        pass


def test_other_errors_say_nothing_about_the_limit() -> None:
    limiter = AdaptiveLimiter(4)
    with pytest.raises(ZeroDivisionError), limiter.slot(timeout=1):
        raise ZeroDivisionError
    assert (limiter.limit, limiter.in_flight) == (4, 0)
