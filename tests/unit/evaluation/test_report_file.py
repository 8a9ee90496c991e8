"""The page of a generation, written from what its catalog holds, and the verbs that write it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ragwright import cli
from ragwright.assembly import evaluate_index
from ragwright.errors import CatalogError, ConfigurationError
from ragwright.evaluation.questions import load
from ragwright.evaluation.report_file import write_report
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.history import rollback
from ragwright.index.reindex import reindex
from ragwright.settings import Settings

pytestmark = pytest.mark.usefixtures("cheap_validation")

FAQ = [(f"What is thing number {n}?", f"Thing {n} is the one that comes after thing {n - 1}.") for n in range(12)]
LINES = [
    {"id": "1", "question": "thing number 3?", "answerable": True, "gold": ["What is thing number 3?"]},
    {"id": "2", "question": "Colour of <b>my</b> desk", "answerable": False},
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
    return Settings(
        home=tmp_path / "home",
        store=f"memory:{tmp_path}",
        embedding={"endpoint": "hashing:64"},
        generation={"endpoint": "none"},
        evaluation={"questions": tmp_path / "questions.jsonl"},
    )


def publish(settings: Settings, rows: list[tuple[str, str]], *, evaluated: bool = True) -> int:
    source = settings.home.parent / "faq.jsonl"
    lines = (json.dumps({"question": question, "answer": answer}) for question, answer in rows)
    source.write_text("\n".join(lines), encoding="utf-8")
    report = reindex(settings, ReindexRequest(source=str(source)))
    if evaluated:
        evaluate_index(settings, load(settings.home.parent / "questions.jsonl"))
    return report.generation


def test_the_page_is_in_the_home_folder_and_in_the_catalog(settings: Settings) -> None:
    publish(settings, FAQ)
    path = write_report(settings, 1)
    assert path == settings.home / "reports" / "faq" / "generation-00000001.html"
    with open_catalog(settings) as catalog:
        assert catalog.read("generations/00000001/report.html") == path.read_bytes()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_page_says_what_was_evaluated(settings: Settings) -> None:
    publish(settings, FAQ)
    text = write_report(settings, 1).read_text(encoding="utf-8")
    for told in ("live", "faq.jsonl", "hashing", "questions.jsonl", "2: 1 that the FAQ answers"):
        assert told in text
    assert "<b>my</b>" not in text


def test_the_page_is_the_same_however_often_it_is_written(settings: Settings, tmp_path: Path) -> None:
    publish(settings, FAQ)
    assert write_report(settings, 1).read_bytes() == write_report(settings, 1, out=tmp_path / "x.html").read_bytes()


def test_earlier_generations_that_were_asked_the_same_are_in_the_trend(settings: Settings) -> None:
    publish(settings, FAQ)
    publish(settings, FAQ[:-1])
    publish(settings, FAQ[:-2], evaluated=False)
    assert "The newest of 2 generations" in write_report(settings, 2).read_text(encoding="utf-8")
    # What came later is no past, and one alone is no trend.
    assert "Trend over generations" not in write_report(settings, 1).read_text(encoding="utf-8")


def test_generations_that_were_asked_something_else_are_not_compared(settings: Settings, tmp_path: Path) -> None:
    publish(settings, FAQ)
    (tmp_path / "questions.jsonl").write_text(json.dumps(LINES[0]), encoding="utf-8")
    publish(settings, FAQ[:-1])
    assert "Trend over generations" not in write_report(settings, 2).read_text(encoding="utf-8")


def test_a_generation_that_was_asked_the_same_before_something_else_is_compared(
    settings: Settings, tmp_path: Path
) -> None:
    publish(settings, FAQ)
    (tmp_path / "other.jsonl").write_text(json.dumps(LINES[0]), encoding="utf-8")
    evaluate_index(settings, load(tmp_path / "other.jsonl"))
    publish(settings, FAQ[:-1])
    assert "The newest of 2 generations" in write_report(settings, 2).read_text(encoding="utf-8")


def test_a_generation_that_was_gone_back_from_says_so(settings: Settings) -> None:
    publish(settings, FAQ)
    publish(settings, FAQ[:-1])
    with open_catalog(settings) as catalog:
        rollback(catalog, reason="test")
    assert "published before; cannot be gone back to" in write_report(settings, 2).read_text(encoding="utf-8")


def test_a_generation_that_was_not_evaluated_is_refused_with_the_next_step(settings: Settings) -> None:
    publish(settings, FAQ, evaluated=False)
    with pytest.raises(CatalogError, match=r"was not evaluated.*ragwright evaluate --generation 1"):
        write_report(settings, 1)


def test_an_evaluation_of_an_older_layout_is_refused_with_the_next_step(settings: Settings) -> None:
    publish(settings, FAQ)
    with open_catalog(settings) as catalog:
        catalog.write_json("generations/00000001/evaluation.json", {"results": [{"id": "1"}], "source": ""})
    with pytest.raises(CatalogError, match="an older version made it"):
        write_report(settings, 1)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"not json\n"])
def test_a_question_set_that_is_gone_or_spoilt_leaves_the_page_whole(settings: Settings, content: bytes | None) -> None:
    publish(settings, FAQ)
    path = settings.home.parent / "questions.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert "</html>" in write_report(settings, 1).read_text(encoding="utf-8")


def test_a_place_that_cannot_be_written_is_named(settings: Settings, tmp_path: Path) -> None:
    publish(settings, FAQ)
    with pytest.raises(ConfigurationError, match=r"faq\.jsonl/x\.html"):
        write_report(settings, 1, out=tmp_path / "faq.jsonl" / "x.html")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGWRIGHT_HOME", str(settings.home))
    monkeypatch.setenv("RAGWRIGHT_STORE", settings.store)
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "hashing:64")
    monkeypatch.setenv("RAGWRIGHT_GENERATION__ENDPOINT", "none")
    monkeypatch.setenv("RAGWRIGHT_EVALUATION__QUESTIONS", "questions.jsonl")

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.app(list(arguments), prog_name="ragwright")
        output = capfd.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return call


def test_evaluate_says_where_the_page_is(settings: Settings, run: Run) -> None:
    publish(settings, FAQ, evaluated=False)
    code, out, _ = run("evaluate", "--json")
    assert code == 0
    assert Path(json.loads(out)["report"]).is_file()
    code, out, _ = run("evaluate")
    assert "Report with plots: " in out
    assert Path(out.split("Report with plots: ")[1].strip()).is_file()


def test_report_writes_the_page_again_without_asking(settings: Settings, run: Run) -> None:
    publish(settings, FAQ)
    code, out, _ = run("report", "--out", "deep/x.html", "--json")
    assert (code, json.loads(out)) == (0, {"generation": 1, "report": "deep/x.html"})
    assert Path("deep/x.html").read_bytes().startswith(b"<!doctype html>")
    code, _, err = run("report", "--generation", "7")
    assert code == 1
    assert "generation 7 is unknown" in err
