"""Question sets: what is asked, whether the FAQ answers it, where, and what a right answer must say.

One JSON object a line::

    {"id": "spot-1", "question": "which machines for spot?", "answerable": true, "kind": "paraphrase",
     "gold": ["Which instances can I use with Managed Spot Training?"], "accept": [["all instances"]]}

`gold` names the rows that answer it, each by the row's question or by its key. `accept` lists groups; a right answer
says at least one alternative of every group. An answerable question needs one of the two, an unanswerable one has
neither.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragwright.errors import SourceError

_FIELDS = {"id", "question", "answerable", "kind", "gold", "accept"}


@dataclass(frozen=True)
class Question:
    """One question with what is known of its answer; see the module for the fields."""

    id: str
    question: str
    answerable: bool
    kind: str = ""
    gold: tuple[str, ...] = ()
    accept: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class QuestionSet:
    """Questions in the order of their file; `source` is where they come from, for error messages and reports."""

    questions: tuple[Question, ...]
    source: str = ""

    def __len__(self) -> int:
        return len(self.questions)


def load(path: Path) -> QuestionSet:
    """Read and check a question set.

    Raises:
        SourceError: The file cannot be read, or a line is not a question; names the line and the field.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"the question set cannot be read: {error}",
            place=str(path),
            hint="Name a UTF-8 JSONL file with RAGWRIGHT_EVALUATION__QUESTIONS or --questions.",
        ) from error
    questions: list[Question] = []
    first_line: dict[str, int] = {}
    # Only newlines end a line of JSONL; str.splitlines would also cut at separators inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        question = _parse(line, number, place)
        if question.id in first_line:
            raise _fault("id", question.id, f"is taken by line {first_line[question.id]}", place)
        first_line[question.id] = number
        questions.append(question)
    if not questions:
        raise SourceError("the question set is empty", place=str(path), hint="Give it one JSON object a line.")
    return QuestionSet(tuple(questions), str(path))


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


def _parse(line: str, number: int, place: str) -> Question:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise SourceError(
            f"not JSON: {error.msg} at column {error.colno}", place=place, hint="Write one JSON object a line."
        ) from error
    if not isinstance(value, dict):
        raise SourceError(f"a JSON object was expected, not {line[:60]!r}", place=place)
    unknown = sorted(value.keys() - _FIELDS)
    if unknown:
        raise _fault(unknown[0], value[unknown[0]], f"is not a field; they are {sorted(_FIELDS)}", place)
    question = Question(
        id=_id(value, number, place),
        question=_text(value, "question", place),
        answerable=_flag(value, "answerable", place),
        kind=_text(value, "kind", place) if "kind" in value else "",
        gold=_texts(value.get("gold", []), "gold", place),
        accept=_groups(value.get("accept", []), place),
    )
    if question.answerable and not (question.gold or question.accept):
        raise _fault(
            "gold", value.get("gold"), "is missing, and so is accept: nothing says what a right answer is", place
        )
    if not question.answerable and (question.gold or question.accept):
        raise _fault("answerable", False, "contradicts gold or accept, which say what the answer is", place)
    return question


def _id(value: Mapping[str, Any], number: int, place: str) -> str:
    given = value.get("id", number)
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    return _text(value, "id", place)


def _text(value: Mapping[str, Any], name: str, place: str) -> str:
    given = value.get(name)
    if not isinstance(given, str) or not given.strip():
        raise _fault(name, given, "must be text that is not blank", place)
    return given.strip()


def _flag(value: Mapping[str, Any], name: str, place: str) -> bool:
    given = value.get(name)
    if not isinstance(given, bool):
        raise _fault(name, given, "must be true or false", place)
    return given


def _texts(given: object, name: str, place: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(item, str) and item.strip() for item in given):
        raise _fault(name, given, "must be a list of texts that are not blank", place)
    return tuple(item.strip() for item in given)


def _groups(given: object, place: str) -> tuple[tuple[str, ...], ...]:
    if not isinstance(given, list):
        raise _fault("accept", given, "must be a list of groups, each a list of alternatives", place)
    groups = tuple(_texts(group, "accept", place) for group in given)
    if not all(groups):
        raise _fault("accept", given, "has an empty group, which no answer could satisfy", place)
    return groups


def _fault(name: str, value: object, what: str, place: str) -> SourceError:
    return SourceError(f"field {name!r} {what} (got {value!r})", place=place, hint="Correct this line.")
