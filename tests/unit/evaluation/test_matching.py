"""Comparing what came back with what is known; ranks against trec_eval."""

from __future__ import annotations

import math

import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from ragwright.evaluation.matching import gold_places, ndcg, satisfies, support

FOUND = [(f"key-{row}", f"Question {row}?") for row in range(6)]


@pytest.mark.parametrize(
    ("text", "alternative", "said"),
    [
        ("at most 10 tags", "10", True),
        ("at most 100 tags", "10", False),
        ("at most 10.5 GB", "10", False),
        ("1,779 rows", "1779", True),
        ("ALL Instances!", "all instance", True),
        ("overall", "all", False),
        ("US-East-1.", "us-east-1", True),
        ("costs $0.10", "0.10", True),
        ("28 days.", "28 days", True),
        ("全ての機種で使える", "機種", True),
        ("no", "not", False),
    ],
)
def test_an_alternative_is_sought_word_by_word(text: str, alternative: str, said: bool) -> None:
    assert satisfies(text, [[alternative]]) is said


def test_gold_rows_are_found_by_question_or_by_key_whatever_the_case_and_blanks() -> None:
    assert gold_places(["question  2"], FOUND) == ((3,), 1)
    assert gold_places(["KEY-4", "Question 0?"], FOUND) == ((1, 5), 2)
    assert gold_places(["elsewhere"], FOUND) == ((), 1)
    assert gold_places([], FOUND) == ((), 0)


def test_two_sections_of_one_row_take_one_place() -> None:
    assert gold_places(["b"], [("a", "A"), ("a", "A"), ("b", "B")]) == ((2,), 1)


def test_a_second_row_with_the_same_question_is_not_asked_for() -> None:
    assert gold_places(["Why?"], [("a", "Why?"), ("b", "Why?")]) == ((1,), 1)


def test_two_names_of_one_row_are_one() -> None:
    assert gold_places(["key-1", "Question 1?", "lost"], FOUND) == ((2,), 2)


@given(
    st.lists(
        st.tuples(st.sets(st.integers(0, 14), min_size=1, max_size=6), st.permutations(range(15)), st.integers(1, 15)),
        min_size=1,
        max_size=8,
    )
)
def test_ranks_are_worth_what_trec_eval_says(questions: list[tuple[set[int], list[int], int]]) -> None:
    wanted, run = {}, {}
    for number, (gold, order, kept) in enumerate(questions):
        wanted[str(number)] = {f"row-{row}": 1 for row in gold}
        run[str(number)] = {f"row-{row}": 100.0 - place for place, row in enumerate(order[:kept])}
    measures = {"success_1,5", "recip_rank", "ndcg_cut_10"}
    theirs = pytrec_eval.RelevanceEvaluator(wanted, measures).evaluate(run)
    for number, (gold, order, kept) in enumerate(questions):
        found = [(f"row-{row}", f"What is {row}?") for row in order[:kept]]
        places, relevant = gold_places([f"row-{row}" for row in gold], found)
        first = places[0] if places else 0
        assert {
            "success_1": float(first == 1),
            "success_5": float(1 <= first <= 5),
            "recip_rank": 1 / first if first else 0.0,
            "ndcg_cut_10": ndcg(places, relevant),
        } == pytest.approx(theirs[str(number)])


def test_gain_is_discounted_by_the_place() -> None:
    assert ndcg((1, 2), 2) == 1.0
    assert ndcg((2,), 1) == pytest.approx(1 / math.log2(3))
    assert ndcg((11,), 1) == 0.0
    assert ndcg((), 0) == 0.0


SOURCE = "How long are objects kept?\nDeleted objects stay for 30 days, after which the vault removes 1,500 of them."


@pytest.mark.parametrize(
    ("answer", "rests"),
    [
        ("Deleted objects stay for 30 days.", True),
        ("Deleted objects stay for thirty days.", True),
        ("The vault removes 1500 deleted objects.", True),
        ("Deleted objects stay for 90 days.", False),
        ("A lawyer in Geneva reviews every deleted object.", False),
        ("Yes.", False),
        ("", False),
    ],
)
def test_an_answer_rests_on_sources_that_have_its_numbers_and_most_of_its_words(answer: str, rests: bool) -> None:
    assert support(answer, ["Another entry\nNothing of the kind.", SOURCE])[0] is rests


def test_a_quotation_rests_on_its_source_even_without_a_content_word() -> None:
    assert support("Yes, you can.", ["May I?\nYes, you can. Ask us."]) == (True, 1.0)
    assert support("Yes, you can.", ["May I?\nNot before noon."]) == (False, 0.0)


def test_an_answer_that_cites_nothing_rests_on_nothing() -> None:
    assert support("Deleted objects stay for 30 days.", []) == (False, 0.0)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_rests_on_itself_if_it_says_anything(answer: str, more: str) -> None:
    rests, share = support(answer, [more, answer])
    assert 0 <= share <= 1
    assert rests is (share == 1.0)
