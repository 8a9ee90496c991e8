"""What befalls Prefect befalls neither the index nor the bill: real server, real worker, real deployments."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed_flows import PATIENCE, Embedder, Faq, Index, Workplace, until
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling, Crashed, Scheduled

from ragwright.index.attempt import ReindexRequest
from ragwright.index.reindex import reindex

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with Workplace(tmp_path_factory.mktemp("prefect")) as place:
        yield place


@pytest.fixture
def ready(place: Workplace) -> Workplace:
    place.ready()
    return place


@pytest.fixture
def index(running: tuple[Faq, Embedder], tmp_path: Path) -> Index:
    return Index(tmp_path / "home", *running)


@pytest.fixture
def indexed(index: Index) -> Index:
    """Readers see version 1; the FAQ says version 2."""
    index.faq.write("v1")
    reindex(index.settings, ReindexRequest(source=index.faq.url))
    index.faq.write("v2")
    return index


@pytest.fixture
def hosted(running: tuple[Faq, Embedder], tmp_path: Path) -> Index:
    return Index(tmp_path / "home", *running, hosted=True)


def test_cancelling_takes_the_endpoints_down_and_frees_the_slot(ready: Workplace, hosted: Index) -> None:
    hosted.faq.write("v1")
    with hosted.faq.held():
        run = ready.start("pipeline", hosted)
        until(lambda: hosted.faq.waiting, lambda: ready.said)
        assert hosted.endpoints() == ["test-embedder"]
        run.change(Cancelling())
        run.reaches(StateType.CANCELLED)
    assert hosted.endpoints() == []
    assert hosted.servers() == []
    assert ready.slots("pipeline") == 0
    assert hosted.live() == 0


def test_a_killed_run_is_crashed_leaves_nothing_and_a_retry_from_the_ui_completes_it(
    ready: Workplace, hosted: Index
) -> None:
    hosted.faq.write("v1")
    with hosted.faq.held():
        run = ready.start("pipeline", hosted)
        until(lambda: hosted.faq.waiting, lambda: ready.said)
        assert hosted.servers()
        run.kill()
        run.reaches(StateType.CRASHED)
    until(lambda: not hosted.servers(), lambda: ready.said)
    assert hosted.endpoints() == []
    assert ready.slots("pipeline") == 0
    # The worker reports it once more when it is done with it, and would crash a retry that is under way by then.
    until(lambda: "prefect.flow_runs.worker - Check whether" in ready.said, lambda: ready.said)
    run.change(Scheduled(name="AwaitingRetry", message="Retry from the UI"))
    run.reaches(StateType.COMPLETED)
    assert run.count == 2
    assert hosted.shown() == {"v1"}
    assert hosted.verified()
    assert hosted.servers() == []
    assert ready.slots("pipeline") == 0


def test_a_run_ends_after_its_worker_was_killed_and_the_next_one_gets_its_slot(
    ready: Workplace, indexed: Index
) -> None:
    with indexed.embedder.held(after=4):
        run = ready.start("reindex", indexed)
        until(lambda: indexed.embedder.waiting, lambda: ready.said)
        again = ready.start("reindex", indexed)
        again.reaches(StateType.SCHEDULED, name="AwaitingConcurrencySlot")
        ready.end_worker(signal.SIGKILL)
    run.reaches(StateType.CRASHED)  # its next line of log has no reader
    assert indexed.shown() == {"v1"}
    assert ready.slots("reindex") == 0
    ready.ready()
    again.reaches(StateType.COMPLETED)
    assert indexed.shown() == {"v2"}
    assert indexed.verified()
    assert ready.slots("reindex") == 0


def test_the_slot_of_a_run_that_died_with_its_worker_is_free_when_its_lease_ends(
    ready: Workplace, indexed: Index
) -> None:
    with indexed.embedder.held(after=4):
        run = ready.start("reindex", indexed)
        until(lambda: indexed.embedder.waiting, lambda: ready.said)
        ready.end_worker(signal.SIGKILL)
        run.kill()
    assert indexed.shown() == {"v1"}
    assert run.state.is_running(), "nobody is left to say otherwise"
    assert ready.slots("reindex") == 1
    ready.ready()
    again = ready.start("reindex", indexed)
    again.reaches(StateType.SCHEDULED, name="AwaitingConcurrencySlot")
    ready.let_leases_end()
    again.reaches(StateType.COMPLETED)
    assert indexed.shown() == {"v2"}
    assert indexed.verified()
    run.change(Crashed())  # what the automation for silent runs does, or a person
    assert ready.slots("reindex") == 0


def test_a_run_goes_on_through_a_restart_of_the_server(ready: Workplace, indexed: Index) -> None:
    with indexed.embedder.held(after=4):
        run = ready.start("reindex", indexed)
        until(lambda: indexed.embedder.waiting, lambda: ready.said)
        ready.server.kill()
    ready.server.start()
    run.reaches(StateType.COMPLETED)
    assert indexed.shown() == {"v2"}
    assert indexed.verified()
    until(lambda: ready.slots("reindex") == 0)


def test_a_locked_database_delays_a_run_and_nothing_else(ready: Workplace, indexed: Index) -> None:
    with indexed.embedder.held(after=4):
        run = ready.start("reindex", indexed)
        until(lambda: indexed.embedder.waiting, lambda: ready.said)
        with contextlib.closing(sqlite3.connect(ready.server.database, timeout=30)) as other:
            other.execute("BEGIN EXCLUSIVE")
            indexed.embedder.allow(float("inf"))
            until(lambda: indexed.live() == 2)  # the index does not depend on it
            assert not run.state.is_final()
            other.rollback()
    run.reaches(StateType.COMPLETED)
    assert indexed.shown() == {"v2"}
    assert indexed.verified()
    assert ready.slots("reindex") == 0


@pytest.mark.parametrize("interrupted", [False, True], ids=["gone for good", "interrupted with the run"])
def test_without_a_server_a_run_still_takes_its_endpoints_down(
    place: Workplace, hosted: Index, interrupted: bool
) -> None:
    place.serve()
    hosted.faq.write("v1")
    command = [sys.executable, "-m", "flows.pipeline", "--source", hosted.faq.url]
    # By default a request is tried again for a minute.
    patience = {"PREFECT_CLIENT_MAX_RETRIES": "1", "PREFECT_LOGGING_TO_API_ENABLED": "false"}
    environment = place.environment | hosted.environment | patience
    log = place.folder / "flow.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=place.folder, env=environment, stdout=out, stderr=out)
    try:
        with hosted.faq.held():
            until(lambda: hosted.faq.waiting, log.read_text)
            assert hosted.servers()
            place.server.kill()
            if interrupted:  # as Ctrl-C at a terminal does, which reaches a server that was started there too
                process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 1, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert hosted.servers() == []
    assert hosted.endpoints() == []
    assert "Prefect's server cannot be reached any more" in log.read_text()
    assert hosted.shown() <= {"v1"}
