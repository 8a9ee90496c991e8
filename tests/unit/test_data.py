"""The FAQ and the questions that ship with the project are what data/README.md says they are."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from ragwright.evaluation.metrics import normalise, satisfies
from ragwright.evaluation.questions import Question, load

DATA = Path(__file__).resolve().parents[2] / "data"
# Beside the repository, not in it: the text of AWS's own FAQ, from which nothing may be taken over.
AWS_FAQ = Path(__file__).resolve().parents[3] / "shared" / "data" / "amazon_sagemaker_faqs.csv"

ANSWERABLE_KINDS = {"paraphrase", "oblique", "keywords", "typo", "detail"}
UNANSWERABLE_KINDS = {"near-miss", "other-domain", "no-such-thing", "chitchat", "injection"}


@pytest.fixture(scope="module")
def faq() -> dict[str, str]:
    with (DATA / "sagemaker_faq.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["question", "answer"]
    assert all(len(row) == 2 for row in rows)
    answers = dict(rows)
    assert len(answers) == len(rows), "a question stands twice"
    return answers


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return load(DATA / "questions.jsonl").questions


@pytest.fixture(scope="module")
def answerable(questions: tuple[Question, ...]) -> list[Question]:
    return [question for question in questions if question.answerable]


@pytest.fixture(scope="module")
def unanswerable(questions: tuple[Question, ...]) -> list[Question]:
    return [question for question in questions if not question.answerable]


def test_there_are_enough_rows_and_questions(
    faq: dict[str, str], answerable: list[Question], unanswerable: list[Question]
) -> None:
    assert len(faq) >= 130
    assert len(answerable) >= 90
    assert len(unanswerable) >= 90


def test_the_readme_gives_the_counts(
    faq: dict[str, str], answerable: list[Question], unanswerable: list[Question]
) -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"`sagemaker_faq\.csv` .*\| {len(faq)} \|", readme)
    assert f"{len(answerable)} questions that the FAQ answers and {len(unanswerable)} that it does not" in readme
    kinds = Counter(question.kind for question in answerable)
    assert f"A `paraphrase` ({kinds['paraphrase']} questions)" in readme
    assert f"An `oblique` question ({kinds['oblique']})" in readme


@pytest.mark.parametrize("name", ["sagemaker_faq.csv", "questions.jsonl"])
def test_files_are_clean_utf8(name: str) -> None:
    content = (DATA / name).read_bytes()
    text = content.decode("utf-8")
    assert not content.startswith(b"\xef\xbb\xbf")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u00a0\u200b-\u200f\ufffd]", text)
    assert text.endswith("\n")


def test_lengths_are_those_of_an_faq(faq: dict[str, str]) -> None:
    for question, answer in faq.items():
        assert question == question.strip()
        assert answer == answer.strip()
        assert 10 <= len(question) <= 120, question
        assert 60 <= len(answer) <= 1400, question
    assert sum(len(answer) > 1100 for answer in faq.values()) >= 4, "long answers make more than one chunk"
    assert sum(len(answer) > 1200 for answer in faq.values()) <= 5
    assert sum("\n" in answer for answer in faq.values()) >= 8


def test_spot_training_is_said_to_work_with_all_instances(faq: dict[str, str]) -> None:
    answers = [answer for question, answer in faq.items() if "Managed Spot Training support" in question]
    assert len(answers) == 1
    assert satisfies(answers[0], [["all instances", "all instance types"]])


def test_ids_and_questions_are_unique(questions: tuple[Question, ...]) -> None:
    asked = Counter(normalise(question.question) for question in questions)
    assert [text for text, times in asked.items() if times > 1] == []
    assert len({question.id for question in questions}) == len(questions)
    assert all(re.fullmatch(r"[au]\d{3}", question.id) for question in questions)
    assert all(question.id.startswith("a") == question.answerable for question in questions)


def test_every_gold_names_a_row(faq: dict[str, str], answerable: list[Question]) -> None:
    assert all(question.gold for question in answerable)
    assert [(question.id, name) for question in answerable for name in question.gold if name not in faq] == []


def test_a_gold_answer_would_be_counted_as_right(faq: dict[str, str], answerable: list[Question]) -> None:
    wrong = [
        question.id
        for question in answerable
        if not question.accept or not any(satisfies(faq[name], question.accept) for name in question.gold)
    ]
    assert wrong == []


def test_what_is_accepted_tells_answers_apart(faq: dict[str, str], answerable: list[Question]) -> None:
    loose = {
        question.id: hits
        for question in answerable
        if (hits := sum(satisfies(answer, question.accept) for answer in faq.values())) > len(faq) // 20
    }
    assert loose == {}


def test_no_question_repeats_a_row(faq: dict[str, str], questions: tuple[Question, ...]) -> None:
    rows = {normalise(question) for question in faq}
    assert [question.id for question in questions if normalise(question.question) in rows] == []


def test_kinds_are_spread(answerable: list[Question], unanswerable: list[Question]) -> None:
    known = Counter(question.kind for question in answerable)
    unknown = Counter(question.kind for question in unanswerable)
    assert known.keys() == ANSWERABLE_KINDS
    assert unknown.keys() == UNANSWERABLE_KINDS
    assert min(known.values()) >= 15
    assert min(unknown.values()) >= 5
    assert unknown["near-miss"] >= len(unanswerable) / 2


def test_questions_reach_most_corners_of_the_faq(faq: dict[str, str], answerable: list[Question]) -> None:
    reached = {name for question in answerable for name in question.gold}
    assert len(reached) >= len(faq) * 0.4


@pytest.mark.parametrize("asked", ["What color is my desk?", "How do I create a Hugging Face instance on Sagemaker?"])
def test_the_classic_traps_are_unanswerable(asked: str, unanswerable: list[Question]) -> None:
    assert asked in {question.question for question in unanswerable}


def test_no_run_of_eight_words_is_from_the_faq_of_aws(faq: dict[str, str]) -> None:
    if not AWS_FAQ.exists():
        pytest.skip(f"the FAQ of AWS is not beside the repository ({AWS_FAQ.name})")
    with AWS_FAQ.open(encoding="utf-8-sig", newline="") as file:
        theirs = set().union(*(_runs(cell) for row in csv.reader(file) for cell in row))
    assert len(theirs) > 1000
    taken = {" ".join(run) for row in faq.items() for cell in row for run in _runs(cell) & theirs}
    assert taken == set()


def _runs(text: str, words: int = 8) -> set[tuple[str, ...]]:
    found = normalise(text).split()
    return {tuple(found[start : start + words]) for start in range(len(found) - words + 1)}
