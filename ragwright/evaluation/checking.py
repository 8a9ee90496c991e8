"""Whether a question set is fit to measure an FAQ with: every line readable, every named row there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragwright.errors import SourceError
from ragwright.evaluation.making import Row
from ragwright.evaluation.metrics import normalise
from ragwright.evaluation.questions import Fault, Question, examine


@dataclass(frozen=True)
class Checked:
    """What a check of a question set found.

    Attributes:
        source: The file.
        questions: Those that can be read.
        faults: Of the others, in the order of the lines.
        named: Different rows that `gold` and `without` name; None if there was no FAQ to look them up in.
        missing: Those that the FAQ does not have, with the questions that name them.
    """

    source: str
    questions: tuple[Question, ...]
    faults: tuple[Fault, ...]
    named: int | None = None
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def fit(self) -> bool:
        """Whether nothing needs to be corrected."""
        return not self.faults and not self.missing

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "source": self.source,
            "fit": self.fit,
            "questions": len(self.questions),
            "answerable": sum(question.answerable for question in self.questions),
            "kinds": dict(Counter(question.kind for question in self.questions)),
            "faults": [fault.to_json() for fault in self.faults],
            "rows_named": self.named,
            "rows_missing": [{"row": row, "questions": list(ids)} for row, ids in self.missing.items()],
        }


def check(path: Path, rows: Iterable[Row] | None = None) -> Checked:
    """Read a question set, and look up the rows that it names if an FAQ is given.

    Raises:
        SourceError: The question set cannot be read at all, or is empty.
    """
    questions, faults = examine(path)
    if not (questions.questions or faults):
        raise SourceError("the question set is empty", place=str(path), hint="Give it one JSON object a line.")
    if rows is None:
        return Checked(questions.source, questions.questions, faults)
    there = {normalise(name) for row in rows for name in (row.key, row.question)}
    named: dict[str, list[str]] = {}
    for question in questions.questions:
        for name in (*question.gold, *question.without):
            named.setdefault(name, []).append(question.id)
    missing = {name: tuple(ids) for name, ids in named.items() if normalise(name) not in there}
    return Checked(questions.source, questions.questions, faults, len(named), missing)
