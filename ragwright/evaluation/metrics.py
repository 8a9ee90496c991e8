"""What answers are worth, as pure functions: first for one question, then over all.

A failure (an exception, a figure that is not finite) is a wrong answer; it is listed and never dropped. "I don't know"
is right for an unanswerable question and wrong for an answerable one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ragwright.answering import Answer
from ragwright.evaluation.judge import Judgement
from ragwright.evaluation.matching import gold_places, ndcg, normalise, satisfies, support
from ragwright.evaluation.questions import Question
from ragwright.evaluation.statistics import (
    area_under_risk,
    auroc,
    auroc_interval,
    expected_calibration_error,
    mean_of_shares,
    paired_bootstrap,
    reliability,
    risk_coverage,
    wilson,
)

__all__ = [
    "QuestionResult",
    "aggregate",
    "answerability",
    "failure",
    "is_correct",
    "normalise",
    "satisfies",
    "score",
    "selection",
]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class QuestionResult:
    """How one question went.

    Attributes:
        id: Of the question.
        question: As asked.
        kind: Of the question.
        answerable: Whether the FAQ answers it.
        answer: What came back; empty after a failure.
        abstained: Whether that was "I don't know".
        correct: Whether that was right.
        rank: 1-based place of the first gold row among all retrieved; 0 if it is not there or there is no gold.
        has_gold: Whether gold rows are known, so that retrieval can be measured.
        probability: That the FAQ answers it, as the answerability model saw it.
        cited: Row numbers of the citations.
        retrieved: Questions of the retrieved rows, most relevant first.
        source: How the answer came about, as `Answer.source`.
        reason: Why it was answered or not, or what failed.
        latency_ms: From question to answer, or to the failure.
        failed: Whether it ended in an error.
        ndcg: nDCG@10 of the gold rows among all retrieved; 0 if there is no gold.
        supported: Whether the answer rests on what it cites, as `matching.support` sees it; None if nothing was said.
        timings_ms: By stage, without the total.
        prompt_tokens: Read by the language model, 0 where it was not asked, None where nobody counted.
        new_tokens: Written by it.
        judgement: What a language model says of the answer; None where none was asked.
    """

    id: str
    question: str
    kind: str
    answerable: bool
    answer: str
    abstained: bool
    correct: bool
    rank: int
    has_gold: bool
    probability: float
    cited: tuple[int, ...]
    retrieved: tuple[str, ...]
    source: str
    reason: str
    latency_ms: float
    failed: bool = False
    ndcg: float = 0.0
    supported: bool | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    judgement: Judgement | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"cited": list(self.cited), "retrieved": list(self.retrieved)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> QuestionResult:
        """The inverse of `to_json`.

        Raises:
            KeyError: A field is missing: an older version wrote it, and what it did not measure has no default.
        """
        made = {each.name: value[each.name] for each in fields(cls)}
        judgement = made["judgement"]
        made |= {name: tuple(made[name]) for name in ("cited", "retrieved")}
        return cls(**made | {"judgement": Judgement(**judgement) if judgement is not None else None})


def score(question: Question, answer: Answer) -> QuestionResult:
    """Compare one answer with what is known of the question."""
    scores = [hit.score for hit in (*answer.ranking, *answer.citations)]
    figures = [*answer.timings_ms.values(), *scores, *answer.evidence.values()]
    total = answer.timings_ms.get("total", 0.0)
    if not all(math.isfinite(figure) for figure in figures):
        return failure(
            question,
            f"the answer holds a figure that is not finite: {answer.evidence!r}",
            latency_ms=total if math.isfinite(total) else 0.0,
        )
    probability = answer.evidence.get("probability", 0.0 if answer.abstained else 1.0)
    if not 0 <= probability <= 1:
        return failure(question, f"the probability {probability!r} is none", latency_ms=total)
    places, relevant = gold_places(question.gold, [(hit.row_key, hit.question) for hit in answer.ranking])
    sources = [f"{citation.question}\n{citation.text}" for citation in answer.citations]
    return QuestionResult(
        id=question.id,
        question=question.question,
        kind=question.kind,
        answerable=question.answerable,
        answer=answer.answer,
        abstained=answer.abstained,
        correct=is_correct(question, answer),
        rank=places[0] if places else 0,
        has_gold=bool(question.gold),
        probability=probability,
        cited=tuple(citation.row for citation in answer.citations),
        retrieved=tuple(hit.question for hit in answer.ranking),
        source=answer.source,
        reason=answer.reason,
        latency_ms=total,
        ndcg=ndcg(places, relevant),
        supported=None if answer.abstained else support(answer.answer, sources)[0],
        timings_ms={stage: value for stage, value in answer.timings_ms.items() if stage != "total"},
        prompt_tokens=answer.prompt_tokens,
        new_tokens=answer.new_tokens,
    )


def failure(question: Question, what: str, *, latency_ms: float = 0.0) -> QuestionResult:
    """The result of a question that could not be answered at all."""
    return QuestionResult(
        id=question.id,
        question=question.question,
        kind=question.kind,
        answerable=question.answerable,
        answer="",
        abstained=False,
        correct=False,
        rank=0,
        has_gold=bool(question.gold),
        probability=0.0,
        cited=(),
        retrieved=(),
        source="none",
        reason=what,
        latency_ms=latency_ms,
        failed=True,
    )


def is_correct(question: Question, answer: Answer) -> bool:
    """Whether the answer is right.

    Where accepted answers are known, every group must have an alternative in the text; where only gold rows are known,
    one of them must be cited.
    """
    if not question.answerable:
        return answer.abstained
    if answer.abstained:
        return False
    if question.accept:
        return satisfies(answer.answer, question.accept)
    return bool(gold_places(question.gold, [(cited.row_key, cited.question) for cited in answer.citations])[0])


def answerability(results: Iterable[QuestionResult]) -> tuple[Array, Array]:
    """Predicted probabilities [n] that the FAQ answers each question, and whether it does [n].

    A failed question was predicted as wrongly as can be.
    """
    pairs = [(float(not r.answerable) if r.failed else r.probability, float(r.answerable)) for r in results]
    return _columns(pairs)


def selection(results: Iterable[QuestionResult]) -> tuple[Array, Array]:
    """How sure the system was of each question [n], and whether what it says is right [n], for `risk_coverage`.

    A refused question was not answered, so what would have been said is estimated: the row that ranks first. A failed
    question is wrong, and surely so.
    """
    return _columns([(1.0, 0.0) if r.failed else (r.probability, float(_would_be_right(r))) for r in results])


def _would_be_right(result: QuestionResult) -> bool:
    return result.answerable and (result.rank == 1 if result.abstained else result.correct)


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[Array, Array]:
    array = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def aggregate(results: Sequence[QuestionResult]) -> dict[str, Any]:
    """Every figure over a set of results; None where nothing was there to measure.

    `intervals` holds 95 % bounds by name: Wilson's for shares, a bootstrap's for means (`statistics` has the others).
    `counts` holds how many questions each figure rests on. `answer_correctness` is over all questions,
    `answerable_correctness` over the answerable ones. A failed question counts as missed, wrong, unsupported, and as a
    refusal or a false answer.
    """
    shares = _shares(results)
    figures: dict[str, tuple[float, tuple[float, float], int]] = {
        name: (successes / trials, wilson(successes, trials), trials)
        for name, (successes, trials) in shares.items()
        if trials
    }
    gold = [result for result in results if result.has_gold]
    if gold:
        mrr = paired_bootstrap([1 / result.rank if result.rank else 0.0 for result in gold])
        gain = paired_bootstrap([result.ndcg for result in gold])
        figures |= {"mrr": (mrr.mean, mrr.bounds, len(gold)), "ndcg_at_10": (gain.mean, gain.bounds, len(gold))}
    false_answers, unanswerable = shares["false_answer_rate"]
    refusals, answerable = shares["over_refusal_rate"]
    if answerable and unanswerable:
        kept = (unanswerable - false_answers, unanswerable), (answerable - refusals, answerable)
        balanced, *bounds = mean_of_shares(*kept)
        predicted, truth = answerability(results)
        area = auroc(predicted[truth == 1], predicted[truth == 0])
        figures["abstention_balanced_accuracy"] = balanced, (bounds[0], bounds[1]), len(results)
        figures["auroc"] = area, auroc_interval(area, answerable, unanswerable), len(results)
    calibration = _calibration(results)
    names = (*shares, "mrr", "ndcg_at_10", "abstention_balanced_accuracy", "auroc")
    return {
        "questions": len(results),
        "answerable": answerable,
        "unanswerable": unanswerable,
        "failed": sum(result.failed for result in results),
        **{name: figures[name][0] if name in figures else None for name in names},
        **calibration,
        "intervals": {name: figures[name][1] if name in figures else None for name in names},
        "counts": {name: figures[name][2] if name in figures else 0 for name in names}
        | dict.fromkeys(calibration, len(results)),
        **_costs(results),
        "judge": _judged(results),
    }


def _shares(results: Sequence[QuestionResult]) -> dict[str, tuple[int, int]]:
    """Successes and trials of every share."""
    gold = [result for result in results if result.has_gold]
    answerable = [result for result in results if result.answerable]
    unanswerable = [result for result in results if not result.answerable]
    said = [result for result in results if not result.abstained]
    return {
        "hit_at_1": (sum(result.rank == 1 for result in gold), len(gold)),
        "hit_at_5": (sum(1 <= result.rank <= 5 for result in gold), len(gold)),
        "answer_correctness": (sum(result.correct for result in results), len(results)),
        "answerable_correctness": (sum(result.correct for result in answerable), len(answerable)),
        "false_answer_rate": (sum(not result.abstained for result in unanswerable), len(unanswerable)),
        "over_refusal_rate": (sum(result.abstained or result.failed for result in answerable), len(answerable)),
        "support": (sum(result.supported is True for result in said), len(said)),
        "coverage": (len(said), len(results)),
        "selective_risk": (sum(not result.correct for result in said), len(said)),
    }


def _calibration(results: Sequence[QuestionResult]) -> dict[str, float | None]:
    if not results:
        return {"risk_coverage_area": None, "expected_calibration_error": None}
    _, risk = risk_coverage(*selection(results))
    rows = reliability(*answerability(results))
    return {"risk_coverage_area": area_under_risk(risk), "expected_calibration_error": expected_calibration_error(rows)}


def _costs(results: Sequence[QuestionResult]) -> dict[str, Any]:
    """Time, by stage too, and tokens."""
    timed = [result for result in results if result.timings_ms]
    stages = dict.fromkeys(stage for result in timed for stage in result.timings_ms)
    spent = {stage: [result.timings_ms.get(stage, 0.0) for result in timed] for stage in stages}
    if timed:
        spent["other"] = [max(0.0, r.latency_ms - sum(r.timings_ms.values())) for r in timed]
    whole = sum(map(sum, spent.values()))
    counted = [r for r in results if r.prompt_tokens is not None and r.new_tokens is not None]
    return {
        "latency_ms": _percentiles([result.latency_ms for result in results]),
        "stages_ms": {
            stage: _percentiles(values)
            | {"mean": sum(values) / len(values), "share": sum(values) / whole if whole else 0.0}
            for stage, values in spent.items()
        },
        "timed": len(timed),
        "tokens": {
            "questions": len(counted),
            "prompt": sum(result.prompt_tokens or 0 for result in counted) if counted else None,
            "new": sum(result.new_tokens or 0 for result in counted) if counted else None,
        },
    }


def _percentiles(values: Sequence[float]) -> dict[str, float | None]:
    return {name: float(np.percentile(values, at)) if values else None for name, at in (("p50", 50), ("p95", 95))}


def _judged(results: Sequence[QuestionResult]) -> dict[str, Any] | None:
    """What the judge says beside the figures; a judgement that failed speaks for no answer."""
    judged = [(result, result.judgement) for result in results if result.judgement is not None]
    if not judged:
        return None
    answerable = [(result, verdict) for result, verdict in judged if result.answerable]
    shares = {
        "correctness": (sum(verdict.correct is True for _, verdict in answerable), len(answerable)),
        "groundedness": (sum(verdict.grounded is True for _, verdict in judged), len(judged)),
        "agreement": (sum(verdict.correct is result.correct for result, verdict in answerable), len(answerable)),
    }
    return {
        "judged": len(judged),
        "failed": sum(verdict.failed for _, verdict in judged),
        **{name: count / of if of else None for name, (count, of) in shares.items()},
        "intervals": {name: wilson(*share) if share[1] else None for name, share in shares.items()},
        "counts": {name: of for name, (_, of) in shares.items()},
    }
