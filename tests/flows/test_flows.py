"""The flows, run by Prefect against real endpoints and a real store."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.janitor import janitor
from flows.pipeline import pipeline
from flows.provision import provision
from flows.reindex import reindex
from flows.rollback import rollback
from flows.teardown import teardown
from ragwright.assembly import wanted_endpoints
from ragwright.endpoints import EndpointSpec, EndpointStatus, Lease, open_host
from ragwright.errors import QualityError, RequestRejected, SourceError, Throttled, Unavailable
from ragwright.index.attempt import open_catalog
from ragwright.index.history import generations
from ragwright.index.reindex import writer_lease
from ragwright.settings import load_settings
from tasks.policies import TRANSIENT

pytestmark = pytest.mark.usefixtures("prefect_server")


def servers(home: Path) -> list[int]:
    """Model servers that run from this home."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if "ragwright.serving" in command and str(home) in command:
            found.append(process.pid)
    return found


def artifact(key: str) -> Any:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    assert found, f"no artifact {key}"
    return found[-1].data


def test_the_main_job_runs_and_leaves_nothing_behind(home: Path, faq: str, tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    lines = [
        {"id": "1", "question": "thing number 3?", "answerable": True, "gold": ["What is thing number 3?"]},
        {"id": "2", "question": "What color is my desk?", "answerable": False},
    ]
    questions.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    report = pipeline(source=faq, index="main-job", questions={"file": str(questions)})
    assert report.reindex.ledger.added == report.reindex.ledger.source_rows == 12
    assert report.evaluation is not None
    assert report.evaluation.aggregate["questions"] == 2
    assert servers(home) == []
    told = artifact("main-job-report")
    assert "## Generation 1 is live" in told
    assert "| 12 | 12 | 0 " in told
    page = home / "reports" / "main-job" / "generation-00000001.html"
    assert str(page) in told
    assert "Evaluation of main-job, generation 1" in page.read_text(encoding="utf-8")
    assert "`test-embedder` ran on this machine: nothing is billed." in told
    with open_catalog(load_settings(index="main-job")) as catalog:
        assert catalog.read_json("generations/00000001/evaluation.json")["questions"] == 2


@pytest.mark.parametrize(
    ("text", "error"),
    [("", SourceError), ("question,answer\n", SourceError), ("question,answer\nWhat?, \n", QualityError)],
)
def test_endpoints_go_away_when_the_run_fails(home: Path, tmp_path: Path, text: str, error: type[Exception]) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(text, encoding="utf-8")
    with pytest.raises(error):
        pipeline(source=str(bad), questions={"evaluate": False})
    assert servers(home) == []
    with open_catalog(load_settings()) as catalog:
        assert catalog.head().live == 0


def test_a_failed_attempt_says_why(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "hashing:64")
    bad = tmp_path / "bad.csv"
    bad.write_text("question,answer\nWhat?, \n", encoding="utf-8")
    with pytest.raises(QualityError):
        reindex(source=str(bad))
    with open_catalog(load_settings()) as catalog:
        end = catalog.read_json("generations/00000001/end.json")
    assert end is not None
    assert (end["outcome"], end["error"]["type"]) == ("failed", "QualityError")


def test_a_second_run_costs_nothing_and_the_quarantine_is_reported(
    home: Path, faq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "hashing:64")
    with open(faq, "a", encoding="utf-8") as file:
        file.write("What is blank?, \n")
    first = reindex(source=faq, index="again")
    second = reindex(source=faq, index="again")
    assert (first.embedded, second.embedded, second.written) == (12, 0, 0)
    assert (first.ledger.quarantined, second.generation) == (1, 2)
    assert "- row 12, answer: the answer shows nothing" in artifact("again-report")


@pytest.mark.long
def test_rollback_and_janitor(home: Path, faq: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "hashing:64")
    reindex(source=faq)
    Path(faq).write_text(Path(faq).read_text(encoding="utf-8") + "Is this new?,Yes it is.\n", encoding="utf-8")
    assert reindex(source=faq).ledger.added == 1
    assert rollback(reason="a test") == 1
    assert reindex(source=faq).generation == 3
    with open_host(load_settings()) as host:
        lapsed = EndpointSpec(name="lapsed", model="hashing-64", contract="tei")
        host.deploy(lapsed, Lease.lasting(owner="gone", minutes=0.02))
        time.sleep(1.5)
        assert janitor(keep=1).floor == 3
        assert host.list() == []
    with open_catalog(load_settings()) as catalog:
        assert [info.state for info in generations(catalog)] == ["live", "abandoned", "vacuumed"]


def test_teardown_says_what_it_would_do_and_touches_no_other_owner(home: Path) -> None:
    provision(minutes=5)
    settings = load_settings()
    with open_host(settings) as host:
        spec = wanted_endpoints(settings)[0].model_copy(update={"name": "somebody-elses"})
        host.deploy(spec, Lease.lasting(owner="somebody", minutes=5))
        assert teardown() == []
        assert teardown(names=["somebody-elses"], dry_run=False) == []
        assert teardown(dry_run=False) == ["test-embedder"]
        assert [info.name for info in host.list()] == ["somebody-elses"]
        host.delete("somebody-elses")
    assert servers(home) == []


def test_a_run_leaves_endpoints_alone_that_ran_before_it(home: Path, faq: str) -> None:
    provision(minutes=5)
    before = servers(home)
    pipeline(source=faq, questions={"evaluate": False})
    assert servers(home) == before != []
    assert teardown(dry_run=False) == ["test-embedder"]


def test_a_re_index_starts_the_embedder_that_it_lacks_and_stops_it(home: Path, faq: str) -> None:
    assert reindex(source=faq, index="lacking").embedded == 12
    assert servers(home) == []


def test_the_janitor_leaves_an_index_that_is_being_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "hashing:64")
    with writer_lease(load_settings(index="written")):
        assert janitor(index="written") is None


def test_provisioned_endpoints_are_in_service(home: Path) -> None:
    infos = provision(minutes=5)
    assert [(info.name, info.status) for info in infos] == [("test-embedder", EndpointStatus.IN_SERVICE)]
    assert teardown(dry_run=False) == ["test-embedder"]


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (Unavailable("away"), 2),
        (Throttled("busy", retry_after=0.1), 2),
        (Throttled("busy", retry_after=3600), 1),
        (RequestRejected("wrong"), 1),
        (ValueError("a defect"), 1),
    ],
)
def test_only_errors_that_may_pass_are_tried_again(error: Exception, calls: int) -> None:
    made = []

    @task(**(TRANSIENT | {"retries": 1, "retry_delay_seconds": 0.1}))
    def call() -> None:
        made.append(1)
        raise error

    @flow
    def once() -> None:
        call()

    with pytest.raises(type(error)):
        once()
    assert len(made) == calls
