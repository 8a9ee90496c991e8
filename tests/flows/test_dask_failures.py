"""What ends a run on Dask ends it soon and says what to do; readers notice nothing, and the next run converges."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import pytest
from dask_processes import DaskProcesses, dask_processes
from deployed_flows import Embedder, Faq, Index, until
from own_mounts import own_mounts
from test_dask_runner import ROWS, embedding

from flows.reindex import reindex
from ragwright.errors import ConfigurationError, Unavailable, WriterBusy
from ragwright.index.attempt import open_catalog
from ragwright.index.lease import SKEW
from ragwright.index.reindex import ReindexReport
from ragwright.index.writing import acknowledged

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect_server", "cheap_validation")]
LEASE_SECONDS = 8
"""The least that there is: what workers may still be writing outlives a run that lost them by so much."""


@pytest.fixture
def index(running: tuple[Faq, Embedder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Readers see v1; the source is at v2 in two partitions, each of which is written in two batches."""
    index = Index(tmp_path / "home", *running)
    settings = index.environment | {
        "RAGWRIGHT_SOURCE__PARTITION_ROWS": "6",
        "RAGWRIGHT_WRITER__LEASE_SECONDS": str(LEASE_SECONDS),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    index.faq.write("v1", rows=ROWS)
    reindex(source=index.faq.url)
    index.faq.write("v2", rows=ROWS)
    monkeypatch.setenv("RAGWRIGHT_TASK_RUNNER", "dask")
    monkeypatch.setenv("RAGWRIGHT_DASK__SILENCE_SECONDS", "12")  # the scheduler is silent while it imports, too
    return index


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[DaskProcesses]:
    with dask_processes(tmp_path / "dask") as processes:
        yield processes


def fails_while_held(index: Index, event: Callable[[], object]) -> tuple[Unavailable, float]:
    """Re-index, and let something happen in the middle; the error that ends the run, and how many seconds later."""

    happened: list[float] = []

    def in_the_middle() -> bool:
        if not (some := written(index, 2) > 0):
            index.embedder.allow(1)  # one request more
        return some

    def happen() -> None:
        until(in_the_middle)
        until(lambda: index.embedder.waiting)
        event()
        happened.append(time.monotonic())

    with index.embedder.held(after=0):
        threading.Thread(target=happen, daemon=True).start()
        with pytest.raises(Unavailable) as failure:
            reindex(source=index.faq.url)
    assert happened, failure.value
    took = time.monotonic() - happened[0]
    assert index.live() == 1
    assert index.shown() == {"v1"}
    return failure.value, took


def written(index: Index, generation: int) -> int:
    """How many records the store has acknowledged."""
    with open_catalog(index.settings) as catalog:
        return len(acknowledged(catalog, generation))


def converges(index: Index, monkeypatch: pytest.MonkeyPatch) -> ReindexReport:
    """The next run, on threads, once the lost workers' right to write has lapsed."""
    monkeypatch.setenv("RAGWRIGHT_TASK_RUNNER", "threads")
    deadline = time.monotonic() + LEASE_SECONDS + SKEW.total_seconds() + 5
    while True:
        try:
            report = reindex(source=index.faq.url)
            break
        except WriterBusy as busy:
            assert time.monotonic() < deadline
            time.sleep(busy.retry_after or 0)
    assert index.shown() == {"v2"}
    assert index.verified()
    return report


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP], ids=lambda how: how.name)
def test_a_scheduler_that_goes_away_or_freezes_ends_the_run_and_the_next_one_converges(
    index: Index, processes: DaskProcesses, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    address, scheduler = processes.scheduler()
    worker = processes.worker(address)
    monkeypatch.setenv("RAGWRIGHT_DASK__ADDRESS", address)
    error, took = fails_while_held(index, lambda: scheduler.send_signal(how))
    assert took < 60
    assert str(error).startswith(f"{address}: Dask's scheduler ")
    assert "Run again" in str(error)
    assert error.__cause__ or how == signal.SIGSTOP
    worker.kill()
    assert converges(index, monkeypatch).embedded <= ROWS - 4


def test_a_run_whose_last_worker_is_gone_ends(
    index: Index, processes: DaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = processes.scheduler()
    worker = processes.worker(address)
    monkeypatch.setenv("RAGWRIGHT_DASK__ADDRESS", address)
    monkeypatch.setenv("RAGWRIGHT_DASK__START_TIMEOUT_SECONDS", "15")
    error, took = fails_while_held(index, worker.kill)
    assert 10 < took < 60
    assert str(error).startswith(
        f"{address}: Dask has lost its last worker, and has had no other for 15 s Start workers"
    )


def test_a_portion_that_kills_its_workers_again_and_again_is_given_up(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGWRIGHT_DASK__WORKERS", "1")
    killed: set[int] = set()

    def kill_two() -> None:
        while len(killed) < 2:
            for worker in embedding(index.embedder):
                worker.kill()
                killed.add(worker.pid)
            time.sleep(0.1)
        index.embedder.allow(float("inf"))

    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        error, _ = fails_while_held(index, kill_two)
    assert str(error) == (
        "the cluster on this machine: one portion ended 2 of Dask's workers Most often memory is short: give workers "
        "more, or lower source.partition_rows. Then run again."
    )
    assert type(error.__cause__).__name__ == "KilledWorker"
    assert converges(index, monkeypatch).embedded <= ROWS - 4


def test_workers_of_another_version_are_named_before_anything_is_done(
    index: Index, processes: DaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = tmp_path / "older" / "ragwright-0.0.9.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: ragwright\nVersion: 0.0.9\n")
    address, _ = processes.scheduler()
    processes.worker(address, environment={"PYTHONPATH": str(older.parent)})
    monkeypatch.setenv("RAGWRIGHT_DASK__ADDRESS", address)
    with pytest.raises(ConfigurationError) as failure:
        reindex(source=index.faq.url)
    found = str(failure.value)
    assert found.startswith(f"{address}: Dask's processes have other versions than the flow: tcp://127.0.0.1:")
    assert ": ragwright 0.0.9 for 0.1.0 Start scheduler and workers from the image" in found
    assert index.shown() == {"v1"}


def test_a_worker_that_does_not_see_the_folders_is_named(
    index: Index, processes: DaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide = ("sh", "-c", f'mount -t tmpfs none "{index.home}" && exec "$@"', "sh")
    address, _ = processes.scheduler()
    processes.worker(address, prefix=(*own_mounts(), *hide))
    monkeypatch.setenv("RAGWRIGHT_DASK__ADDRESS", address)
    with pytest.raises(ConfigurationError) as failure:
        reindex(source=index.faq.url)
    found = str(failure.value)
    assert found.startswith(f"{address}: Dask's workers do not reach the index: tcp://127.0.0.1:")
    assert f"catalog '{index.home}/catalog': index 'faq': generation 2 is unknown" in found
    assert "The catalog goes to S3" in found
    assert index.shown() == {"v1"}


def test_a_scheduler_without_workers_is_not_waited_for_for_ever(
    index: Index, processes: DaskProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = processes.scheduler()
    monkeypatch.setenv("RAGWRIGHT_DASK__ADDRESS", address)
    monkeypatch.setenv("RAGWRIGHT_DASK__START_TIMEOUT_SECONDS", "2")
    with pytest.raises(Unavailable, match=f"{address}: Dask has no worker to offer within 2 s: "):
        reindex(source=index.faq.url)
    assert index.shown() == {"v1"}


@pytest.mark.parametrize("listens", [True, False])
def test_an_address_where_no_scheduler_answers_is_not_waited_for_for_ever(
    index: Index, monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    monkeypatch.setenv("RAGWRIGHT_DASK__START_TIMEOUT_SECONDS", "0.5")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        if not listens:
            silent.close()
        monkeypatch.setenv("RAGWRIGHT_DASK__ADDRESS", address)
        began = time.monotonic()
        with pytest.raises(Unavailable) as failure:
            reindex(source=index.faq.url)
    assert str(failure.value).startswith(f"{address}: Dask has no worker to offer within 0.5 s: ")
    assert time.monotonic() - began < 60
    assert index.shown() == {"v1"}


@pytest.mark.parametrize("address", ["tcp://nowhere", "tls://127.0.0.1:8786"])
def test_an_address_that_cannot_be_used_is_said_so(index: Index, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAGWRIGHT_DASK__ADDRESS", address)
    with pytest.raises(
        ConfigurationError, match=f"dask.address is '{address}': .* It is tcp://HOST:PORT; tls:// needs"
    ):
        reindex(source=index.faq.url)
