"""An FAQ that keeps changing: every version is a file of its own, so that a generation tells which one it shows."""

from __future__ import annotations

import csv
import random
from pathlib import Path

Rows = list[tuple[str, str]]


class Versions:
    """Writes version after version of an FAQ, each some edits away from the one before, or back at an older one."""

    def __init__(self, folder: Path, *, rows: int, chance: random.Random) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._chance = folder, chance
        self._editions = dict.fromkeys(range(rows), 0)
        self._next_row = rows
        self._past: list[dict[int, int]] = []

    def write(self) -> Path:
        """The next version."""
        path = self._folder / f"{len(self._past):04d}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            lines = [(question_of(n), answer_of(n, edition)) for n, edition in self._editions.items()]
            csv.writer(file).writerows([("question", "answer"), *lines])
        self._past.append(dict(self._editions))
        self._edit()
        return path

    def _edit(self) -> None:
        chance = self._chance
        if chance.random() < 0.15:
            # Not far back: a source that lost most of its rows is refused.
            self._editions = dict(chance.choice(self._past[-8:]))
            return
        for n in chance.sample(list(self._editions), len(self._editions) // 3):
            self._editions[n] += 1
        for n in chance.sample(list(self._editions), 6):
            del self._editions[n]
        for n in range(self._next_row, self._next_row + 6):
            self._editions[n] = 0
        self._next_row += 6
        if chance.random() < 0.2:
            self._editions = dict(chance.sample(list(self._editions.items()), len(self._editions)))


def question_of(n: int) -> str:
    """A question that is not asked twice."""
    return f"What is thing number {n}?"


def answer_of(n: int, edition: int) -> str:
    """Its answer in one edition."""
    return f"Thing {n} is the one that comes after thing {n - 1}. This is edition {edition} of its answer."


def read_version(path: Path) -> Rows:
    """The rows of a version."""
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["question"], row["answer"]) for row in csv.DictReader(file)]
