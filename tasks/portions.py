"""Partitions dealt out to task runs: one each, or several where there are too many to look at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

AT_MOST = 32
"""Task runs of one mapped stage. Two stages of a re-index are mapped; all its task runs together fit on a page."""


@dataclass(frozen=True)
class Portion:
    """Neighbouring partitions that one task run takes.

    Attributes:
        number: Its own, from 1.
        first: Number of the first one, from 0.
        count: How many.
        of: All that there are.
    """

    number: int
    first: int
    count: int
    of: int

    @property
    def partitions(self) -> range:
        """Their numbers, from 0."""
        return range(self.first, self.first + self.count)

    def __str__(self) -> str:
        """As a person counts them."""
        if self.count == 1:
            return f"partition {self.first + 1} of {self.of}"
        return f"partitions {self.first + 1} to {self.first + self.count} of {self.of}"


def portions(partitions: int, *, at_most: int = AT_MOST) -> list[Portion]:
    """Deal out partitions to at most so many task runs, as evenly as can be."""
    runs = min(partitions, at_most)
    bounds = [number * partitions // runs for number in range(runs + 1)] if runs else []
    return [
        Portion(number, first, end - first, partitions) for number, (first, end) in enumerate(pairwise(bounds), start=1)
    ]
