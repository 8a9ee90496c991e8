"""One FAQ in the states that a re-index meets: as it was, written in another way, and a little changed."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sources:
    """One FAQ in three states, and how many rows of the last differ from the first."""

    folder: Path
    rows: int
    edited: int
    moved: int

    def __getitem__(self, name: str) -> str:
        """Path of `original`, `rewritten` or `changed`."""
        return str(self.folder / f"{name}.jsonl")

    @classmethod
    def make(cls, rows: Sequence[dict[str, Any]], folder: Path) -> Sources:
        """Write the three files; what is edited or removed is chosen among questions that occur once."""
        folder.mkdir(parents=True, exist_ok=True)
        count, draw = len(rows), random.Random(7)
        keys = [" ".join(row["question"].casefold().split()) for row in rows]
        times = Counter(keys)
        single = [number for number, key in enumerate(keys) if times[key] == 1 and rows[number]["answer"].strip()]
        edited = set(draw.sample(single, count // 100))
        removed = set(draw.sample([number for number in single if number not in edited], count // 200))
        changed = [
            row | {"answer": f"{row['answer']} This was revised."} if number in edited else row
            for number, row in enumerate(rows)
            if number not in removed
        ]
        changed += [
            row | {"question": f"{row['question']} (added, {number})", "answer": f"{row['answer']} Added: {number}."}
            for number, row in enumerate(rows[number] for number in draw.sample(single, len(removed)))
        ]
        backwards = ({name: row[name] for name in reversed(row)} for row in rows)
        for name, found in (("original", rows), ("rewritten", backwards), ("changed", changed)):
            with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        return cls(folder, count, len(edited), len(removed))


def repeated(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """So many rows, the given ones over and over, with questions that occur once."""
    found = (rows[number % len(rows)] for number in range(count))
    return [row | {"question": f"{row['question']} (case {number})"} for number, row in enumerate(found)]


def write_repeated(rows: Sequence[dict[str, Any]], count: int, path: Path) -> None:
    """Write so many rows one by one, since a list of a million is more than a re-index may hold.

    The given ones come first as they are, and then over and over, with a number behind each question.
    """
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = rows[number % len(rows)]
            case = f" (case {number})" if number >= len(rows) else ""
            file.write(json.dumps(row | {"question": row["question"] + case}, ensure_ascii=False) + "\n")
