"""A question set made from an FAQ: labels that hold, the same set every time, any language."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.errors import SourceError
from ragwright.evaluation.holdout import is_named, named
from ragwright.evaluation.making import Row, make, read_rows
from ragwright.evaluation.metrics import normalise
from ragwright.evaluation.perturbing import ENGLISH, KINDS
from ragwright.evaluation.questions import Question, QuestionSet, load
from ragwright.settings import SourceSettings
from ragwright.terms import terms

ROOT = Path(__file__).resolve().parents[3]

UNANSWERABLE = {"held-out", "swapped-subject", "other-domain"}


def faq(pairs: list[tuple[str, str]]) -> list[Row]:
    return [Row(f"k{number}", question, answer, question) for number, (question, answer) in enumerate(pairs)]


@pytest.fixture(scope="module")
def own() -> list[Row]:
    return read_rows(ROOT / "data" / "sagemaker_faq.csv", SourceSettings())


def of(questions: QuestionSet, kind: str) -> list[Question]:
    return [question for question in questions.questions if question.kind == kind]


def test_half_is_answerable_and_the_kinds_of_each_half_are_even(own: list[Row]) -> None:
    made = make(own, count=120)
    kinds = Counter(question.kind for question in made.questions.questions)
    assert kinds == dict.fromkeys(KINDS, 10) | dict.fromkeys(UNANSWERABLE, 20)
    assert made.notes == ()
    assert all(question.answerable == (question.kind in KINDS) for question in made.questions.questions)


def test_what_is_made_can_be_loaded(own: list[Row], tmp_path: Path) -> None:
    questions = make(own, count=90).questions
    path = tmp_path / "made.jsonl"
    path.write_text(questions.to_jsonl(), encoding="utf-8")
    assert load(path).questions == questions.questions
    assert len({question.question for question in questions.questions}) == 90


def test_the_same_rows_and_seed_make_the_same_set_in_whatever_order_the_rows_are(own: list[Row]) -> None:
    text = make(own, count=60, seed=3).questions.to_jsonl()
    assert make(own, count=60, seed=3).questions.to_jsonl() == text
    assert make(own[::-1], count=60, seed=3).questions.to_jsonl() == text
    assert make(own, count=60, seed=4).questions.to_jsonl() != text


def test_one_row_more_changes_few_questions(own: list[Row]) -> None:
    before = {question.question for question in make(own, count=60).questions.questions}
    more = [*own, Row("new", "Which colours does the new badge come in?", "Green and blue.", "new")]
    after = {question.question for question in make(more, count=60).questions.questions}
    assert len(before & after) >= 50


def test_gold_is_the_row_a_question_was_made_from(own: list[Row]) -> None:
    names = {row.question for row in own}
    for question in of(make(own, count=120).questions, "plain"):
        assert set(question.gold) <= names
        assert [normalise(name) for name in question.gold] == [normalise(question.question)]


def test_rows_with_the_same_question_are_all_gold() -> None:
    pairs = [("How do I cancel my order?", "By mail."), ("how do I cancel my  order", "By phone.")]
    keyed = [Row(f"k{n}", question, answer, f"k{n}") for n, (question, answer) in enumerate(pairs)]
    for question in make(keyed, count=8).questions.questions:
        if question.answerable:
            assert question.gold == ("k0", "k1")


def test_no_answerable_question_is_worded_like_another_row() -> None:
    rows = faq([("Where is the form?", "Here."), ("Where is the from?", "There."), ("where is the form", "Upstairs.")])
    for question in make(rows, count=40).questions.questions:
        if question.answerable:
            assert normalise(question.question) not in {normalise(r.question) for r in rows} - {
                normalise(name) for name in question.gold
            }


def test_a_held_out_question_hides_its_row_and_every_row_that_has_its_words() -> None:
    rows = faq(
        [
            ("How do I return a parcel?", "Print the label."),
            ("What is a return label?", "To return a parcel, print it."),
            ("Which cards do you take?", "All of them."),
            ("Where are your shops?", "In Utrecht."),
            ("Do you sell gift vouchers?", "At the till."),
        ]
    )
    hidden = {question.question: question.without for question in of(make(rows, count=60).questions, "held-out")}
    assert set(hidden["How do I return a parcel?"]) == {"How do I return a parcel?", "What is a return label?"}
    assert hidden["Where are your shops?"] == ("Where are your shops?",)


def test_a_question_that_many_rows_may_answer_is_not_held_out() -> None:
    rows = faq([("What is Rowan?", "Rowan is a planner."), *((f"Thing {n}?", f"Rowan does {n}.") for n in range(9))])
    assert "What is Rowan?" not in {question.question for question in of(make(rows, count=60).questions, "held-out")}


def test_an_faq_is_never_hidden_whole() -> None:
    made = make(faq([("How do I cancel my order?", "By mail.")]), count=10)
    assert of(made.questions, "held-out") == []


def test_a_swapped_subject_is_a_word_that_the_faq_has_nowhere(own: list[Row]) -> None:
    known = {term for row in own for term in terms(f"{row.question} {row.answer}")}
    swapped = of(make(own, count=120).questions, "swapped-subject")
    assert len(swapped) == 20
    assert all(set(terms(question.question)) - known for question in swapped)


def test_a_stranger_shares_little_with_any_row() -> None:
    rows = faq(
        [
            ("How long do I boil an egg?", "Six minutes for a runny yolk."),
            ("Can I buy a cactus?", "Water it once a month."),
            ("Which planets can I see?", "Most moons too."),
        ]
    )
    asked = {question.question for question in of(make(rows, count=120).questions, "other-domain")}
    assert len(asked) > 30
    assert not asked & {
        "How long should I boil an egg so that the yolk stays runny?",
        "How often should I water a cactus?",
        "Which planet has the most moons?",
    }


def test_strangers_and_subjects_come_from_other_faqs(own: list[Row]) -> None:
    other = faq([(f"What does Zanzibar{n} cost in Quokkaville?", f"{n} shells.") for n in range(30)])
    made = make(own, count=120, others=[other]).questions
    assert any("Zanzibar" in question.question for question in of(made, "other-domain"))
    assert any("Quokkaville" in question.question for question in of(made, "swapped-subject"))


def test_what_cannot_be_made_is_said() -> None:
    made = make(faq([("How do I cancel my order?", "By mail to order@example.org.")]), count=200)
    assert 0 < len(made.questions) < 200
    assert any("instead of 100" in note for note in made.notes)


@pytest.mark.parametrize("pairs", [[], [("???", "!"), ("- -", "x")]])
def test_an_faq_without_questions_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(SourceError, match=f"none of {len(pairs)} rows"):
        make(faq(pairs))


OTHER_LANGUAGES = {
    "German": [
        ("Wie lange dauert die Lieferung an Samstagen?", "Die Lieferung dauert samstags bis zu vier Stunden."),
        ("Kann ich meine Bestellung noch ändern?", "Ja, solange sie nicht verpackt ist."),
        ("Welche Zahlungsarten gibt es im Laden?", "Bar und mit Karte."),
        ("Wo finde ich meine Rechnung?", "Im Kundenkonto unter Dokumente."),
        ("Was ist Pfand?", "Pfand ist Geld, das es mit der Flasche zurück gibt."),
    ],
    "Japanese": [
        ("いつ荷物が届きますか。", "注文から三日以内に届きます。"),
        ("支払い方法を教えてください。", "カードが使えます。"),
        ("返品はできますか。", "十四日以内なら可能です。"),
    ],
    "Arabic": [
        ("متى تصل الشحنة إلى المنزل بعد الطلب؟", "خلال ثلاثة أيام عمل."),
        ("كيف يمكنني إلغاء الطلب من الموقع؟", "من صفحة الحساب."),
        ("ما هي طرق الدفع المتاحة لديكم؟", "بطاقة أو نقدا."),
    ],
}


@pytest.mark.parametrize("language", OTHER_LANGUAGES)
def test_a_set_is_made_in_any_language_without_english_rules(language: str, tmp_path: Path) -> None:
    rows = faq(OTHER_LANGUAGES[language])
    made = make(rows, count=16)
    kinds = {question.kind for question in made.questions.questions}
    assert "plain" in kinds
    assert "held-out" in kinds
    assert not kinds & (ENGLISH | {"other-domain", "swapped-subject"})
    assert any("does not read as English" in note for note in made.notes)
    assert any("--other" in note for note in made.notes)
    path = tmp_path / "made.jsonl"
    path.write_text(made.questions.to_jsonl(), encoding="utf-8")
    assert load(path).questions == made.questions.questions


def test_another_faq_in_the_language_gives_strangers() -> None:
    other = faq([("Wann öffnet das Schwimmbad in Freiburg?", "Um acht."), ("Was kostet der Eintritt?", "Vier Euro.")])
    made = make(faq(OTHER_LANGUAGES["German"]), count=16, others=[other])
    assert {q.question for q in of(made.questions, "other-domain")} == {row.question for row in other}
    assert of(made.questions, "swapped-subject")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=12), st.integers(2, 30), st.integers(0, 5))
def test_labels_hold_for_any_faq(pairs: list[tuple[str, str]], count: int, seed: int) -> None:
    rows = [row for row in faq(pairs) if normalise(row.question) and row.answer]
    try:
        made = make(rows, count=count, seed=seed)
    except SourceError:
        assert not any(terms(row.question) for row in rows)
        return
    assert len(made.questions) <= count
    assert len({question.id for question in made.questions.questions}) == len(made.questions)
    for question in made.questions.questions:
        assert bool(question.gold) == question.answerable
        found = [row for row in rows if is_named(named((*question.gold, *question.without)), row.key, row.question)]
        assert bool(found) == (question.answerable or question.kind == "held-out")


def test_rows_are_read_without_those_that_have_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "faq.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("question", "answer"), ("Who\nare you?", "We."), ("Why?", ""), ("", "x")])
    assert [(row.question, row.name) for row in read_rows(path, SourceSettings())] == [
        ("Who\nare you?", "Who are you?")
    ]


def test_rows_are_named_by_key_where_a_key_is_configured(tmp_path: Path) -> None:
    path = tmp_path / "faq.jsonl"
    path.write_text(json.dumps({"ref": "r7", "question": "Who are you?", "answer": "We."}), encoding="utf-8")
    [row] = read_rows(path, SourceSettings(key_column="ref"))
    assert row.name == "r7"


def test_a_real_faq_and_a_neighbouring_one_give_a_whole_set(shared_data: Path) -> None:
    settings = SourceSettings()
    rows = read_rows(shared_data / "amazon_emr_faqs.csv", settings)
    made = make(rows, count=150, others=[read_rows(shared_data / "azure_faq.jsonl", settings)])
    assert len(made.questions) == 150
    assert made.notes == ()
