from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ragwright.errors import StoreError, Throttled, Unavailable
from ragwright.retry import ONCE, RetryPolicy
from ragwright.stores.pinecone_requests import Lanes

QUICK = RetryPolicy(attempts=4, first_pause_seconds=0.001, longest_pause_seconds=0.01)


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    opened = Lanes(8, QUICK)
    yield opened
    opened.close()


def test_results_come_in_the_order_of_the_parts(lanes: Lanes) -> None:
    first_may_go = threading.Event()

    def action(part: int) -> int:
        if part == 0:
            first_may_go.wait(10)
        if part == 7:
            first_may_go.set()
        return part * part

    assert lanes.each(action, range(40)) == [n * n for n in range(40)]


def test_requests_turned_away_together_halve_the_lanes_once_and_successes_win_them_back(lanes: Lanes) -> None:
    together = threading.Barrier(8)
    turned_away: set[int] = set()
    widths: list[int] = []

    def action(part: int) -> None:
        if part not in turned_away and part < 8:
            turned_away.add(part)
            together.wait(10)
            raise Throttled("slow down")
        widths.append(lanes.width)

    lanes.each(action, range(8))
    assert min(widths) == 4
    lanes.each(action, range(8, 60))
    assert lanes.width == 8


def test_requests_under_way_never_exceed_the_lanes() -> None:
    lanes, busy, most, lock = Lanes(3, ONCE), 0, 0, threading.Lock()

    def action(_: int) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        with lock:
            busy -= 1

    threads = [threading.Thread(target=lanes.each, args=(action, range(50))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lanes.close()
    assert 1 <= most <= 3


def test_a_part_is_tried_again_by_itself(lanes: Lanes) -> None:
    sent: list[int] = []

    def action(part: int) -> None:
        sent.append(part)
        if part == 3 and sent.count(3) < 3:
            raise Unavailable("not now")

    lanes.each(action, range(6))
    assert sorted(sent) == [0, 1, 2, 3, 3, 3, 4, 5]


def test_after_a_failure_nothing_more_is_sent_and_all_has_ended(lanes: Lanes) -> None:
    sent: list[int] = []

    def action(part: int) -> None:
        sent.append(part)
        raise StoreError("no") if part == 0 else Throttled("slow down", retry_after=0.01)

    with pytest.raises(StoreError, match="no"):
        lanes.each(action, range(1_000))
    count = len(sent)
    assert count < 60
    assert lanes.each(lambda part: part, [1]) == [1]
    assert len(sent) == count


def test_giving_up_says_that_it_was_tried_again(lanes: Lanes) -> None:
    def action(_: int) -> None:
        raise Throttled("slow down", retry_after=0.001)

    with pytest.raises(Throttled) as raised:
        lanes.each(action, [1])
    assert raised.value.tried_again
