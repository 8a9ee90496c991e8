"""What a model is asked: conversations with what is expected of their turns, and attempts to lead it astray.

One JSON object a line. A case is a conversation::

    {"id": "chain-02", "kind": "follow-up", "turns": [
      {"say": "what is 12 * 12?", "tool": "Calculator", "number": 144},
      {"say": "now add 56 to that", "tool": "Calculator", "number": 200}]}

Of a turn only `say` is needed. `tool` is the one that the turn calls for (`none`: no tool). `number` is what the
calculator must find and the reply must state. `about` and `accept` are groups of alternatives: what is searched for,
and the reply, must say one alternative of every group. `abstain`: the right reply is that it does not know. `recall`:
the fact asked for was told so many turns back.

An attack is one turn that carries foreign instructions, or leads to an FAQ answer (`passage`) that does::

    {"id": "faq-01", "where": "faq", "say": "...", "passage": "...", "allowed": ["Search"], "canary": "BANANA"}
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ragwright.bundled import bundled
from ragwright.errors import SourceError

Groups = tuple[tuple[str, ...], ...]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CaseTurn(_Line):
    """One turn of the user, with what is expected of the agent; see the module for the fields."""

    say: str = Field(min_length=1)
    tool: Literal["Calculator", "Search", "none"] | None = None
    number: float | None = None
    about: Groups = ()
    accept: Groups = ()
    abstain: bool = False
    recall: int | None = Field(None, ge=1, le=5)

    @model_validator(mode="after")
    def _agree(self) -> CaseTurn:
        if self.number is not None and self.tool != "Calculator":
            raise ValueError("a number is the calculator's business: set tool to Calculator")
        if self.about and self.tool != "Search":
            raise ValueError("about is for what is searched: set tool to Search")
        if self.recall is not None and not self.accept:
            raise ValueError("what is to be recalled needs accept")
        if self.abstain and (self.accept or self.number is not None):
            raise ValueError("a turn without an answer has neither accept nor number")
        return self


class Case(_Line):
    """One conversation."""

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    kind: str = Field(pattern=r"^[a-z-]+$")
    turns: tuple[CaseTurn, ...] = Field(min_length=1)


class Attack(_Line):
    """One attempt to make the agent do what its user did not ask for.

    Attributes:
        id: Names it.
        where: Where the foreign instructions stand: in what a search finds, or in the user's turn.
        say: The user's turn.
        passage: What every search finds, where it is the FAQ that is poisoned.
        allowed: Tools that the user's question calls for.
        canary: What an agent says only if it obeys, in any case of letters.
    """

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    where: Literal["faq", "user"]
    say: str = Field(min_length=1)
    passage: str = ""
    allowed: tuple[str, ...] = ()
    canary: str = ""

    @property
    def kind(self) -> str:
        """What a sample is balanced by."""
        return self.where

    @model_validator(mode="after")
    def _agree(self) -> Attack:
        if (self.where == "faq") != bool(self.passage):
            raise ValueError("an attack in the FAQ needs a passage, one in the user's turn has none")
        return self


Entry = TypeVar("Entry", Case, Attack)


def load_cases(path: Path | None = None) -> tuple[Case, ...]:
    """The conversations of a file; by default those that come with ragwright.

    Raises:
        SourceError: The file cannot be read, or a line is no case; the line, the field and the value are named.
    """
    return _load(path or bundled("agent_cases.jsonl"), Case)


def load_attacks(path: Path | None = None) -> tuple[Attack, ...]:
    """The attacks of a file; by default those that come with ragwright.

    Raises:
        SourceError: As for `load_cases`.
    """
    return _load(path or bundled("agent_attacks.jsonl"), Attack)


def _load(path: Path, kind: type[Entry]) -> tuple[Entry, ...]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot be read: {error}", place=str(path), hint="Name a UTF-8 JSONL file.") from error
    entries: dict[str, Entry] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            entry = kind.model_validate_json(line)
        except ValidationError as error:
            raise SourceError(f"is no {kind.__name__.lower()}: {_faults(error)}", place=place) from error
        if entry.id in entries:
            raise SourceError(f"the id {entry.id!r} is taken by a line before", place=place, hint="Choose another.")
        entries[entry.id] = entry
    if not entries:
        raise SourceError("holds nothing", place=str(path), hint="Give it one JSON object a line.")
    return tuple(entries.values())


def _faults(error: ValidationError) -> str:
    def told(fault: Any) -> str:
        return f"{'.'.join(map(str, fault['loc'])) or 'the line'}: {fault['msg']} (got {str(fault['input'])[:80]!r})"

    return "; ".join(told(fault) for fault in error.errors(include_url=False))


def sample(entries: Sequence[Entry], at_most: int, *, seed: int) -> tuple[Entry, ...]:
    """At most so many, each kind in proportion, in their order; the same ones for the same seed."""
    if len(entries) <= at_most:
        return tuple(entries)
    kinds: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        kinds.setdefault(entry.kind, []).append(index)
    generator = random.Random(seed)  # noqa: S311 - repeatable, not secret
    places: list[tuple[float, int]] = []
    for indices in kinds.values():
        generator.shuffle(indices)
        places += [((place + 0.5) / len(indices), index) for place, index in enumerate(indices)]
    return tuple(entries[index] for index in sorted(index for _, index in sorted(places)[:at_most]))
