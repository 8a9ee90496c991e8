"""A candidate that is shown to be worse does not pass; one that is as good does, however much answers vary."""

from __future__ import annotations

import itertools
import json
import math
import operator
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ragwright.errors import ConfigurationError
from ragwright.evaluation.comparison import chance_of, compare
from ragwright.evaluation.gate import GateVerdict, judge
from ragwright.evaluation.gate_report import comparison_markdown, markdown
from ragwright.evaluation.metrics import QuestionResult, aggregate, failure
from ragwright.evaluation.questions import Question
from ragwright.evaluation.run import EvaluationResult
from ragwright.settings import GateFloors, GateSettings

NO_FLOORS = GateFloors(
    answer_correctness=None, answerable_correctness=None, hit_at_5=None, false_answer_rate=None, over_refusal_rate=None
)
COMPARED_ONLY = GateSettings(floors=NO_FLOORS)

RIGHT, WRONG, REFUSED, ERROR = "right", "wrong", "refused", "error"


def fared(number: int, how: str, *, answerable: bool, rank: int = 1) -> QuestionResult:
    """How a question went: an unanswerable one is refused when it goes right."""
    if how == ERROR:
        question = Question(str(number), f"Question {number}?", answerable, gold=("row",) if answerable else ())
        return failure(question, "Unavailable: gone")
    abstained = how == REFUSED if answerable else how == RIGHT
    return QuestionResult(
        id=str(number),
        question=f"Question {number}?",
        kind="paraphrase" if answerable else "near-miss",
        answerable=answerable,
        answer="I don't know." if abstained else f"Answer {how}.",
        abstained=abstained,
        correct=how == RIGHT,
        rank=rank if answerable else 0,
        has_gold=answerable,
        probability=0.1 if abstained else 0.9,
        cited=(),
        retrieved=(),
        source="none" if abstained else "quoted",
        reason="because",
        latency_ms=1.0,
    )


def evaluation(results: Sequence[QuestionResult], generation: int = 2) -> EvaluationResult:
    return EvaluationResult(tuple(results), aggregate(results), {}, generation, "questions.jsonl")


def half_and_half(hows: Sequence[str], ranks: Sequence[int] | None = None, *, generation: int = 2) -> EvaluationResult:
    """Every other question is answerable."""
    ranks = ranks or [1] * len(hows)
    results = [fared(n, how, answerable=n % 2 == 0, rank=ranks[n]) for n, how in enumerate(hows)]
    return evaluation(results, generation)


HOWS = st.lists(st.sampled_from([RIGHT, RIGHT, WRONG, REFUSED, ERROR]), min_size=1, max_size=120)


@given(HOWS)
def test_an_identical_candidate_passes(hows: list[str]) -> None:
    verdict = judge(half_and_half(hows), half_and_half(hows, generation=1), COMPARED_ONLY)
    assert verdict.verdict == "passed"
    assert verdict.changes == ()
    assert all(check.difference in (None, 0.0) for check in verdict.checks)


@given(HOWS, HOWS, st.data())
@hypothesis_settings(max_examples=200)
def test_one_more_wrong_answer_never_lets_a_blocked_candidate_through(
    before: list[str], after: list[str], data: st.DataObject
) -> None:
    size = min(len(before), len(after))
    before, after = before[:size], after[:size]
    right = [n for n, how in enumerate(after) if how == RIGHT]
    if not right:
        return
    chosen = data.draw(st.sampled_from(right))
    worse = [*after[:chosen], data.draw(st.sampled_from([WRONG, REFUSED, ERROR])), *after[chosen + 1 :]]
    live = half_and_half(before, generation=1)
    order = {"passed": 0, "warned": 1, "blocked": 2}
    for settings in (COMPARED_ONLY, GateSettings(min_questions=1)):
        first, then = (order[judge(half_and_half(hows), live, settings).verdict] for hows in (after, worse))
        assert then >= first


def by_counting(differences: Sequence[float]) -> float:
    """The chance, from every way to choose the signs."""
    total, sizes = sum(differences), [abs(difference) for difference in differences]
    sums = [sum(map(operator.mul, signs, sizes)) for signs in itertools.product([-1, 1], repeat=len(sizes))]
    lower = sum(other < total - 1e-9 for other in sums)
    return (lower + sum(abs(other - total) < 1e-9 for other in sums) / 2) / len(sums)


@given(st.lists(st.sampled_from([-1.0, -0.5, -1 / 3, 0.0, 0.2, 0.25, 1.0]), max_size=9))
def test_the_chance_is_that_of_the_signs(differences: list[float]) -> None:
    assert chance_of(differences) == pytest.approx(by_counting(differences))


@given(st.integers(0, 20), st.integers(0, 20))
def test_the_chance_falls_with_what_got_worse_and_rises_with_what_got_better(worse: int, better: int) -> None:
    def chance(lost: int, won: int) -> float:
        return chance_of([-1.0] * lost + [1.0] * won)

    here = chance(worse, better)
    assert 0 < here < 1
    assert chance(worse + 1, better) < here < chance(worse, better + 1)
    assert math.isclose(here + chance(better, worse), 1.0)


def test_the_chance_is_mcnemars_mid_p() -> None:
    # Fagerland, Lydersen and Laake (2013), BMC Med Res Methodol 13:91, table 1: 1 and 7 discordant pairs, two-sided
    # mid-p 0.039.
    assert 2 * chance_of([-1] * 7 + [1]) == pytest.approx(0.0390625)


@pytest.mark.parametrize("unstable", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("questions", [60, 250])
def test_an_equally_good_candidate_with_a_noisy_model_passes_19_times_of_20(questions: int, unstable: float) -> None:
    """Answers to a share of the questions come out by the toss of a coin, for live and candidate alike."""
    random = np.random.default_rng(11)
    runs, blocked, warned = 100, 0, 0
    tossed = random.random(questions) < unstable
    for _ in range(runs):
        hows = [[(RIGHT if random.random() < 0.5 else WRONG) if toss else RIGHT for toss in tossed] for _ in range(2)]
        verdict = judge(half_and_half(hows[0]), half_and_half(hows[1], generation=1), COMPARED_ONLY)
        blocked += verdict.verdict == "blocked"
        warned += verdict.verdict == "warned"
    assert blocked <= runs / 20
    assert warned <= runs / 5


@pytest.mark.parametrize("questions", [100, 250])
@pytest.mark.parametrize("unstable", [0.0, 0.1])
def test_a_candidate_without_a_fifth_of_the_rows_is_blocked_19_times_of_20(questions: int, unstable: float) -> None:
    random = np.random.default_rng(5)
    runs, blocked = 60, 0
    for _ in range(runs):
        live = [RIGHT if random.random() < 0.75 else REFUSED for _ in range(questions)]
        now = [how if random.random() >= unstable else (RIGHT if how == REFUSED else REFUSED) for how in live]
        gone = set(random.choice(range(0, questions, 2), size=questions // 10, replace=False).tolist())
        candidate = [REFUSED if n in gone else how for n, how in enumerate(now)]
        ranks = [0 if n in gone else 1 for n in range(questions)]
        verdict = judge(half_and_half(candidate, ranks), half_and_half(live, generation=1), COMPARED_ONLY)
        blocked += verdict.verdict == "blocked"
    assert blocked >= 0.95 * runs


def test_a_blocked_candidate_says_why_and_which_questions() -> None:
    live = half_and_half([RIGHT] * 100, generation=1)
    candidate = half_and_half([REFUSED if n % 10 == 0 else RIGHT for n in range(100)])
    verdict = judge(candidate, live, COMPARED_ONLY)
    assert verdict.verdict == "blocked"
    assert "(10 worse, 0 better; not chance" in verdict.reason
    assert {change.how for change in verdict.changes} == {"was right, is now refused"}
    told = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert len(told["changed"]) == 10
    failed = [check["name"] for check in told["checks"] if not check["passed"]]
    assert failed == ["answer_correctness", "over_refusal_rate"]
    text = markdown(verdict, 2)
    assert "blocked" in text
    assert "Questions that changed (10 worse, 0 better)" in text


def test_what_chance_may_explain_is_a_warning() -> None:
    live = half_and_half([RIGHT] * 60, generation=1)
    candidate = half_and_half([WRONG if n in (0, 2, 4, 6) else RIGHT for n in range(60)])
    verdict = judge(candidate, live, COMPARED_ONLY)
    assert verdict.verdict == "warned"
    assert "hardly chance" in verdict.reason


def test_a_loss_within_the_margin_is_nobodys_business() -> None:
    live = half_and_half([RIGHT] * 1000, generation=1)
    candidate = half_and_half([WRONG if n % 100 == 0 else RIGHT for n in range(1000)])
    assert judge(candidate, live, COMPARED_ONLY).verdict == "passed"
    assert judge(candidate, live, COMPARED_ONLY.model_copy(update={"margin": 0.0})).verdict == "blocked"


def test_false_answers_are_weighed_even_where_as_many_other_questions_got_better() -> None:
    before = [REFUSED if n % 2 == 0 and n < 40 else RIGHT for n in range(200)]
    after = [WRONG if n % 2 == 1 and n < 40 else RIGHT for n in range(200)]
    verdict = judge(half_and_half(after), half_and_half(before, generation=1), COMPARED_ONLY)
    assert verdict.verdict == "blocked"
    assert [check.name for check in verdict.checks if not check.passed] == ["false_answer_rate"]


def test_rows_that_slip_down_are_weighed_even_where_the_answers_are_the_same() -> None:
    hows = [RIGHT] * 100
    candidate = half_and_half(hows, [3 if n < 20 else 1 for n in range(100)])
    verdict = judge(candidate, half_and_half(hows, generation=1), COMPARED_ONLY)
    assert [check.name for check in verdict.checks if not check.passed] == ["mrr"]


def test_errors_count_as_wrong_and_are_said() -> None:
    live = half_and_half([RIGHT] * 60, generation=1)
    candidate = half_and_half([ERROR if n < 12 else RIGHT for n in range(60)])
    verdict = judge(candidate, live, COMPARED_ONLY)
    assert verdict.verdict == "blocked"
    assert "12 of 60 questions ended in an error" in verdict.reason


def test_a_figure_that_is_not_a_number_counts_as_wrong() -> None:
    live = half_and_half([RIGHT] * 60, generation=1)
    broken = [replace(result, probability=math.nan) for result in half_and_half([RIGHT] * 60).results]
    candidate = EvaluationResult(tuple(broken), {}, {}, 2, "")
    assert judge(candidate, live, COMPARED_ONLY).verdict == "blocked"
    assert judge(candidate, None, GateSettings()).verdict == "blocked"


@pytest.mark.parametrize(
    ("hows", "reason"),
    [
        ([RIGHT, WRONG, WRONG, RIGHT] * 10, "unanswerable questions answered"),
        ([REFUSED, RIGHT] * 20, "answerable questions refused"),
        ([WRONG, WRONG, WRONG, RIGHT] * 10, "questions treated correctly"),
    ],
)
def test_floors_hold_without_a_live_generation(hows: list[str], reason: str) -> None:
    floors = GateFloors(false_answer_rate=0.4, over_refusal_rate=0.6)
    verdict = judge(half_and_half(hows), None, GateSettings(floors=floors))
    assert verdict.verdict == "blocked"
    assert reason in verdict.reason


def test_a_floor_that_is_just_reached_holds() -> None:
    verdict = judge(half_and_half([RIGHT, RIGHT, WRONG, WRONG, WRONG] * 8), None, GateSettings())
    assert verdict.verdict == "passed"
    assert "reaches every floor on 40 questions; there is no live generation" in verdict.reason


def test_few_questions_warn_and_do_not_block() -> None:
    live = half_and_half([RIGHT] * 10, generation=1)
    verdict = judge(half_and_half([WRONG] * 10), live, GateSettings())
    assert verdict.verdict == "warned"
    assert "too few to block on" in verdict.reason


@pytest.mark.parametrize(("mode", "expected"), [("block", "blocked"), ("warn", "warned"), ("off", "off")])
def test_the_mode_says_what_a_failure_leads_to(mode: str, expected: str) -> None:
    settings = GateSettings.model_validate({"mode": mode})
    live = half_and_half([RIGHT] * 60, generation=1)
    assert judge(half_and_half([WRONG] * 60), live, settings).verdict == expected


def test_a_warning_from_elsewhere_does_not_pass_in_silence() -> None:
    same = half_and_half([RIGHT] * 60)
    verdict = judge(same, same, GateSettings(), warnings=["30 rows are unknown"], remarks=["a remark"])
    assert verdict == replace(verdict, verdict="warned", reasons=("30 rows are unknown", "a remark"))


def test_other_questions_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="not on the same questions"):
        judge(half_and_half([RIGHT] * 4), half_and_half([RIGHT] * 3), GateSettings())


def test_a_comparison_says_how_each_question_fares() -> None:
    before = evaluation(
        [
            fared(0, RIGHT, answerable=True, rank=2),
            fared(1, REFUSED, answerable=True),
            fared(2, RIGHT, answerable=False),
            fared(3, WRONG, answerable=True),
            fared(4, REFUSED, answerable=True, rank=3),
            fared(5, RIGHT, answerable=True),
        ]
    )
    after = evaluation(
        [
            fared(0, WRONG, answerable=True, rank=2),
            fared(1, RIGHT, answerable=True),
            fared(2, WRONG, answerable=False),
            fared(3, ERROR, answerable=True),
            fared(4, REFUSED, answerable=True, rank=0),
            replace(fared(5, RIGHT, answerable=True), answer="In other words."),
        ]
    )
    found = compare(after, before)
    assert {change.id: (change.how, change.improved) for change in found.changes} == {
        "0": ("was right, is now wrong", False),
        "1": ("was refused, is now right", True),
        "2": ("was right, is now answered though the FAQ does not say", False),
        "3": ("was wrong, is now an error", None),
        "4": ("still refused; the right row was at rank 3, is now not found", False),
    }
    assert found.reworded == 1
    text = comparison_markdown(found, 1, 2)
    assert "Generation 2 against generation 1" in text
    assert "1 more answers are worded differently" in text


def test_the_verdict_of_nothing_can_be_shown() -> None:
    verdict = GateVerdict("off", ("there is no question set",))
    assert verdict.to_json()["reason"] == "there is no question set"
    assert markdown(verdict, 3) == "## Gate of generation 3: off\n\n- there is no question set\n"
