"""Trying again: which errors, how often, how long in between."""

from __future__ import annotations

import pytest

from ragwright.errors import PermanentError, RagwrightError, Throttled, TransientError, Unavailable
from ragwright.retry import ONCE, RetryPolicy

EXACT = RetryPolicy(jitter=0)


class Flaky:
    def __init__(self, *errors: RagwrightError) -> None:
        self.errors, self.calls = list(errors), 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_what_may_pass_is_tried_again_after_growing_pauses() -> None:
    flaky, pauses = Flaky(*[Unavailable("away")] * 4), []
    assert EXACT.call(flaky, sleep=pauses.append) == "done"
    assert (flaky.calls, pauses) == (5, [1, 2, 4, 8])


def test_the_other_sides_wish_is_waited_for_and_jitter_only_adds() -> None:
    pauses: list[float] = []
    flaky = Flaky(Throttled("busy", retry_after=7), Throttled("busy", retry_after=0.1))
    assert RetryPolicy(jitter=0.5).call(flaky, sleep=pauses.append) == "done"
    assert 7 <= pauses[0] <= 10.5
    assert 2 <= pauses[1] <= 3


def test_a_wish_longer_than_the_longest_pause_is_not_waited_for() -> None:
    flaky = Flaky(Throttled("busy", retry_after=61))
    with pytest.raises(Throttled):
        EXACT.call(flaky, sleep=pytest.fail)
    assert flaky.calls == 1


def test_what_will_not_pass_is_raised_at_once() -> None:
    flaky = Flaky(PermanentError("broken"))
    with pytest.raises(PermanentError):
        EXACT.call(flaky, sleep=pytest.fail)


def test_two_layers_do_not_multiply() -> None:
    flaky = Flaky(*[Unavailable(f"away {n}") for n in range(99)])
    inner, outer = RetryPolicy(attempts=3, first_pause_seconds=0), RetryPolicy(attempts=4, first_pause_seconds=0)
    with pytest.raises(Unavailable, match="away 2") as caught:
        outer.call(lambda: inner.call(flaky))
    assert flaky.calls == 3
    assert caught.value.tried_again


def test_a_layer_that_does_not_try_again_leaves_that_to_the_next() -> None:
    flaky = Flaky(Unavailable("away"), Unavailable("away"))
    outer = RetryPolicy(first_pause_seconds=0)
    assert outer.call(lambda: ONCE.call(flaky)) == "done"
    assert flaky.calls == 3


def test_pauses_stay_within_the_longest() -> None:
    policy = RetryPolicy(jitter=0, longest_pause_seconds=3)
    assert [policy.pause(TransientError("busy"), failures) for failures in range(1, 5)] == [1, 2, 3, 3]
