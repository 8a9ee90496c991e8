"""Question sets: what is asked, whether the FAQ answers it, where, and what a right answer must say.

One JSON object a line::

    {"id": "spot-1", "question": "which machines for spot?", "answerable": true, "kind": "paraphrase",
     "gold": ["Which instances can I use with Managed Spot Training?"], "accept": [["all instances"]]}

`gold` names the rows that answer it, each by the row's question or by its key. `accept` lists groups; a right answer
says at least one alternative of every group. An answerable question needs one of the two, an unanswerable one has
neither. `without` names rows, in the same way, that are hidden while the question is asked: a row's own question is
unanswerable without the row.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragwright.documents import shortened
from ragwright.errors import SourceError

_FIELDS = {"id", "question", "answerable", "kind", "gold", "accept", "without"}
_MOST_FAULTS = 20


@dataclass(frozen=True)
class Question:
    """One question with what is known of its answer; see the module for the fields."""

    id: str
    question: str
    answerable: bool
    kind: str = ""
    gold: tuple[str, ...] = ()
    accept: tuple[tuple[str, ...], ...] = ()
    without: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that stands on its line; fields that say nothing are left out."""
        fields: dict[str, Any] = {"id": self.id, "question": self.question, "answerable": self.answerable}
        optional = {
            "kind": self.kind,
            "gold": list(self.gold),
            "accept": [list(group) for group in self.accept],
            "without": list(self.without),
        }
        return fields | {name: value for name, value in optional.items() if value}


@dataclass(frozen=True)
class QuestionSet:
    """Questions in the order of their file; `source` is where they come from, for error messages and reports."""

    questions: tuple[Question, ...]
    source: str = ""

    def __len__(self) -> int:
        return len(self.questions)

    def to_jsonl(self) -> str:
        """The text that `load` reads back as these questions."""
        return "".join(json.dumps(q.to_json(), ensure_ascii=False) + "\n" for q in self.questions)


@dataclass(frozen=True)
class Fault:
    """What is wrong with one line: its 1-based number, the field (empty: the whole line), the value, and why."""

    line: int
    field: str
    value: str
    what: str

    def __str__(self) -> str:
        return (
            f"field {self.field!r} {self.what} (got {self.value})" if self.field else f"{self.what} (got {self.value})"
        )

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"line": self.line, "field": self.field, "value": self.value, "what": self.what}


def load(path: Path) -> QuestionSet:
    """Read and check a question set.

    Raises:
        SourceError: The file cannot be read, or lines are not questions; lists every fault, up to twenty, each with its
            line, field and value.
    """
    questions, faults = examine(path)
    if len(faults) == 1:
        place = f"{path}, line {faults[0].line}"
        raise SourceError(str(faults[0]), place=place, hint="Correct this line.")
    if faults:
        listed = [f"line {fault.line}: {fault}" for fault in faults[:_MOST_FAULTS]]
        more = [f"and {len(faults) - _MOST_FAULTS} more"] if len(faults) > _MOST_FAULTS else []
        raise SourceError(
            "\n  ".join([f"the question set has {len(faults)} faults", *listed, *more]),
            place=str(path),
            hint="Correct these lines; `ragwright questions check FILE` lists what is left.",
        )
    if not questions.questions:
        raise SourceError("the question set is empty", place=str(path), hint="Give it one JSON object a line.")
    return questions


def examine(path: Path) -> tuple[QuestionSet, tuple[Fault, ...]]:
    """The questions of a file that can be read, and every fault of the others, in the order of the lines.

    Raises:
        SourceError: The file itself cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SourceError(
            f"the question set cannot be read: {why}",
            place=str(path),
            hint="Name a UTF-8 JSONL file with RAGWRIGHT_EVALUATION__QUESTIONS or --questions.",
        ) from error
    questions: list[Question] = []
    faults: list[Fault] = []
    first_line: dict[str, int] = {}
    # Only newlines end a line of JSONL; str.splitlines would also cut at separators inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        reading = _Line(number)
        question = reading.question(line)
        if question.id in first_line:
            reading.fault("id", question.id, f"is taken by line {first_line[question.id]}")
        elif question.id:
            first_line[question.id] = number
        faults += reading.faults
        if not reading.faults:
            questions.append(question)
    return QuestionSet(tuple(questions), str(path)), tuple(faults)


def sample(questions: QuestionSet, at_most: int, *, seed: int = 7) -> QuestionSet:
    """At most so many questions, each kind in proportion, in the order of the set; the same ones every time."""
    if len(questions) <= at_most:
        return questions
    strata: dict[tuple[bool, str], list[int]] = {}
    for index, question in enumerate(questions.questions):
        strata.setdefault((question.answerable, question.kind), []).append(index)
    generator = random.Random(seed)  # noqa: S311 - repeatable, not secret
    # Each question's place within its stratum, as a share: taking the smallest draws from all strata evenly.
    places: list[tuple[float, int]] = []
    for indices in strata.values():
        generator.shuffle(indices)
        places += [((place + 0.5) / len(indices), index) for place, index in enumerate(indices)]
    chosen = sorted(index for _, index in sorted(places)[:at_most])
    return QuestionSet(tuple(questions.questions[index] for index in chosen), questions.source)


class _Line:
    """One line on its way to a question; a fault does not keep the next field from being looked at."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.faults: list[Fault] = []

    def fault(self, field: str, value: object, what: str) -> None:
        self.faults.append(Fault(self.number, field, shortened(repr(value)), what))

    def question(self, line: str) -> Question:
        """What the line says; worth nothing if it has faults."""
        value = self._object(line)
        if value is None:
            return Question("", "", False)
        for name in sorted(value.keys() - _FIELDS):
            self.fault(name, value[name], f"is not a field; they are {sorted(_FIELDS)}")
        question = Question(
            id=self._id(value),
            question=self._text(value, "question"),
            answerable=self._flag(value, "answerable"),
            kind=self._text(value, "kind") if "kind" in value else "",
            gold=self._texts(value.get("gold", []), "gold"),
            accept=self._groups(value.get("accept", [])),
            without=self._texts(value.get("without", []), "without"),
        )
        if not self.faults:
            self._agree(question, value)
        return question

    def _agree(self, question: Question, value: Mapping[str, Any]) -> None:
        if question.answerable and not (question.gold or question.accept):
            self.fault("gold", value.get("gold"), "is missing, and so is accept: nothing says what a right answer is")
        if not question.answerable and (question.gold or question.accept):
            self.fault("answerable", False, "contradicts gold or accept, which say what the answer is")
        if set(question.without) & set(question.gold):
            self.fault("without", value.get("without"), "hides a row that gold names")

    def _object(self, line: str) -> dict[str, Any] | None:
        try:
            value = json.loads(line)
        except ValueError as error:
            at = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            self.fault("", line.strip(), f"not JSON: {why}{at}")
            return None
        if not isinstance(value, dict):
            self.fault("", value, "a JSON object was expected")
            return None
        return value

    def _id(self, value: Mapping[str, Any]) -> str:
        given = value.get("id", self.number)
        if isinstance(given, int) and not isinstance(given, bool):
            return str(given)
        return self._text(value, "id")

    def _text(self, value: Mapping[str, Any], name: str) -> str:
        given = value.get(name)
        if not isinstance(given, str) or not given.strip():
            self.fault(name, given, "must be text that is not blank")
            return ""
        return given.strip()

    def _flag(self, value: Mapping[str, Any], name: str) -> bool:
        given = value.get(name)
        if not isinstance(given, bool):
            self.fault(name, given, "must be true or false")
        return given is True

    def _texts(self, given: object, name: str) -> tuple[str, ...]:
        if not isinstance(given, list) or not all(isinstance(item, str) and item.strip() for item in given):
            self.fault(name, given, "must be a list of texts that are not blank")
            return ()
        return tuple(item.strip() for item in given)

    def _groups(self, given: object) -> tuple[tuple[str, ...], ...]:
        if not isinstance(given, list):
            self.fault("accept", given, "must be a list of groups, each a list of alternatives")
            return ()
        if not all(given):
            self.fault("accept", given, "has an empty group, which no answer could satisfy")
            return ()
        return tuple(self._texts(group, "accept") for group in given)
