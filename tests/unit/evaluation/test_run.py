"""A whole set asked: nothing is dropped, order is kept, the report can be read."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from ragwright.answering import I_DONT_KNOW, Answer, Citation
from ragwright.errors import EndpointError, RequestRejected, Unavailable
from ragwright.evaluation.judge import Judgement
from ragwright.evaluation.metrics import aggregate
from ragwright.evaluation.questions import Question, QuestionSet
from ragwright.evaluation.report import markdown
from ragwright.evaluation.run import RESULTS, EvaluationResult, evaluate

QUESTIONS = QuestionSet(
    (
        Question("a1", "What is Rowan?", True, "paraphrase", ("What is Rowan?",), (("planner",),)),
        Question("a2", "Price?", True, "keywords", ("How much?",), (("12",),)),
        Question("u1", "Who won?", False, "near-miss"),
        Question("u2", "Weather | tomorrow?", False, "near-miss"),
    ),
    "questions.jsonl",
)


def told(text: str | None, question: str = "What is Rowan?", generation: int = 4) -> Answer:
    row = Citation(0, "k0", 0.9, question, "Rowan is a planner.")
    known = text is not None
    return Answer(
        question,
        text or I_DONT_KNOW,
        not known,
        "because",
        (row,) if known else (),
        generation,
        {"total": 5.0},
        "quoted" if known else "none",
        (row,),
        {"probability": 0.9 if known else 0.1},
    )


class Scripted:
    """Answers by a function."""

    def __init__(self, reply: Callable[[str], Answer]) -> None:
        self.reply = reply

    def answer(self, question: str) -> Answer:
        return self.reply(question)


def run(reply: Callable[[str], Answer], **options: int) -> EvaluationResult:
    return evaluate(Scripted(reply), QUESTIONS, **options)


def usual(question: str) -> Answer:
    return told("Rowan is a planner." if "Rowan" in question else None)


def test_every_question_has_one_result_in_the_order_of_the_set() -> None:
    result = run(usual, concurrency=4)
    assert [r.id for r in result.results] == ["a1", "a2", "u1", "u2"]
    assert result.aggregate["questions"] == 4
    assert result.generation == 4
    assert set(result.by_kind) == {"paraphrase", "keywords", "near-miss"}


def test_progress_is_told_after_each_question() -> None:
    seen: list[tuple[int, int | None]] = []
    evaluate(Scripted(usual), QUESTIONS, progress=lambda what, done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("error", [Unavailable("gone for a moment"), RequestRejected("too long")])
def test_a_question_that_raises_is_a_listed_failure(error: Exception) -> None:
    def reply(question: str) -> Answer:
        if question == "Price?":
            raise error
        return usual(question)

    result = run(reply)
    assert result.aggregate["failed"] == 1
    assert result.failures[0].id == "a2"
    assert type(error).__name__ in result.failures[0].reason


def test_a_dead_endpoint_ends_the_run_instead_of_failing_every_question() -> None:
    def reply(question: str) -> Answer:
        raise EndpointError("the endpoint is not there")

    with pytest.raises(EndpointError):
        run(reply)


def test_answers_from_two_generations_are_not_passed_off_as_one() -> None:
    generations = iter([1, 1, 2, 2])
    assert run(lambda question: told(None, generation=next(generations))).generation is None


def test_the_table_holds_every_result() -> None:
    table = run(usual).to_table()
    assert table.schema == RESULTS
    assert table["id"].to_pylist() == ["a1", "a2", "u1", "u2"]
    assert table["correct"].to_pylist() == [True, False, True, True]


def test_the_json_can_be_written_and_has_the_promised_keys() -> None:
    value = json.loads(json.dumps(run(usual).to_json(), allow_nan=False))
    promised = {"questions", "hit_at_1", "hit_at_5", "mrr", "answer_correctness", "false_answer_rate"}
    assert promised | {"over_refusal_rate", "latency_ms"} <= value.keys()
    assert set(value["latency_ms"]) == {"p50", "p95"}


def test_the_report_tells_figures_kinds_failures_and_samples() -> None:
    report = markdown(run(usual))
    assert "generation 4" in report
    assert "| right row first |" in report
    assert "### By kind" in report
    assert "refused; the right row was not found" in report
    assert "Rowan is a planner." in report


def test_the_report_tells_how_sure_each_figure_is_and_where_time_goes() -> None:
    def timed(question: str) -> Answer:
        return replace(usual(question), timings_ms={"embed": 1.0, "read": 3.0, "total": 4.0})

    report = markdown(run(timed))
    assert "| answerable questions answered correctly | 50.0% | 9.5% to 90.5% | 2 |" in report
    assert "| mean reciprocal rank of the right row | 0.500 | 0.000 to 1.000 | 2 |" in report
    assert "A question takes 4 ms in the median, 4 ms at the 95th percentile." in report
    assert "embed 25% (1 ms), read 75% (3 ms), other 0% (0 ms)." in report
    assert "udge" not in report
    assert "Tokens" not in report


def test_the_report_counts_tokens_and_what_the_judge_could_not_say() -> None:
    result = run(usual)
    judged = replace(result.results[0], judgement=Judgement(True, True, "so it is"), prompt_tokens=1_200, new_tokens=30)
    failed = replace(result.results[1], judgement=Judgement(None, None, "cut off", failed=True))
    results = (judged, failed, *result.results[2:])
    report = markdown(replace(result, results=results, aggregate=aggregate(results)))
    assert "| the judge: answers that are correct | 50.0% | 9.5% to 90.5% | 2 |" in report
    assert "read by the language model: 1,200, written: 30 (questions counted: 4)." in report
    assert "Judgements: 2, of which failed: 1." in report


def test_a_question_that_fails_is_charged_the_time_it_took() -> None:
    def slow(question: str) -> Answer:
        time.sleep(0.02)
        raise Unavailable("gone for a moment")

    assert all(result.latency_ms >= 20 for result in run(slow).results)


def test_the_worst_failures_come_first_and_the_rest_is_counted() -> None:
    def reply(question: str) -> Answer:
        if question == "Price?":
            raise Unavailable("gone for a moment")
        return told("Rowan is a planner.")

    report = markdown(run(reply), worst=1)
    failures = report.split("### Failures")[1]
    assert failures.index("(`a2`)") < failures.index("2 more")
    assert "(3 of 4)" in failures


def test_text_from_the_faq_cannot_break_the_report() -> None:
    report = markdown(run(lambda question: told("a | b\n<script>alert(1)</script>", question)))
    (at,) = (number for number, line in enumerate(report.splitlines()) if "(`u2`)" in line)
    question, answer = report.splitlines()[at : at + 2]
    assert "Weather \\| tomorrow?" in question
    assert answer == "  - answer: a \\| b \\<script\\>alert(1)\\</script\\>"


def test_a_set_without_a_failure_says_so() -> None:
    right = {"What is Rowan?": "A planner.", "Price?": "12 euros."}
    assert "None." in markdown(run(lambda question: told(right.get(question))))
