"""What answers are worth, as pure functions: first for one question, then over all.

A failure (an exception, a figure that is not finite) is a wrong answer; it is listed and never dropped. "I don't know"
is right for an unanswerable question and wrong for an answerable one.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ragwright.answering import Answer
from ragwright.evaluation.questions import Question
from ragwright.evaluation.statistics import wilson


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
        latency_ms: From question to answer; 0 after a failure.
        failed: Whether it ended in an error.
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

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"cited": list(self.cited), "retrieved": list(self.retrieved)}


def score(question: Question, answer: Answer) -> QuestionResult:
    """Compare one answer with what is known of the question."""
    figures = [*answer.timings_ms.values(), *(hit.score for hit in answer.ranking), *answer.evidence.values()]
    if not all(math.isfinite(figure) for figure in figures):
        return failure(question, f"the answer holds a figure that is not finite: {answer.evidence!r}")
    gold = {normalise(name) for name in question.gold}
    return QuestionResult(
        id=question.id,
        question=question.question,
        kind=question.kind,
        answerable=question.answerable,
        answer=answer.answer,
        abstained=answer.abstained,
        correct=is_correct(question, answer),
        rank=first_rank(gold, [(hit.row_key, hit.question) for hit in answer.ranking]),
        has_gold=bool(gold),
        probability=answer.evidence.get("probability", 0.0 if answer.abstained else 1.0),
        cited=tuple(citation.row for citation in answer.citations),
        retrieved=tuple(hit.question for hit in answer.ranking),
        source=answer.source,
        reason=answer.reason,
        latency_ms=answer.timings_ms.get("total", 0.0),
    )


def failure(question: Question, what: str) -> QuestionResult:
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
        latency_ms=0.0,
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
    gold = {normalise(name) for name in question.gold}
    return first_rank(gold, [(citation.row_key, citation.question) for citation in answer.citations]) > 0


def satisfies(text: str, groups: Iterable[Iterable[str]]) -> bool:
    """Whether every group has an alternative among the words of the text, in order; an English plural is forgiven."""
    normal = normalise(text)
    return all(any(_says(normal, normalise(alternative)) for alternative in group) for group in groups)


def _says(normal: str, wanted: str) -> bool:
    # Neither "10" in "100" nor "10" in "10.5"; scripts without spaces have no word ends to look for.
    if any("\u3040" <= character <= "\u9fff" for character in wanted):
        return wanted in normal
    return re.search(rf"(?<![\w.]){re.escape(wanted)}(?:(?<=[a-z])e?s)?(?![\w]|\.\w)", normal) is not None


def normalise(text: str) -> str:
    """Words only: compatibility forms, lower case, no thousands separators, other punctuation as single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = re.sub(r"(?<=\d),(?=\d{3}\b)", "", folded)
    # A point stays only between digits, as in "3.5".
    return " ".join(re.sub(r"(?!(?<=\d)\.(?=\d))[\W_]", " ", folded).split())


def first_rank(gold: set[str], found: Sequence[tuple[str, str]]) -> int:
    """1-based place of the first (row key, question) pair that gold names, rows counted once; 0 if none does."""
    place = 0
    seen: set[str] = set()
    for row_key, question in found:
        if row_key in seen:
            continue
        seen.add(row_key)
        place += 1
        if normalise(row_key) in gold or normalise(question) in gold:
            return place
    return 0


def aggregate(results: Sequence[QuestionResult]) -> dict[str, Any]:
    """Every figure over a set of results; None where nothing was there to measure.

    Shares come with 95 % Wilson intervals under `intervals`. `answer_correctness` is over all questions,
    `answerable_correctness` over the answerable ones. A failed question counts as missed, wrong, and as a refusal or a
    false answer.
    """
    gold = [result for result in results if result.has_gold]
    answerable = [result for result in results if result.answerable]
    unanswerable = [result for result in results if not result.answerable]
    counts = {
        "hit_at_1": (sum(result.rank == 1 for result in gold), len(gold)),
        "hit_at_5": (sum(1 <= result.rank <= 5 for result in gold), len(gold)),
        "answer_correctness": (sum(result.correct for result in results), len(results)),
        "answerable_correctness": (sum(result.correct for result in answerable), len(answerable)),
        "false_answer_rate": (sum(not result.abstained for result in unanswerable), len(unanswerable)),
        "over_refusal_rate": (sum(result.abstained or result.failed for result in answerable), len(answerable)),
    }
    shares = {name: successes / trials if trials else None for name, (successes, trials) in counts.items()}
    false_answers, refusals = shares["false_answer_rate"], shares["over_refusal_rate"]
    balanced = 1 - (false_answers + refusals) / 2 if false_answers is not None and refusals is not None else None
    ranks = [1 / result.rank if result.rank else 0.0 for result in gold]
    latencies = [result.latency_ms for result in results if not result.failed]
    return {
        "questions": len(results),
        "answerable": len(answerable),
        "unanswerable": len(unanswerable),
        "failed": sum(result.failed for result in results),
        **shares,
        "mrr": sum(ranks) / len(ranks) if ranks else None,
        "abstention_balanced_accuracy": balanced,
        "intervals": {name: wilson(*count) if count[1] else None for name, count in counts.items()},
        "latency_ms": {
            "p50": float(np.percentile(latencies, 50)) if latencies else None,
            "p95": float(np.percentile(latencies, 95)) if latencies else None,
        },
    }
