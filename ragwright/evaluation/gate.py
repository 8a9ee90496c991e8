"""Whether a candidate generation may go live: absolute floors, and no loss against the live one on the same questions.

A candidate is blocked when it is *shown* to be worse: a figure fell by more than the margin, and chance lets one fall
so far in fewer than 1 - confidence of runs, all compared figures taken together. A loss of that size that chance may
well explain is a warning. Why not the other way round: docs/decisions/0011-a-candidate-must-be-shown-to-be-worse.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from ragwright.evaluation.comparison import METRICS, Change, Comparison, Figure, Metric, compare
from ragwright.evaluation.run import EvaluationResult
from ragwright.settings import GateSettings

Decision = Literal["passed", "warned", "blocked", "off"]
Status = Literal["passed", "doubtful", "failed"]

_WORST: dict[Status, int] = {"passed": 0, "doubtful": 1, "failed": 2}


@dataclass(frozen=True)
class Check:
    """One figure of a candidate against its floor and the live generation.

    Attributes:
        name: Of the metric.
        questions: How many have a say in it.
        candidate: Its value.
        live: That of the live generation; None if there is nothing to compare with.
        floor: What it must reach, or may reach at most where less is better; None: nothing.
        difference: Candidate against live, positive where the candidate is better.
        low: Lower bound of the difference.
        high: Upper bound of the difference.
        margin: The loss that is nobody's business.
        better: Questions that got better.
        worse: Questions that got worse.
        chance: How likely so low a difference is without any real loss; see `comparison.chance_of`.
        compared: Whether the difference counts; figures that cannot fall without another are only shown.
        status: `passed`, `doubtful` (a loss that may be chance, or too few questions to tell) or `failed`.
        passed: Whether it does not stand in the way.
    """

    name: str
    questions: int
    candidate: float
    live: float | None = None
    floor: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float = 0.0
    better: int = 0
    worse: int = 0
    chance: float | None = None
    compared: bool = False
    status: Status = "passed"

    @property
    def passed(self) -> bool:
        """Whether it does not stand in the way."""
        return self.status != "failed"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"passed": self.passed}


@dataclass(frozen=True)
class GateVerdict:
    """What the gate said of a candidate.

    Attributes:
        verdict: `passed`; `warned` (goes live, but look); `blocked`; `off` (nothing was asked of it).
        reasons: Why, in words, what weighs most first.
        checks: Every figure that was measured.
        changes: Questions that fare differently than with the live generation.
        live: The generation it was compared with; None without one.
        questions: How many there were.
        asked: How many the candidate was asked in this run; the rest was known from an earlier evaluation.
    """

    verdict: Decision
    reasons: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    changes: tuple[Change, ...] = ()
    live: int | None = None
    questions: int = 0
    asked: int = 0

    @property
    def reason(self) -> str:
        """The reasons in one line."""
        return "; ".join(self.reasons)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, in the layout that programs rely on."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "reasons": list(self.reasons),
            "live": self.live,
            "questions": self.questions,
            "asked": self.asked,
            "checks": [check.to_json() for check in self.checks],
            "changed": [change.to_json() for change in self.changes],
        }


def judge(
    candidate: EvaluationResult,
    live: EvaluationResult | None,
    settings: GateSettings,
    *,
    warnings: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> GateVerdict:
    """Decide on a candidate.

    A question that ended in an error, or in a figure that is not finite, counts as wrong.

    Args:
        candidate: Its evaluation.
        live: The live generation's, on the same questions; None where there is nothing to compare with.
        settings: Floors, margin, confidence, and what a failure leads to.
        warnings: What is amiss besides; a candidate with one does not pass without a warning.
        remarks: What a reader of the verdict should know.

    Raises:
        ConfigurationError: The two are not on the same questions.
    """
    if settings.mode == "off":
        return GateVerdict("off", ("the gate is switched off",))
    compared = None if live is None else compare(candidate, live, confidence=_shared(settings).interval)
    checks = _checks(candidate, compared, settings)
    reasons = [sentence for check in checks for sentence in _sentences(check, settings)]
    errors = candidate.aggregate.get("failed") or 0
    if errors:
        remarks = [*remarks, f"{errors} of {len(candidate.results)} questions ended in an error and count as wrong"]
    worst = max((_WORST[check.status] for check in checks), default=0)
    verdict: Decision = "blocked" if worst == _WORST["failed"] else "warned" if worst or warnings else "passed"
    if verdict == "blocked" and settings.mode == "warn":
        verdict = "warned"
    if verdict == "passed":
        reasons.append(_no_worse(candidate, live))
    return GateVerdict(
        verdict=verdict,
        reasons=(*reasons, *warnings, *remarks),
        checks=checks,
        changes=compared.changes if compared else (),
        live=live.generation if live else None,
        questions=len(candidate.results),
    )


@dataclass(frozen=True)
class _Shared:
    """How sure one check must be so that all together are as sure as was asked for (Bonferroni).

    Attributes:
        chance: Greatest p value that counts as shown.
        interval: Confidence of the two-sided interval that goes with it.
    """

    chance: float
    interval: float


def _shared(settings: GateSettings) -> _Shared:
    chance = (1 - settings.confidence) / sum(metric.compared for metric in METRICS)
    return _Shared(chance, 1 - 2 * chance)


def _checks(candidate: EvaluationResult, compared: Comparison | None, settings: GateSettings) -> tuple[Check, ...]:
    figures = {figure.metric.name: figure for figure in compared.figures} if compared else {}
    checks = []
    for metric in METRICS:
        value = metric.measure(candidate.results)
        if value is None:
            continue
        asked = sum(metric.of(result) is not None for result in candidate.results)
        floor: float | None = getattr(settings.floors, metric.name)
        check = Check(metric.name, asked, value, floor=floor, margin=settings.margin, compared=metric.compared)
        figure = figures.get(metric.name)
        if figure is not None:
            check = _beside(check, figure)
        checks.append(replace(check, status=_status(check, metric, settings)))
    return tuple(checks)


def _beside(check: Check, figure: Figure) -> Check:
    return replace(
        check,
        live=figure.live,
        difference=figure.difference,
        low=figure.low,
        high=figure.high,
        better=figure.better,
        worse=figure.worse,
        chance=figure.chance,
    )


def _status(check: Check, metric: Metric, settings: GateSettings) -> Status:
    statuses: list[Status] = ["passed"]
    if not _reaches(check, metric):
        statuses.append("failed")
    if check.compared and _lost(check):
        chance = math.inf if check.chance is None else check.chance
        if chance <= _shared(settings).chance:
            statuses.append("failed")
        elif chance <= 1 - settings.confidence:
            statuses.append("doubtful")
    worst = max(statuses, key=_WORST.__getitem__)
    # Of so few questions one or two may be anything.
    return "doubtful" if worst == "failed" and check.questions < settings.min_questions else worst


def _reaches(check: Check, metric: Metric) -> bool:
    """Whether the floor is reached; a value that is not a number reaches none."""
    if check.floor is None:
        return True
    return check.candidate >= check.floor if metric.rising else check.candidate <= check.floor


def _lost(check: Check) -> bool:
    """Whether there is a loss beyond the margin; a difference that is not a number counts as one."""
    return check.difference is not None and not check.difference >= -check.margin


_TITLES = {metric.name: metric for metric in METRICS}


def _sentences(check: Check, settings: GateSettings) -> list[str]:
    """What is wrong with a check, in words; nothing if nothing is."""
    if check.status == "passed":
        return []
    metric, said = _TITLES[check.name], []
    few = (
        f" (of {check.questions} questions; fewer than {settings.min_questions} are too few to block on)"
        if check.questions < settings.min_questions
        else ""
    )
    if not _reaches(check, metric):
        limit = "at least" if metric.rising else "at most"
        said.append(
            f"{metric.title}: {percent(check.candidate)}, {limit} {percent(check.floor)} is asked "
            f"(gate.floors.{check.name}){few}"
        )
    if check.compared and _lost(check) and (check.chance is None or check.chance <= 1 - settings.confidence):
        shown = check.chance is not None and check.chance <= _shared(settings).chance
        said.append(
            f"{metric.title}: {percent(check.candidate)} instead of {percent(check.live)} ({check.worse} worse, "
            f"{check.better} better; {'not' if shown else 'hardly'} chance: p = {check.chance:.2g}){few}"
        )
    return said


def _no_worse(candidate: EvaluationResult, live: EvaluationResult | None) -> str:
    count = f"{len(candidate.results)} question{'s' if len(candidate.results) != 1 else ''}"
    if live is None:
        return f"reaches every floor on {count}; there is no live generation to compare with"
    return f"no worse than generation {live.generation} on {count}"


def percent(value: float | None) -> str:
    """A share as people read it."""
    return "-" if value is None else f"{value:.1%}"
