"""What a run shows of itself: one report, whatever became of it, and bars that end where the work ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import Flow, flow, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort

from flows.pipeline import pipeline
from flows.reindex import reindex
from ragwright.errors import SourceError
from ragwright.progress import Progress
from tasks import progress as progress_module
from tasks.portions import Portion, portions
from tasks.progress import portion_progress, progress_artifact, shared_progress

pytestmark = pytest.mark.usefixtures("prefect_server")


def artifacts(prefix: str) -> list[Artifact]:
    """Those whose key begins so, oldest first."""
    with get_client(sync_client=True) as client:
        of_index = ArtifactFilter(key=ArtifactFilterKey(like_=f"{prefix}%"))
        newest_first = client.read_artifacts(artifact_filter=of_index, sort=ArtifactSort.CREATED_DESC)
    return newest_first[::-1]


def told(key: str) -> Artifact:
    """The only one."""
    (found,) = artifacts(key)
    return found


@task
def work(key: str, steps: Callable[[Progress], None]) -> None:
    with progress_artifact(key, "Doing it") as progress:
        steps(progress)


@flow
def working(key: str, steps: Callable[[Progress], None]) -> None:
    work(key, steps)


def test_a_run_of_several_flows_has_one_report(home: Path, faq: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "hashing:64")
    pipeline(source=faq, index="one-report", questions={"evaluate": False})
    kinds = [(artifact.key, artifact.type) for artifact in artifacts("one-report-")]
    assert [key for key, kind in kinds if kind != "progress"] == ["one-report-report"]
    bars = [artifact for artifact in artifacts("one-report-") if artifact.type == "progress"]
    assert [artifact.key for artifact in bars] == [
        f"one-report-{stage}" for stage in ("validation", "chunk", "embed-and-write", "writing", "calibration", "gate")
    ]
    assert all(artifact.data == 100 for artifact in bars)
    assert bars[2].description == "Embed and write"
    # Of the run and not of a task: its page shows these first.
    assert [artifact.task_run_id is None for artifact in artifacts("one-report-report")] == [True]


@pytest.mark.parametrize(
    ("run", "parameters"), [(pipeline, {"questions": {"evaluate": False}}), (reindex, {})], ids=["pipeline", "reindex"]
)
def test_a_run_that_fails_reports_why(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Flow[..., Any], parameters: dict[str, Any]
) -> None:
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "hashing:64")
    bad, index = tmp_path / "bad.csv", f"fails-{run.name}"
    bad.write_text("question,answer\n", encoding="utf-8")
    with pytest.raises(SourceError):
        run(source=str(bad), index=index, **parameters)
    report = told(f"{index}-report")
    assert report.description == "The run failed"
    assert "**SourceError**" in str(report.data)
    assert "**Readers see nothing yet**" in str(report.data)
    assert "Stopped by SourceError." in str(told(f"{index}-validation").description)


def test_a_bar_is_moved_once_a_second_however_fast_the_work_is(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []

    def count(shown: UUID, percent: float, said: str) -> None:
        moved.append((percent, said))
        update_progress_artifact(shown, percent, said)

    monkeypatch.setattr(progress_module, "update_progress_artifact", count)

    def steps(progress: Progress) -> None:
        end = time.monotonic() + 2.5
        done = 0
        while time.monotonic() < end:
            progress("texts", done := min(done + 1, 999), 1_000)
            time.sleep(0.001)

    working("bar-fast", steps)
    assert len(moved) <= 4
    assert moved[-1] == (100.0, "Doing it")
    assert told("bar-fast").data == 100


def test_portions_that_are_worked_on_side_by_side_share_a_bar() -> None:
    together, looked = threading.Barrier(2), threading.Event()

    def half_way() -> bool:
        return [(bar.data, bar.description) for bar in artifacts("bar-shared")] == [(50, "Taking; partitions: 2 of 4")]

    @task
    def take(portion: Portion) -> None:
        with portion_progress(portion) as progress:
            progress("texts", 1, 2)
            together.wait(60)
            end = time.monotonic() + 60
            while not looked.is_set():
                if half_way():
                    looked.set()
                assert time.monotonic() < end
                time.sleep(0.1)

    @flow
    def taking() -> None:
        with shared_progress("bar-shared", "Taking", partitions=4):
            take.map(portions(4, at_most=2)).result()

    taking()
    assert (told("bar-shared").data, told("bar-shared").description) == (100, "Taking")


def test_a_bar_that_stops_half_way_says_so() -> None:
    def steps(progress: Progress) -> None:
        progress("texts", 430, 1_000)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        working("bar-stopped", steps)
    bar = told("bar-stopped")
    assert (bar.data, bar.description) == (43, "Doing it; texts: 430 of 1,000. Stopped by ValueError.")


def test_without_a_total_a_bar_tells_how_many() -> None:
    def steps(progress: Progress) -> None:
        progress("rows_read", 12_000, None)
        raise ValueError("look")

    with pytest.raises(ValueError, match="look"):
        working("bar-endless", steps)
    bar = told("bar-endless")
    assert bar.data == 0
    assert str(bar.description).startswith(r"Doing it; rows\_read: 12,000.")


def test_a_server_that_shows_no_bar_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("nobody is there")

    monkeypatch.setattr(progress_module, "create_progress_artifact", refuse)
    with caplog.at_level(logging.WARNING):
        working("bar-unseen", lambda progress: progress("texts", 1, 2))
    warnings = [record.getMessage() for record in caplog.records if "is not shown" in record.getMessage()]
    assert warnings == ["progress of 'Doing it' is not shown: nobody is there"]
    assert artifacts("bar-unseen") == []


def test_a_server_that_hangs_does_not_hold_up_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def hang(*args: Any, **more: Any) -> object:
        answered.wait(60)
        return create_progress_artifact(*args, **more)

    monkeypatch.setattr(progress_module, "create_progress_artifact", hang)
    monkeypatch.setattr(progress_module, "_LAST_SECONDS", 0.2)
    started = time.monotonic()
    working("bar-hanging", lambda progress: progress("texts", 1, 2))
    took = time.monotonic() - started
    answered.set()
    assert took < 30
