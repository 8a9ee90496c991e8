"""Question sets: what is read, and how a wrong line is told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.errors import SourceError
from ragwright.evaluation.questions import Question, QuestionSet, examine, load, sample

GOOD = {"id": "a1", "question": "What is it?", "answerable": True, "kind": "typo", "gold": ["What?"], "accept": [["x"]]}


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)


@st.composite
def made_questions(draw: st.DrawFn) -> Question:
    answerable = draw(st.booleans())
    gold = tuple(draw(st.lists(WORDS, min_size=1, max_size=3))) if answerable else ()
    accept = tuple(draw(st.lists(st.lists(WORDS, min_size=1).map(tuple), max_size=2))) if answerable else ()
    without = tuple(name for name in draw(st.lists(WORDS, max_size=2)) if name not in gold)
    return Question(draw(WORDS), draw(WORDS), answerable, draw(WORDS | st.just("")), gold, accept, without)


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
        (GOOD | {"without": "What?"}, "'without' must be a list"),
        (GOOD | {"without": ["What?"]}, "'without' hides a row that gold names"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number_and_field(tmp_path: Path, line: object, told: str) -> None:
    path = written(tmp_path / "q.jsonl", GOOD | {"id": "first"}, line)
    with pytest.raises(SourceError, match=told) as caught:
        load(path)
    assert caught.value.place == f"{path}, line 2"


def test_every_fault_of_a_file_is_told_with_its_line_field_and_value(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", GOOD, "{oops", GOOD | {"id": "b", "question": 7, "answerable": "yes"})
    with pytest.raises(SourceError) as caught:
        load(path)
    assert caught.value.place == str(path)
    assert [line.strip() for line in caught.value.what.splitlines()] == [
        "the question set has 3 faults",
        "line 2: not JSON: Expecting property name enclosed in double quotes at column 2 (got '{oops')",
        "line 3: field 'question' must be text that is not blank (got 7)",
        "line 3: field 'answerable' must be true or false (got 'yes')",
    ]


def test_a_file_full_of_faults_does_not_fill_the_screen(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", *(GOOD | {"id": str(n), "question": "x" * 9000, "gold": 1} for n in range(99)))
    with pytest.raises(SourceError) as caught:
        load(path)
    assert len(caught.value.what) < 4000
    assert "and 79 more" in caught.value.what
    assert len(examine(path)[1]) == 99


@given(st.lists(made_questions(), max_size=8, unique_by=lambda question: question.id))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, questions: list[Question]) -> None:
    path = tmp_path_factory.mktemp("set") / "q.jsonl"
    path.write_text(QuestionSet(tuple(questions)).to_jsonl(), encoding="utf-8")
    assert examine(path) == (QuestionSet(tuple(questions), str(path)), ())


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
