"""Metrics against cases worked by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from ragwright.answering import I_DONT_KNOW, Answer, Citation
from ragwright.evaluation.judge import Judgement
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
    assert figures["ndcg_at_10"] == pytest.approx((1 / math.log2(3) + 1 + 1 / math.log2(3) + 0) / 4)
    assert figures["support"] == 0 / 4  # none of the three is what row 1 says, and the failure is nothing
    assert (figures["coverage"], figures["selective_risk"]) == (4 / 6, 3 / 4)
    # Probabilities: 0.8, 0.8, 0.2 and the failure's 0 over 0.2 and 0.8.
    assert figures["auroc"] == (1.5 + 1.5 + 0.5 + 0) / 8
    # The failure comes first, then three of 0.8 of which one is right, then two of 0.2 that would both be wrong.
    assert figures["risk_coverage_area"] == pytest.approx((1 + (5 / 3) / 2 + (7 / 3) / 3 + 3 / 4 + 4 / 5 + 5 / 6) / 6)
    assert figures["latency_ms"] == {"p50": 25.0, "p95": pytest.approx(47.5)}


def test_every_figure_says_on_how_many_questions_it_rests_and_how_sure_it_is() -> None:
    results = [
        score(ANSWERABLE, answer()),
        failure(ANSWERABLE, "the endpoint died"),
        score(UNANSWERABLE, answer(abstained=True)),
    ]
    figures = aggregate(results)
    assert figures["counts"] == {
        "hit_at_1": 2,
        "hit_at_5": 2,
        "answer_correctness": 3,
        "answerable_correctness": 2,
        "false_answer_rate": 1,
        "over_refusal_rate": 2,
        "support": 2,
        "coverage": 3,
        "selective_risk": 2,
        "mrr": 2,
        "ndcg_at_10": 2,
        "abstention_balanced_accuracy": 3,
        "auroc": 3,
        "risk_coverage_area": 3,
        "expected_calibration_error": 3,
    }
    assert figures["counts"].keys() - figures["intervals"].keys() == {
        "risk_coverage_area",
        "expected_calibration_error",
    }
    for name, (low, high) in figures["intervals"].items():
        assert 0 <= low <= figures[name] <= high <= 1, name


def test_the_curves_take_a_failure_for_a_confident_mistake() -> None:
    results = [failure(ANSWERABLE, "died"), failure(UNANSWERABLE, "died"), score(ANSWERABLE, answer())]
    predicted, truth = answerability(results)
    assert (predicted.tolist(), truth.tolist()) == ([0.0, 1.0, 0.8], [1.0, 0.0, 1.0])
    confidence, right = selection(results)
    assert (confidence.tolist(), right.tolist()) == ([1.0, 1.0, 0.8], [0.0, 0.0, 1.0])


def test_a_refused_question_would_be_right_if_the_first_row_is() -> None:
    refused = answer(abstained=True)
    first = score(replace(ANSWERABLE, gold=("Question 0?",)), refused)
    second, impossible = score(ANSWERABLE, refused), score(UNANSWERABLE, refused)
    assert selection([first, second, impossible])[1].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "broken",
    [
        {"evidence": {"probability": 1.5}},
        {"timings_ms": {"total": math.nan}},
        {"citations": (replace(ROWS[1], score=math.nan),)},
    ],
)
def test_figures_that_cannot_be_are_failures(broken: dict[str, object]) -> None:
    result = score(ANSWERABLE, replace(answer(), **broken))
    assert result.failed
    assert math.isfinite(result.latency_ms)


def test_an_answer_that_says_more_than_its_citation_is_not_supported() -> None:
    assert score(ANSWERABLE, answer("Text 1.")).supported is True
    assert score(ANSWERABLE, answer("Text 1, since 1999.")).supported is False
    assert score(ANSWERABLE, answer(abstained=True)).supported is None
    results = [score(ANSWERABLE, answer("Text 1.")), failure(ANSWERABLE, "died"), score(ANSWERABLE, answer("No."))]
    assert aggregate(results)["support"] == 1 / 3


def test_a_result_survives_being_written_and_read() -> None:
    judged = replace(score(ANSWERABLE, answer()), judgement=Judgement(True, False, "so it seems"), new_tokens=3)
    for result in (judged, score(UNANSWERABLE, answer(abstained=True)), failure(ANSWERABLE, "died")):
        assert QuestionResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    older = {name: value for name, value in judged.to_json().items() if name != "ndcg"}
    with pytest.raises(KeyError, match="ndcg"):
        QuestionResult.from_json(older)


def test_time_is_told_by_stage() -> None:
    timings = [{"embed": 10.0, "read": 25.0, "total": 40.0}, {"embed": 30.0, "total": 60.0}]
    results = [score(ANSWERABLE, replace(answer(), timings_ms=each)) for each in timings]
    figures = aggregate([*results, failure(ANSWERABLE, "died", latency_ms=500.0)])
    assert figures["timed"] == 2
    stages = figures["stages_ms"]
    assert {stage: (of["p50"], of["mean"]) for stage, of in stages.items()} == {
        "embed": (20.0, 20.0),
        "read": (12.5, 12.5),
        "other": (17.5, 17.5),
    }
    assert sum(of["share"] for of in stages.values()) == pytest.approx(1)
    assert figures["latency_ms"]["p50"] == 60.0  # a question that failed took its time too


def test_tokens_are_counted_where_somebody_counted_them() -> None:
    counted = replace(score(ANSWERABLE, answer()), prompt_tokens=120, new_tokens=14)
    uncounted = replace(counted, prompt_tokens=None, new_tokens=None)
    figures = aggregate([counted, counted, uncounted])
    assert figures["tokens"] == {"questions": 2, "prompt": 240, "new": 28}
    assert aggregate([uncounted])["tokens"] == {"questions": 0, "prompt": None, "new": None}


def test_a_question_that_no_model_saw_cost_no_tokens() -> None:
    assert aggregate([score(ANSWERABLE, answer())])["tokens"] == {"questions": 1, "prompt": 0, "new": 0}


def test_the_judges_verdicts_stand_beside_the_figures() -> None:
    right, wrong = score(ANSWERABLE, answer()), score(ANSWERABLE, answer("Something else."))
    results = [
        replace(right, judgement=Judgement(True, True, "it says so")),
        replace(wrong, judgement=Judgement(True, False, "close enough")),
        replace(right, judgement=Judgement(None, None, "cut off", failed=True)),
        replace(score(UNANSWERABLE, answer()), judgement=Judgement(None, True, "it is cited")),
        score(UNANSWERABLE, answer(abstained=True)),
    ]
    figures = aggregate(results)
    judge = figures["judge"]
    assert (judge["judged"], judge["failed"]) == (4, 1)
    assert (judge["correctness"], judge["counts"]["correctness"]) == (2 / 3, 3)
    assert (judge["groundedness"], judge["counts"]["groundedness"]) == (2 / 4, 4)
    assert judge["agreement"] == 1 / 3
    assert (
        figures["answerable_correctness"]
        == aggregate([replace(r, judgement=None) for r in results])["answerable_correctness"]
    )
    assert aggregate([right])["judge"] is None


def test_a_failed_unanswerable_question_counts_as_a_false_answer() -> None:
    assert aggregate([failure(UNANSWERABLE, "the endpoint died")])["false_answer_rate"] == 1.0


def test_what_was_not_measured_is_none_and_never_a_number() -> None:
    figures = aggregate([])
    assert figures["questions"] == 0
    assert figures["hit_at_1"] is figures["mrr"] is figures["latency_ms"]["p50"] is None
    assert figures["auroc"] is figures["risk_coverage_area"] is figures["intervals"]["mrr"] is None
    assert set(figures["counts"].values()) == {0}
