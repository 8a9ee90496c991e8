"""Asking a whole question set and scoring what comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pyarrow as pa

from ragwright.answering import Answer
from ragwright.errors import ConfigurationError, PermanentError, RagwrightError, RequestRejected
from ragwright.evaluation.holdout import hiding, is_named, named
from ragwright.evaluation.judge import AnswerJudge
from ragwright.evaluation.metrics import QuestionResult, aggregate, failure, score
from ragwright.evaluation.questions import Question, QuestionSet
from ragwright.progress import Progress, silent

RESULTS = pa.schema(
    [
        ("id", pa.string()),
        ("question", pa.string()),
        ("kind", pa.string()),
        ("answerable", pa.bool_()),
        ("answer", pa.string()),
        ("abstained", pa.bool_()),
        ("correct", pa.bool_()),
        ("rank", pa.int32()),
        ("has_gold", pa.bool_()),
        ("probability", pa.float64()),
        ("cited", pa.list_(pa.int64())),
        ("retrieved", pa.list_(pa.string())),
        ("source", pa.string()),
        ("reason", pa.string()),
        ("latency_ms", pa.float64()),
        ("failed", pa.bool_()),
        ("ndcg", pa.float64()),
        ("supported", pa.bool_()),  # null where nothing was said
        ("timings_ms", pa.map_(pa.string(), pa.float64())),
        ("prompt_tokens", pa.int64()),
        ("new_tokens", pa.int64()),
        (
            "judgement",
            pa.struct(
                [
                    ("correct", pa.bool_()),
                    ("grounded", pa.bool_()),
                    ("reason", pa.string()),
                    ("failed", pa.bool_()),
                ]
            ),
        ),
    ]
)
"""One row a question, in the set's order."""


class Answers(Protocol):
    """Whatever answers questions; `answering.Answerer` does."""

    def answer(self, question: str) -> Answer:
        """Answer one question."""


@dataclass(frozen=True)
class EvaluationResult:
    """What a question set says about an index.

    Attributes:
        results: One a question, in the set's order.
        aggregate: `metrics.aggregate` over all of them.
        by_kind: The same for each kind of question.
        generation: The generation that answered; None if several did or none.
        source: Where the question set came from.
    """

    results: tuple[QuestionResult, ...]
    aggregate: Mapping[str, Any]
    by_kind: Mapping[str, Mapping[str, Any]]
    generation: int | None
    source: str

    @classmethod
    def of(cls, results: Sequence[QuestionResult], generation: int | None, source: str) -> EvaluationResult:
        """Work out the figures of these results."""
        kinds = dict.fromkeys(result.kind for result in results)
        return cls(
            results=tuple(results),
            aggregate=aggregate(results),
            by_kind={kind: aggregate([result for result in results if result.kind == kind]) for kind in kinds},
            generation=generation,
            source=source,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any], generation: int) -> EvaluationResult:
        """What `to_json` made for a generation, its figures worked out anew.

        Raises:
            KeyError: A field is missing: an older version wrote it.
        """
        return cls.of(list(map(QuestionResult.from_json, value["results"])), generation, str(value["source"]))

    @property
    def failures(self) -> tuple[QuestionResult, ...]:
        """Every question that went wrong, errors first."""
        return tuple(sorted((r for r in self.results if not r.correct), key=lambda r: not r.failed))

    def to_table(self) -> pa.Table:
        """One row a question, laid out as `RESULTS`."""
        return pa.Table.from_pylist([result.to_json() for result in self.results], schema=RESULTS)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: the aggregate at the top, then kinds and questions."""
        value = {
            **self.aggregate,
            "generation": self.generation,
            "source": self.source,
            "by_kind": dict(self.by_kind),
            "results": [result.to_json() for result in self.results],
        }
        return dict(json.loads(json.dumps(value, allow_nan=False)))


def evaluate(
    answerer: Answers,
    questions: QuestionSet,
    *,
    progress: Progress = silent,
    concurrency: int = 1,
    judge: AnswerJudge | None = None,
) -> EvaluationResult:
    """Ask every question and score every answer.

    A question that the answerer rejects, or whose reply breaks a contract, is a failed result. An answerer that is
    misconfigured or gone is not: what it raises would be the same for every question, so it ends the run.

    Args:
        answerer: Safe to call from `concurrency` threads.
        questions: What to ask.
        progress: Told after each question.
        concurrency: Questions in flight.
        judge: Gives a second opinion on every answer, in fields of its own.
    """
    results: list[QuestionResult] = []
    generations: set[int | None] = set()
    with ThreadPoolExecutor(max_workers=max(1, concurrency), thread_name_prefix="evaluate") as pool:
        asked = [pool.submit(_ask, answerer, question, judge) for question in questions.questions]
        try:
            for done, future in enumerate(asked, start=1):
                result, generation = future.result()
                results.append(result)
                if not result.failed:
                    generations.add(generation)
                progress("questions", done, len(asked))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return EvaluationResult.of(results, generations.pop() if len(generations) == 1 else None, questions.source)


def _ask(answerer: Answers, question: Question, judge: AnswerJudge | None) -> tuple[QuestionResult, int | None]:
    start = time.perf_counter()
    try:
        with hiding(question.without):
            answer = answerer.answer(question.question)
    except RagwrightError as error:
        if isinstance(error, PermanentError) and not isinstance(error, RequestRejected):
            raise
        elapsed = (time.perf_counter() - start) * 1000
        return failure(question, f"{type(error).__name__}: {error}", latency_ms=elapsed), None
    hidden = named(question.without)
    if any(is_named(hidden, hit.row_key, hit.question) for hit in answer.ranking):
        raise ConfigurationError(
            f"{type(answerer).__name__} cannot hide the rows that question {question.id!r} is to be asked without",
            hint="Ask through ragwright.assembly.open_answerer, or leave questions with 'without' out.",
        )
    result = score(question, answer)
    if judge is not None and not result.failed:
        result = replace(result, judgement=judge.grade(question, answer))
    return result, answer.generation
