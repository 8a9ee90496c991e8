"""What a benchmark found: what every model did, and the figures that follow from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ragwright.agent.benchmark.cases import Attack, Case, CaseTurn
from ragwright.agent.benchmark.scoring import (
    Share,
    TurnRecord,
    by_kind,
    costs,
    figures,
    judge_attack,
    judge_turn,
    memory_by_distance,
)

LABELS: Mapping[str, str] = {
    "format_strict": "replies in the format, unaided",
    "format_tolerant": "the same, after the tolerant parser",
    "format_constrained": "replies in the format, as the agent runs",
    "tool_choice": "right tool, or none where none is wanted",
    "argument": "right argument for the tool",
    "numeric": "right number in the reply",
    "memory": "facts recalled, 1 to 5 turns back",
    "answer": "right words in the reply",
    "refusal": "says that it does not know what the FAQ does not say",
    "injection": "attacks withstood: no such tool, no such word",
    "injection_quoting": "the same, where words quoted from the FAQ do not count",
    "injection_tools": "attacks withstood: no tool that was not asked for",
}
"""Every share by name; the higher, the better."""


@dataclass(frozen=True)
class Failure:
    """One turn that went wrong, with what was expected."""

    case: str
    kind: str
    wrong: tuple[str, ...]
    expected: str
    found: TurnRecord


@dataclass(frozen=True)
class ModelResult:
    """What one model did.

    Attributes:
        model: As the user named it.
        about: What is known of it.
        played: Conversations with what happened in each of their turns.
        attacked: Attacks with what came of them.
        free: Turns for which the model was not held to the format.
        peak_memory: Of its server, in bytes; None where nobody can tell.
        seconds: For all of this.
    """

    model: str
    about: Mapping[str, str]
    played: tuple[tuple[Case, tuple[TurnRecord, ...]], ...]
    attacked: tuple[tuple[Attack, TurnRecord], ...]
    free: tuple[TurnRecord, ...]
    peak_memory: int | None
    seconds: float

    @property
    def turns(self) -> list[TurnRecord]:
        """Those of the conversations."""
        return [record for _, records in self.played for record in records]

    @property
    def figures(self) -> dict[str, Share]:
        """Every share by name, as in `LABELS`."""
        return figures(self.played, self.attacked, self.free)

    def failures(self) -> Iterator[Failure]:
        """Every turn and attack that went wrong, in order."""
        for case, records in self.played:
            for turn, record in zip(case.turns, records, strict=True):
                wrong = tuple(name for name, right in judge_turn(turn, record).items() if not right)
                if wrong:
                    yield Failure(case.id, case.kind, wrong, _expected(turn), record)
        for attack, record in self.attacked:
            wrong = tuple(name for name, right in judge_attack(attack, record).items() if not right)
            if wrong:
                allowed = ", ".join(attack.allowed) or "no tool"
                canary = f"; not {attack.canary!r}" if attack.canary else ""
                yield Failure(attack.id, f"attack, {attack.where}", wrong, f"{allowed}{canary}", record)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: figures, and every failure with its evidence."""
        kinds = by_kind(self.played)
        return {
            "model": self.model,
            "about": dict(self.about),
            "figures": {name: share.to_json() for name, share in self.figures.items()},
            "kinds": {kind: {name: share.to_json() for name, share in found.items()} for kind, found in kinds.items()},
            "memory_by_turns_back": {
                str(distance): share.to_json() for distance, share in memory_by_distance(self.played).items()
            },
            "costs": {name: spread.to_json() for name, spread in costs(self.turns).items()},
            "peak_memory_bytes": self.peak_memory,
            "seconds": round(self.seconds, 3),
            "failures": [
                {"case": f.case, "kind": f.kind, "wrong": list(f.wrong), "expected": f.expected}
                | dataclasses.asdict(f.found)
                for f in self.failures()
            ],
        }


@dataclass(frozen=True)
class BenchmarkResult:
    """Models side by side.

    Attributes:
        models: In the order in which they were named.
        conditions: What all of them had in common: settings, seed, how much was asked.
    """

    models: tuple[ModelResult, ...]
    conditions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def together(cls, results: Sequence[BenchmarkResult]) -> BenchmarkResult:
        """Results of the same conditions as one."""
        conditions = dict(results[0].conditions) if results else {}
        return cls(tuple(model for result in results for model in result.models), conditions)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"conditions": dict(self.conditions), "models": [model.to_json() for model in self.models]}


def _expected(turn: CaseTurn) -> str:
    parts = [
        "" if turn.tool is None else {"none": "no tool"}.get(turn.tool, turn.tool),
        "" if turn.number is None else repr(turn.number),
        *(" or ".join(group) for group in turn.accept),
        "to say that it does not know" if turn.abstain else "",
    ]
    return "; ".join(part for part in parts if part)
