"""Partitions dealt out to task runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.settings import SourceSettings
from tasks.portions import AT_MOST, Portion, portions


@given(st.integers(0, 5_000), st.integers(1, 64))
def test_every_partition_is_in_one_portion_and_they_are_alike(partitions: int, at_most: int) -> None:
    dealt = portions(partitions, at_most=at_most)
    assert [number for one in dealt for number in one.partitions] == list(range(partitions))
    assert [one.number for one in dealt] == list(range(1, min(partitions, at_most) + 1))
    sizes = {one.count for one in dealt}
    assert not sizes or max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("partition_rows", [1, 100, SourceSettings().partition_rows])
def test_a_re_index_of_16000_rows_is_at_most_a_hundred_task_runs(partition_rows: int) -> None:
    mapped_stages, other_tasks = 2, 12
    assert mapped_stages * len(portions(-(-16_000 // partition_rows))) + other_tasks <= 100


@pytest.mark.parametrize(
    ("portion", "said"),
    [
        (Portion(3, 2, 1, 12), "partition 3 of 12"),
        (Portion(1, 0, 5, 160), "partitions 1 to 5 of 160"),
    ],
)
def test_a_portion_is_counted_as_people_count(portion: Portion, said: str) -> None:
    assert str(portion) == said


def test_as_many_as_there_may_be_fit_on_a_page() -> None:
    assert len(portions(10**6)) == AT_MOST
