"""`ragwright questions` as its users see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ragwright import cli

FAQ = Path(__file__).resolve().parents[3] / "data" / "sagemaker_faq.csv"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.app(["questions", *arguments], prog_name="ragwright")
        output = capfd.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return call


def test_a_set_is_made_written_and_fit_for_its_faq(run: Run) -> None:
    code, out, _ = run("make", "--source", str(FAQ), "--out", "sets/made.jsonl", "--count", "30", "--json")
    assert code == 0
    made = json.loads(out)
    assert made["questions"] == sum(made["kinds"].values()) == 30
    code, out, _ = run("check", "sets/made.jsonl", "--source", str(FAQ), "--json")
    assert code == 0
    assert json.loads(out)["questions"] == 30


def test_the_same_seed_writes_the_same_bytes(run: Run) -> None:
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        assert run("make", "--source", str(FAQ), "--out", name, "--count", "40", "--seed", seed)[0] == 0
    assert Path("a").read_bytes() == Path("b").read_bytes() != Path("c").read_bytes()


def test_a_set_that_is_there_is_not_replaced_by_accident(run: Run) -> None:
    Path("mine.jsonl").write_text("precious", encoding="utf-8")
    code, _, err = run("make", "--source", str(FAQ), "--out", "mine.jsonl")
    assert code == 1
    assert "--force" in err
    assert Path("mine.jsonl").read_text(encoding="utf-8") == "precious"
    assert run("make", "--source", str(FAQ), "--out", "mine.jsonl", "--force", "--count", "4")[0] == 0


def test_notes_say_what_a_small_faq_cannot_give(run: Run) -> None:
    Path("small.csv").write_text("question,answer\nWo ist der Laden?,Im Hof.\n", encoding="utf-8")
    code, out, _ = run("make", "--source", "small.csv", "--out", "made.jsonl")
    assert code == 0
    assert "note: the FAQ does not read as English" in out


def test_faults_are_told_by_line_and_the_exit_code_says_so(run: Run) -> None:
    Path("bad.jsonl").write_text('{"question": "[b]Why?", "answerable": true, "gold": 3}\nnope\n', encoding="utf-8")
    code, out, _ = run("check", "bad.jsonl")
    assert code == 1
    assert "line 1: field 'gold' must be a list of texts that are not blank (got 3)" in out
    assert "line 2: not JSON" in out


def test_rows_that_the_faq_does_not_have_are_told(run: Run) -> None:
    Path("q.jsonl").write_text('{"id": "x", "question": "Why?", "answerable": true, "gold": ["No [b]row?"]}\n')
    code, out, _ = run("check", "q.jsonl", "--source", str(FAQ))
    assert code == 1
    assert "0 of 1 rows named are in the FAQ" in out
    assert "no such row: 'No [b]row?' (question x)" in out


def test_a_file_that_is_not_there_is_an_error_with_a_next_step(run: Run) -> None:
    code, _, err = run("check", "nowhere.jsonl")
    assert code == 1
    assert "nowhere.jsonl" in err
    assert "next:" in err
