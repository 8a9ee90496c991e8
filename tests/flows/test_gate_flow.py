"""The gate as the flows run it: what it said is reported, and a person may overrule it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from flows.evaluation import evaluation
from flows.parameters import Asked, AskedAround, Gate
from flows.pipeline import pipeline
from flows.publish import publish
from flows.reindex import reindex
from ragwright.errors import CatalogError, GateBlocked, SourceError
from ragwright.index.attempt import open_catalog
from ragwright.index.history import generations
from ragwright.settings import load_settings

pytestmark = pytest.mark.usefixtures("prefect_server")

ROWS = [(f"What is thing number {n}?", f"Thing {n} is the one that comes after thing {n - 1}.") for n in range(40)]


def write(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "answer"), *rows])
    return str(path)


def newest_artifact(key: str) -> str:
    with get_client(sync_client=True) as client:
        of_key = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        found = client.read_artifacts(artifact_filter=of_key, sort=ArtifactSort.CREATED_DESC, limit=1)
    return str(found[0].data)


@pytest.fixture
def questions(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "hashing:384")
    monkeypatch.setenv(
        "RAGWRIGHT_GATE__FLOORS", json.dumps({"over_refusal_rate": None, "answerable_correctness": None})
    )
    path = tmp_path / "questions.jsonl"
    lines = [{"id": str(n), "question": q, "answerable": True, "gold": [q]} for n, (q, _) in enumerate(ROWS)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


@pytest.mark.long
def test_a_blocked_candidate_is_told_and_can_be_published_by_name(questions: Path, tmp_path: Path) -> None:
    faq = tmp_path / "faq.csv"
    first = pipeline(index="gated", source=write(faq, ROWS), questions=AskedAround(file=str(questions)))
    assert first.reindex.gate.verdict == "passed"
    assert first.evaluation is not None
    assert first.evaluation.generation == 1
    assert "### Gate: passed" in newest_artifact("gated-report")

    with pytest.raises(GateBlocked, match="12 of 40 questions ask about rows that the source no longer has"):
        pipeline(index="gated", source=write(faq, ROWS[:28]), questions=AskedAround(file=str(questions)))
    told = newest_artifact("gated-report")
    assert "## Generation 2 was blocked" in told
    assert "12 questions fare differently than in generation 1, 12 worse" in told
    assert evaluation(index="gated", generation=2, questions=Asked(file=str(questions), again=False)).generation == 2

    with pytest.raises(CatalogError, match="generation 1 cannot be published"):
        publish(index="gated", generation=1, reason="It is meant.")
    assert publish(index="gated", generation=2, reason="These were dropped on purpose.") == 2
    with open_catalog(load_settings(index="gated")) as catalog:
        newest = generations(catalog)[0]
    assert (newest.state, newest.reason) == ("live", "These were dropped on purpose.")


def test_a_bad_question_set_is_found_out_before_anything_is_done(questions: Path, tmp_path: Path) -> None:
    questions.write_text("not JSON\n", encoding="utf-8")
    with pytest.raises(SourceError):
        reindex(source=write(tmp_path / "faq.csv", ROWS), gate=Gate(questions=str(questions)))
    with open_catalog(load_settings()) as catalog:
        assert catalog.attempts() == []
