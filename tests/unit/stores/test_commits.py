from __future__ import annotations

import threading
import time
from pathlib import Path
from unittest import mock

import pytest

from ragwright.errors import Unavailable
from ragwright.stores import commits

CONFLICT = "lance error: Retryable commit conflict for version 7: somebody was faster"


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    inside, most = 0, 0

    def hold() -> None:
        nonlocal inside, most
        for _ in range(20):
            with commits.exclusive(tmp_path / "locks" / "a", timeout=30):
                inside += 1
                most = max(most, inside)
                time.sleep(0.0005)
                inside -= 1

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_a_lock_that_stays_taken_is_unavailable_and_names_the_file(tmp_path: Path) -> None:
    lock = tmp_path / "a"
    second = commits.exclusive(lock, timeout=0.05)
    with commits.exclusive(lock, timeout=1), pytest.raises(Unavailable, match=str(lock)), second:
        pytest.fail("held twice")


def test_an_error_inside_lets_go_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), commits.exclusive(tmp_path / "a", timeout=1):
        raise KeyError
    with commits.exclusive(tmp_path / "a", timeout=0):
        pass


def attempts_until(success: int, error: Exception) -> tuple[list[int], object]:
    calls: list[int] = []

    def commit() -> None:
        calls.append(len(calls) + 1)
        if len(calls) < success:
            raise error

    with mock.patch("time.sleep"):
        commits.despite_conflicts(commit, place="here")
    return calls


def test_a_commit_that_met_a_foreign_one_is_tried_again() -> None:
    assert attempts_until(4, RuntimeError(CONFLICT)) == [1, 2, 3, 4]


def test_a_commit_that_is_overtaken_every_time_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="6 attempts") as caught:
        attempts_until(99, RuntimeError(CONFLICT))
    assert caught.value.place == "here"
    assert CONFLICT in str(caught.value.__cause__)


def test_another_error_is_not_tried_again() -> None:
    with pytest.raises(RuntimeError, match="schema"):
        attempts_until(2, RuntimeError("schema mismatch"))
