"""Metrics against cases worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ragwright.answering import I_DONT_KNOW, Answer, Citation
from ragwright.evaluation.metrics import QuestionResult, aggregate, answerability, failure, score, selection
from ragwright.evaluation.questions import Question

ROWS = [Citation(row, f"key-{row}", 0.9 - row / 10, f"Question {row}?", f"Text {row}.") for row in range(6)]
ANSWERABLE = Question("a", "Which?", True, "typo", ("Question 1?",), (("all instances", "every instance"), ("spot",)))
UNANSWERABLE = Question("u", "Who?", False, "near-miss")


def answer(text: str = "All instances, on Spot.", *, abstained: bool = False, total: float = 10.0) -> Answer:
    return Answer(
        "Which?",
        I_DONT_KNOW if abstained else text,
        abstained,
        "because",
        () if abstained else (ROWS[1],),
        3,
        {"total": total},
        "none" if abstained else "quoted",
        tuple(ROWS),
        {"probability": 0.2 if abstained else 0.8},
    )


def test_a_right_answer_has_an_alternative_of_every_group() -> None:
    result = score(ANSWERABLE, answer())
    assert result.correct
    assert (result.rank, result.probability, result.cited) == (2, 0.8, (1,))
    assert not score(ANSWERABLE, answer("All instances.")).correct


def test_without_accepted_answers_citing_a_gold_row_is_right() -> None:
    question = replace(ANSWERABLE, accept=())
    assert score(question, answer()).correct
    assert not score(replace(question, gold=("Question 4?",)), answer()).correct


def test_not_knowing_is_right_for_the_unanswerable_and_wrong_for_the_answerable() -> None:
    assert score(UNANSWERABLE, answer(abstained=True)).correct
    assert not score(UNANSWERABLE, answer()).correct
    assert not score(ANSWERABLE, answer(abstained=True)).correct


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_figure_that_is_not_finite_is_a_failure_not_a_gap(bad: float) -> None:
    broken = replace(answer(), evidence={"probability": bad})
    result = score(ANSWERABLE, broken)
    assert result.failed
    assert not result.correct
    assert aggregate([result])["failed"] == 1


def test_the_aggregate_of_a_set_worked_by_hand() -> None:
    results = [
        score(ANSWERABLE, answer(total=10)),  # right, rank 2
        score(replace(ANSWERABLE, gold=("Question 0?",)), answer("Something else.", total=20)),  # wrong, rank 1
        score(ANSWERABLE, answer(abstained=True, total=30)),  # refused, rank 2
        failure(ANSWERABLE, "the endpoint died"),  # missed, wrong, refused
        score(UNANSWERABLE, answer(abstained=True, total=40)),  # right
        score(UNANSWERABLE, answer(total=50)),  # false answer
    ]
    figures = aggregate(results)
    assert (figures["questions"], figures["answerable"], figures["unanswerable"], figures["failed"]) == (6, 4, 2, 1)
    assert figures["hit_at_1"] == 1 / 4
    assert figures["hit_at_5"] == 3 / 4
    assert figures["mrr"] == pytest.approx((1 / 2 + 1 + 1 / 2 + 0) / 4)
    assert figures["answer_correctness"] == 2 / 6
    assert figures["answerable_correctness"] == 1 / 4
    assert figures["false_answer_rate"] == 1 / 2
    assert figures["over_refusal_rate"] == 2 / 4
    assert figures["abstention_balanced_accuracy"] == 1 / 2
    assert figures["latency_ms"] == {"p50": 30.0, "p95": pytest.approx(48.0)}


def test_a_failed_unanswerable_question_counts_as_a_false_answer() -> None:
    assert aggregate([failure(UNANSWERABLE, "the endpoint died")])["false_answer_rate"] == 1.0


def test_what_was_not_measured_is_none_and_never_a_number() -> None:
    figures = aggregate([])
    assert figures["questions"] == 0
    assert figures["hit_at_1"] is figures["mrr"] is figures["latency_ms"]["p50"] is None
