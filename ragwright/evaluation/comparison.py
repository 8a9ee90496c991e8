"""Two evaluations on the same questions, side by side: which figures moved, whether by chance, which questions did."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ragwright.errors import ConfigurationError
from ragwright.evaluation.metrics import QuestionResult
from ragwright.evaluation.run import EvaluationResult
from ragwright.evaluation.statistics import paired_bootstrap


@dataclass(frozen=True)
class Metric:
    """One figure over questions: the mean of what `of` says of each; None leaves a question out.

    Attributes:
        name: As `metrics.aggregate` calls it.
        title: As people read it.
        of: A value in [0, 1] for one question.
        rising: Whether more is better.
        compared: Whether two evaluations are compared by it. Each comparison is one more chance to be wrong, so a
            figure that cannot fall without another has none of its own.
    """

    name: str
    title: str
    of: Callable[[QuestionResult], float | None]
    rising: bool = True
    compared: bool = True

    def measure(self, results: Sequence[QuestionResult]) -> float | None:
        """The figure; None if no question has a say in it."""
        values = [value for value in map(self.of, results) if value is not None]
        return sum(values) / len(values) if values else None


def _went_wrong(result: QuestionResult) -> bool:
    return result.failed or not math.isfinite(result.probability)


def _correct(result: QuestionResult) -> float:
    return float(result.correct and not _went_wrong(result))


def _found(result: QuestionResult) -> float | None:
    return float(1 <= result.rank <= 5 and not _went_wrong(result)) if result.has_gold else None


def _reciprocal_rank(result: QuestionResult) -> float | None:
    if not result.has_gold:
        return None
    return 1 / result.rank if result.rank >= 1 and not _went_wrong(result) else 0.0


def _false_answer(result: QuestionResult) -> float | None:
    return None if result.answerable else float(not result.abstained or _went_wrong(result))


def _refused(result: QuestionResult) -> float | None:
    return float(result.abstained or _went_wrong(result)) if result.answerable else None


METRICS = (
    Metric("answer_correctness", "questions treated correctly", _correct),
    Metric(
        "answerable_correctness",
        "answerable questions answered correctly",
        lambda result: _correct(result) if result.answerable else None,
        compared=False,
    ),
    Metric("hit_at_5", "right row in the top five", _found),
    Metric("mrr", "mean reciprocal rank of the right row", _reciprocal_rank),
    Metric("false_answer_rate", "unanswerable questions answered", _false_answer, rising=False),
    Metric("over_refusal_rate", "answerable questions refused", _refused, rising=False),
)
"""What a candidate is judged by."""


@dataclass(frozen=True)
class Figure:
    """One metric of two evaluations.

    Attributes:
        metric: Which.
        questions: How many have a say in it.
        candidate: Its value now.
        live: Its value before.
        difference: Mean over questions of now and before, positive where now is better.
        low: Lower bound of the difference (paired bootstrap).
        high: Upper bound.
        better: Questions that got better.
        worse: Questions that got worse.
        chance: How likely so low a difference is if each change could as well have gone the other way (`chance_of`).
    """

    metric: Metric
    questions: int
    candidate: float
    live: float
    difference: float
    low: float
    high: float
    better: int
    worse: int
    chance: float


@dataclass(frozen=True)
class Change:
    """A question that fares differently.

    Attributes:
        id: Of the question.
        question: As asked.
        kind: Of the question.
        before: The answer of the one compared with.
        after: The answer now.
        how: In words, such as `was right, is now refused`.
        improved: Whether it got better; None where one fault gave way to another.
    """

    id: str
    question: str
    kind: str
    before: str
    after: str
    how: str
    improved: bool | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """Everything that differs between two evaluations.

    Attributes:
        figures: Of every metric that some question has a say in.
        changes: Questions that fare differently: worse ones first, then better ones.
        reworded: Questions that fare as before with another answer.
    """

    figures: tuple[Figure, ...]
    changes: tuple[Change, ...]
    reworded: int


def compare(candidate: EvaluationResult, live: EvaluationResult, *, confidence: float = 0.95) -> Comparison:
    """Put two evaluations on the same questions side by side.

    Args:
        candidate: Now.
        live: Before.
        confidence: Of the two-sided intervals.

    Raises:
        ConfigurationError: They are not on the same questions.
    """
    pairs = _paired(candidate, live)
    figures = [_figure(metric, pairs, confidence) for metric in METRICS]
    changes = [change for change in (_change(after, before) for after, before in pairs) if change is not None]
    order = {False: 0, None: 1, True: 2}
    changed = {change.id for change in changes}
    return Comparison(
        figures=tuple(figure for figure in figures if figure is not None),
        changes=tuple(sorted(changes, key=lambda change: order[change.improved])),
        reworded=sum(after.answer != before.answer and after.id not in changed for after, before in pairs),
    )


def chance_of(differences: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """How likely a sum as low as that of the differences is, if each might as well have had the other sign.

    The exact one-sided permutation test of paired values (Fisher, "The Design of Experiments" (1935), section 21) with
    the mid-p correction (Lancaster, JASA 56 (1961)). Of differences that are -1, 0 or 1 it is McNemar's test.

    Args:
        differences: [n], positive where it got better; taken to the nearest 1/120, which reciprocal ranks need.
    """
    steps = np.rint(np.asarray(differences, np.float64) * 120).astype(np.int64)
    steps = steps[steps != 0]
    steps //= np.gcd.reduce(steps) if len(steps) else 1
    gained = int(steps[steps > 0].sum())
    # Of the sum of those that come out positive: probability[t] that it is t.
    probability = np.ones(1)
    for step in np.abs(steps):
        wider = np.zeros(len(probability) + step)
        wider[: len(probability)] = probability
        wider[step:] += probability
        probability = wider / 2
    return float(probability[:gained].sum() + probability[gained] / 2)


def _paired(candidate: EvaluationResult, live: EvaluationResult) -> list[tuple[QuestionResult, QuestionResult]]:
    before = {result.id: result for result in live.results}
    pairs = [(result, before[result.id]) for result in candidate.results if result.id in before]
    same = all((a.question, a.answerable, a.has_gold) == (b.question, b.answerable, b.has_gold) for a, b in pairs)
    if not same or not len(pairs) == len(candidate.results) == len(live.results):
        raise ConfigurationError(
            f"{len(candidate.results)} and {len(live.results)} results are not on the same questions",
            place=candidate.source or None,
            hint="Evaluate both generations with one question set.",
        )
    return pairs


def _figure(metric: Metric, pairs: Sequence[tuple[QuestionResult, QuestionResult]], confidence: float) -> Figure | None:
    values = [(metric.of(after), metric.of(before)) for after, before in pairs]
    both = np.array([(now, then) for now, then in values if now is not None and then is not None], np.float64)
    if not len(both):
        return None
    differences = (both[:, 0] - both[:, 1]) * (1 if metric.rising else -1)
    interval = paired_bootstrap(differences, confidence=confidence)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return Figure(
        metric=metric,
        questions=len(both),
        candidate=float(both[:, 0].mean()),
        live=float(both[:, 1].mean()),
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        better=better,
        worse=worse,
        chance=chance_of(differences),
    )


def _change(after: QuestionResult, before: QuestionResult) -> Change | None:
    was, now = _fares(before), _fares(after)
    if was != now:
        right = (_correct(before), _correct(after))
        how = f"was {was}, is now {now}"
        improved = None if right[0] == right[1] else right[1] > right[0]
    elif (found := _found(after)) is not None and found != _found(before):
        how = f"still {now}; the right row was {_place(before)}, is now {_place(after)}"
        improved = bool(found)
    else:
        return None
    return Change(after.id, after.question, after.kind, _said(before), _said(after), how, improved)


def _fares(result: QuestionResult) -> str:
    if _went_wrong(result):
        return "an error"
    if result.correct:
        return "right"
    if result.answerable:
        return "refused" if result.abstained else "wrong"
    return "answered though the FAQ does not say"


def _place(result: QuestionResult) -> str:
    return f"at rank {result.rank}" if result.rank else "not found"


def _said(result: QuestionResult) -> str:
    return result.reason if result.failed else result.answer
