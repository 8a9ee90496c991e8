"""The same question as other people would type it: what changes, what stays, where a rule has nothing to say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.evaluation.perturbing import KINDS, keywords, plain, polite, question_form, reads_as_english, typo
from ragwright.evaluation.perturbing import word_order as reordered
from ragwright.terms import terms

ANY_PICK = st.integers(0, 2**128 - 1)
ON_ONE_LINE = st.text().map(lambda text: " ".join(text.split())).filter(bool)


def every(kind: str, question: str) -> set[str | None]:
    return {KINDS[kind](question, pick) for pick in range(200)}


def test_keywords_keep_the_words_that_carry_the_meaning() -> None:
    assert keywords("How do I stop a Spot training job?", 0) == "stop spot training job"


@pytest.mark.parametrize("question", ["Why?", "What is it?", "Can I not pay by card?", "What if my card doesn't work?"])
def test_keywords_are_not_made_where_they_would_lose_the_meaning(question: str) -> None:
    assert keywords(question, 0) is None


def test_a_how_question_takes_other_forms() -> None:
    assert every("question-form", "How do I cancel an order?") == {
        "steps to cancel an order",
        "cancel an order how to",
        "I want to cancel an order. How?",
        "what is the way to cancel an order",
    }


def test_a_form_is_not_changed_where_the_question_is_not_one_plain_sentence() -> None:
    assert question_form("I lost my card. What is the fee?", 0) is None
    assert question_form("Card lost?", 0) is None


def test_a_polite_question_holds_the_question_as_it_was() -> None:
    assert all(asked and "Where is it?" in asked for asked in every("polite", "Where is it?"))
    assert polite("Where is it", 0) == "Hello, could you please tell me: Where is it?"


def test_plain_typing_has_no_capitals_and_no_marks_but_those_within_words() -> None:
    asked = plain('Does "Multi-AZ" cost $0.10 (per hour), e.g. in the U.S.?', 0)
    assert asked == "does multi-az cost $0.10 per hour e.g in the u.s"
    assert plain("already plain", 0) is None


def test_word_order_changes_and_no_word_is_lost() -> None:
    question = "How long do refunds take to arrive?"
    assert "take to arrive how long do refunds" in every("word-order", question)
    for asked in every("word-order", question):
        assert asked is not None
        assert sorted(asked.split()) == sorted(["how", "long", "do", "refunds", "take", "to", "arrive"])


@pytest.mark.parametrize("question", ["Is it on?", "営業時間は何時ですか"])
def test_word_order_leaves_alone_what_has_few_words(question: str) -> None:
    assert reordered(question, 0) is None


def test_a_typo_is_one_edit_in_one_longer_word() -> None:
    question = "Which instances can I rent?"
    made = every("typo", question)
    assert {asked for asked in made if asked} >= {
        "Which intances can I rent?",
        "Which insstances can I rent?",
        "Which isntances can I rent?",
    }
    for asked in made - {None}:
        assert asked is not None
        before, after = question.split(), asked.split()
        assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True, True]
        assert after[1][0] == "i"
        assert abs(len(after[1]) - len("instances")) <= 1


@pytest.mark.parametrize("question", ["Is it up?", "いつ荷物が届きますか", "เปิดวันไหนบ้าง", "Where, which or what?"])
def test_a_typo_needs_a_longer_word_in_a_script_that_has_words(question: str) -> None:
    assert every("typo", question) == {None}


@pytest.mark.parametrize(
    "question", ["Wie lange dauert die Lieferung?", "¿Cómo puedo pagar?", "いつ届きますか", "متى تصل؟"]
)
def test_other_languages_do_not_read_as_english(question: str) -> None:
    assert not reads_as_english(question)


@pytest.mark.parametrize("question", ["How do I pay?", "What is EMR?", "can the job be stopped"])
def test_english_reads_as_english(question: str) -> None:
    assert reads_as_english(question)


@pytest.mark.parametrize("kind", KINDS)
@given(question=ON_ONE_LINE, pick=ANY_PICK)
def test_no_rule_breaks_on_any_text_or_makes_nothing_of_it(kind: str, question: str, pick: int) -> None:
    asked = KINDS[kind](question, pick)
    assert asked is None or asked.strip()
    assert asked == KINDS[kind](question, pick)


@given(question=ON_ONE_LINE, pick=ANY_PICK)
def test_keywords_bring_in_no_new_word(question: str, pick: int) -> None:
    asked = keywords(question, pick)
    assert asked is None or set(terms(asked)) <= set(terms(question.lower()))


@given(question=ON_ONE_LINE, pick=ANY_PICK)
def test_a_typo_changes_the_length_by_one_at_most(question: str, pick: int) -> None:
    asked = typo(question, pick)
    assert asked is None or (asked != question and abs(len(asked) - len(question)) <= 1)
