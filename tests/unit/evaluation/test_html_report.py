"""The page of an evaluation: whole, safe to open, and readable without eyes, colours, scripts or a network."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from page_reader import Node, read_page

from ragwright.evaluation.html import MOST_FAILURES, Past, Subject, page, plots
from ragwright.evaluation.metrics import QuestionResult, aggregate
from ragwright.evaluation.questions import Question
from ragwright.evaluation.run import EvaluationResult

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)> \"'&"


def result(number: int, **changes: Any) -> QuestionResult:
    answerable = number % 2 == 0
    usual = QuestionResult(
        id=f"q{number}",
        question=f"Question {number}?",
        kind=("paraphrase", "typo")[number % 4 // 2] if answerable else "near-miss",
        answerable=answerable,
        answer="I don't know." if number % 3 == 0 else f"Answer {number}.",
        abstained=number % 3 == 0,
        correct=answerable != (number % 3 == 0),
        rank=number % 5 if answerable else 0,
        has_gold=answerable,
        probability=0.3 if number % 3 == 0 else 0.7,
        cited=() if number % 3 == 0 else (number, number + 1),
        retrieved=tuple(f"Row {n}" for n in range(8)),
        source="quoted",
        reason=f"because of {number}",
        latency_ms=12.0,
        supported=None if number % 3 == 0 else True,
        timings_ms={"search": 2.0, "embed": 3.0, "rank": 1.0},
        prompt_tokens=10,
        new_tokens=3,
    )
    return replace(usual, **changes)


def evaluated(*results: QuestionResult) -> EvaluationResult:
    kinds = dict.fromkeys(r.kind for r in results)
    return EvaluationResult(
        results,
        aggregate(results),
        {kind: aggregate([r for r in results if r.kind == kind]) for kind in kinds},
        12,
        "questions.jsonl",
    )


MANY = evaluated(*map(result, range(40)))
GATE = {
    "verdict": "blocked",
    "reasons": ["refusals rose"],
    "live": 11,
    "checks": [
        {
            "name": "over_refusal_rate",
            "candidate": 0.4,
            "live": 0.2,
            "floor": None,
            "difference": -0.2,
            "low": -0.3,
            "high": -0.1,
            "better": 0,
            "worse": 8,
            "status": "failed",
        },
        {"name": "mrr", "candidate": 0.75, "live": None, "difference": None, "status": "passed"},
    ],
    "changed": [
        {"id": "q1", "question": "Question 1?", "before": "x", "after": "y", "how": "was right", "improved": False}
    ],
}
PAST = [Past(number, number != 10, MANY.aggregate) for number in (9, 10, 12)]


def document(found: EvaluationResult = MANY, **known: Any) -> Node:
    return read_page(page(found, Subject("faq", **known)))


def failures(read: Node) -> list[list[str]]:
    [table] = [node for node in read.all("table") if "failures" in str(node.attributes.get("class"))]
    return [[cell.text for cell in row.all("td")] for row in table.all("tr")[1:]]


def test_a_page_stands_alone() -> None:
    text = page(MANY, Subject("faq", {"state": "live"}, GATE, {}, PAST))
    read = read_page(text)
    assert not {node.name for node in read.every()} & {"script", "link", "img", "iframe", "object", "form", "base"}
    for node in read.every():
        assert not {name for name in node.attributes if name.startswith("on") or name in {"src", "srcset", "style"}}
        assert str(node.attributes.get("href", "#")).startswith("#")
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in text.replace("http-equiv", "")
    policies = [str(m.attributes["content"]) for m in read.all("meta") if m.attributes.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_the_same_evaluation_gives_the_same_bytes() -> None:
    subject = Subject("faq", {"state": "live"}, GATE, {}, PAST)
    assert page(MANY, subject) == page(MANY, subject)


def test_what_people_and_models_wrote_stays_text() -> None:
    attacked = result(
        1, question=ATTACK, answer=ATTACK, kind=ATTACK, reason=ATTACK, retrieved=(ATTACK,), id=ATTACK, abstained=False
    )
    gate = {
        "verdict": ATTACK,
        "reasons": [ATTACK],
        "live": ATTACK,
        "checks": [{"name": ATTACK, "status": ATTACK}],
        "changed": [{"question": ATTACK, "how": ATTACK, "before": ATTACK, "after": ATTACK, "improved": None}],
    }
    known = {ATTACK: Question(ATTACK, ATTACK, True, ATTACK, (ATTACK,), ((ATTACK,),))}
    found = replace(evaluated(replace(attacked, answerable=True, correct=False), result(2)), source=ATTACK)
    read = read_page(page(found, Subject(ATTACK, {ATTACK: ATTACK}, gate, known)))
    assert not read.all("script")
    assert not read.all("img")
    assert read.all("h1")[0].text == f"Evaluation of {ATTACK}, generation 12"
    assert any(ATTACK in cell for cell in failures(read)[0])


def test_every_id_is_unique_and_every_reference_has_its_target() -> None:
    read = document(gate=GATE, past=PAST)
    ids = [node.attributes["id"] for node in read.every() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    wanted = {name for node in read.every() for name in str(node.attributes.get("aria-labelledby", "")).split()}
    wanted |= {str(node.attributes["href"])[1:] for node in read.all("a")}
    assert wanted <= set(ids)


def test_every_table_has_headings_and_every_drawing_a_name_or_a_text_beside_it() -> None:
    read = document(gate=GATE, past=PAST)
    for table in read.all("table"):
        heads = [head for head in table.all("th") if head.text.strip() and head.attributes["scope"] == "col"]
        assert heads
        assert {len(row.all("td")) for row in table.all("tr")[1:]} == {len(heads)}
    for svg in read.all("svg"):
        assert svg.attributes.get("role") == "img" or svg.attributes.get("aria-hidden") == "true"


def test_all_plots_are_there_when_their_figures_are() -> None:
    assert [plot.key for plot in plots(MANY, Subject("faq", past=PAST))] == [
        "risk-coverage",
        "reliability",
        "scores",
        "trend",
        "latency",
    ]


def test_stages_are_shown_in_the_order_in_which_they_run() -> None:
    latency = plots(MANY, Subject("faq"))[-1]
    assert [row[0] for row in latency.rows] == ["embed", "search", "rank", "other", "all"]


def test_generations_that_were_never_seen_are_marked_in_the_trend() -> None:
    trend = next(plot for plot in plots(MANY, Subject("faq", past=PAST)) if plot.key == "trend")
    assert [row[0] for row in trend.rows] == ["9", "10*", "12"]


def test_the_verdict_of_the_gate_comes_with_its_reasons_checks_and_changes() -> None:
    text = document(gate=GATE).text
    assert "✗ Gate: blocked against generation 11" in text
    assert "refusals rose" in text
    assert "-20.0 (-30.0 to -10.0)" in text
    assert "0.750" in text
    assert "Questions that changed (1)" in text
    assert "▼ worse" in text


def test_without_a_gate_nothing_is_said_of_one() -> None:
    assert "Gate:" not in document().text


def test_a_failure_shows_what_was_asked_said_found_and_wanted() -> None:
    question = Question("q4", "Question 4?", True, "", ("Row 6",), (("blue", "green"),))
    wrong = result(4, correct=False, rank=7)
    [row] = failures(document(evaluated(wrong), questions={"q4": question}))
    asked, why, answer, right, retrieved, probability = row
    assert asked == "Question 4?q4, paraphrase"
    assert why == "wrong answer; the right row was at rank 7because of 4"
    assert answer == "Answer 4.cites rows 4, 5"
    assert right == "fromRow 6saying“blue” or “green”"
    assert retrieved == "Row 0Row 1Row 2Row 3Row 4Row 6 (right row)and 2 more"
    assert probability == "0.70"


def test_a_question_set_that_has_moved_on_is_not_quoted() -> None:
    other = Question("q4", "Something else?", True, "", ("Row 6",))
    [row] = failures(document(evaluated(result(4, correct=False)), questions={"q4": other}))
    assert row[3] == "not at hand: the question set has changed or moved"


def test_errors_lead_and_name_their_cause() -> None:
    gone = {"answer": "", "cited": (), "retrieved": (), "probability": 0.0, "reason": "Unavailable: gone"}
    broken = result(2, failed=True, correct=False, **gone)
    first, _ = failures(document(evaluated(result(4, correct=False), broken)))
    assert first[1] == "errorUnavailable: gone"
    assert [first[2], first[4], first[5]] == ["-", "nothing", "-"]


def test_no_failure_is_said_to_be_none() -> None:
    read = document(evaluated(result(2, correct=True), result(4, correct=True)))
    assert "Failures (0 of 2)None." in read.text


def test_more_failures_than_a_page_can_show_are_counted() -> None:
    read = document(evaluated(*(result(4, id=str(n), correct=False) for n in range(MOST_FAILURES + 5))))
    assert len(failures(read)) == MOST_FAILURES
    assert "5 more are in evaluation.json." in read.text


def test_a_long_text_is_cut_and_its_length_said() -> None:
    [row] = failures(document(evaluated(result(4, correct=False, answer="blah " * 900))))
    assert "(4,500 characters)" in row[2]
    assert len(row[2]) < 800


@pytest.mark.parametrize(
    "results",
    [
        [],
        [result(2)],
        [result(1)],
        [result(2, failed=True, correct=False, timings_ms={}, prompt_tokens=None, new_tokens=None)],
        [result(n, abstained=True, answer="I don't know.", supported=None) for n in range(4)],
        [result(n, timings_ms={}, kind="") for n in range(4)],
    ],
)
def test_a_page_is_made_of_whatever_there_is(results: list[QuestionResult]) -> None:
    text = document(evaluated(*results), gate={"verdict": "off"}).text
    assert "Figures" in text
    assert not re.search(r"\b(nan|inf|None)\b", text.replace("None.", ""))


@hypothesis_settings(max_examples=25)
@given(st.lists(st.tuples(st.text(), st.text(), st.floats(0, 1), st.booleans(), st.booleans()), max_size=6))
def test_no_text_breaks_the_page(cases: list[tuple[str, str, float, bool, bool]]) -> None:
    results = [
        result(n, question=question, answer=answer, probability=sure, abstained=no, correct=right)
        for n, (question, answer, sure, no, right) in enumerate(cases)
    ]
    document(evaluated(*results))
