"""Question sets: what is read, and how a wrong line is told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from ragwright.errors import SourceError
from ragwright.evaluation.questions import Question, QuestionSet, load, sample

GOOD = {"id": "a1", "question": "What is it?", "answerable": True, "kind": "typo", "gold": ["What?"], "accept": [["x"]]}


def written(path: Path, *lines: object) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_set_is_read_in_order_with_every_field(tmp_path: Path) -> None:
    unanswerable = {"id": "u1", "question": "Who?", "answerable": False}
    questions = load(written(tmp_path / "q.jsonl", GOOD, "", unanswerable))
    assert questions.questions == (
        Question("a1", "What is it?", True, "typo", ("What?",), (("x",),)),
        Question("u1", "Who?", False),
    )
    assert len(questions) == 2


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n")
    assert load(path).questions[0].id == "a1"


def test_a_line_separator_inside_a_question_does_not_end_its_line(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", json.dumps(GOOD | {"question": "one\u2028two"}, ensure_ascii=False))
    assert load(path).questions[0].question == "one\u2028two"


def test_a_question_without_an_id_is_named_by_its_line(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", {key: value for key, value in GOOD.items() if key != "id"})
    assert load(path).questions[0].id == "1"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{oops", "not JSON"),
        ("[1]", "JSON object was expected"),
        (GOOD | {"question": "  "}, "'question' must be text"),
        (GOOD | {"question": None}, "'question' must be text"),
        (GOOD | {"answerable": "yes"}, "'answerable' must be true or false"),
        (GOOD | {"gold": "What?"}, "'gold' must be a list"),
        (GOOD | {"gold": [3]}, "'gold' must be a list"),
        (GOOD | {"accept": ["x"]}, "'accept' must be a list"),
        (GOOD | {"accept": [[]]}, "'accept' has an empty group"),
        (GOOD | {"gold": [], "accept": []}, "'gold' is missing"),
        (GOOD | {"answerable": False}, "'answerable' contradicts"),
        (GOOD | {"golden": []}, "'golden' is not a field"),
        (GOOD | {"id": ""}, "'id' must be text"),
        (GOOD | {"id": "first"}, "'id' is taken by line 1"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number_and_field(tmp_path: Path, line: object, told: str) -> None:
    path = written(tmp_path / "q.jsonl", GOOD | {"id": "first"}, line)
    with pytest.raises(SourceError, match=told) as caught:
        load(path)
    assert caught.value.place == f"{path}, line 2"


@pytest.mark.parametrize("content", [b"", b"\n\n", "été".encode("utf-16")])
def test_a_file_that_holds_no_questions_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(content)
    with pytest.raises(SourceError):
        load(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.jsonl"):
        load(tmp_path / "nowhere.jsonl")


def test_a_sample_keeps_the_kinds_in_proportion_and_is_the_same_every_time() -> None:
    kinds = ["typo"] * 40 + ["detail"] * 20 + ["keywords"] * 20
    everything = QuestionSet(tuple(Question(str(n), "Why?", True, kind, ("x",)) for n, kind in enumerate(kinds)))
    drawn = sample(everything, 20)
    assert Counter(question.kind for question in drawn.questions) == {"typo": 10, "detail": 5, "keywords": 5}
    assert drawn == sample(everything, 20)
    assert [int(q.id) for q in drawn.questions] == sorted(int(q.id) for q in drawn.questions)
    assert sample(everything, 500) == everything
