"""A question set held against the FAQ it is meant for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ragwright.errors import SourceError
from ragwright.evaluation.checking import check
from ragwright.evaluation.making import Row

ROWS = [Row("k1", "What is Rowan?", "A planner.", ""), Row("k2", "How much is it?", "12.", "")]


def written(path: Path, *lines: dict[str, object]) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def test_rows_may_be_named_by_question_or_key(tmp_path: Path) -> None:
    path = written(
        tmp_path / "q.jsonl",
        {"question": "Rowan?", "answerable": True, "gold": ["what is ROWAN"]},
        {"question": "Price?", "answerable": True, "gold": ["k2"]},
        {"question": "What is Rowan?", "answerable": False, "without": ["k1"]},
    )
    checked = check(path, ROWS)
    assert checked.fit
    assert checked.named == 3


def test_rows_that_are_not_there_are_listed_with_the_questions_that_name_them(tmp_path: Path) -> None:
    path = written(
        tmp_path / "q.jsonl",
        {"id": "a", "question": "Rowan?", "answerable": True, "gold": ["What is Rowan?", "Gone?"]},
        {"id": "b", "question": "Gone?", "answerable": False, "without": ["Gone?"]},
    )
    checked = check(path, ROWS)
    assert not checked.fit
    assert checked.missing == {"Gone?": ("a", "b")}
    assert checked.to_json()["rows_missing"] == [{"row": "Gone?", "questions": ["a", "b"]}]


def test_without_an_faq_only_the_lines_are_checked(tmp_path: Path) -> None:
    path = written(tmp_path / "q.jsonl", {"question": "Rowan?", "answerable": True, "gold": ["Gone?"]})
    checked = check(path)
    assert checked.fit
    assert checked.to_json()["rows_named"] is None


def test_an_empty_set_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="empty"):
        check(written(tmp_path / "q.jsonl"), ROWS)
