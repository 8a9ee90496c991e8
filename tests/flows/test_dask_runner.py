"""A re-index on Dask's workers: the same index as on threads, whatever befalls a worker."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import yaml
from deployed_flows import ROOT, Embedder, Faq, Index, until
from distributed import LocalCluster

from flows.reindex import reindex
from ragwright.errors import ConfigurationError, LeaseLost
from ragwright.index.attempt import manifest_of, open_catalog
from ragwright.stores import open_store
from tasks.workers import AT_ONCE

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect_server", "cheap_validation")]
ROWS = 12
KEY = "sk-of-a-test"


@pytest.fixture
def index(running: tuple[Faq, Embedder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Two partitions of six rows, each written in two batches."""
    index = Index(tmp_path / "home", *running)
    for name, value in index.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAGWRIGHT_SOURCE__PARTITION_ROWS", "6")
    monkeypatch.setenv("RAGWRIGHT_WRITER__LEASE_SECONDS", "60")
    monkeypatch.chdir(tmp_path)
    index.faq.write("v1", rows=ROWS)
    return index


@pytest.fixture(scope="module")
def scheduler() -> Iterator[LocalCluster]:
    """A cluster that runs already. Its one worker is a thread, which has nothing to import."""
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
    ) as cluster:
        yield cluster


@pytest.fixture
def at_address(index: Index, scheduler: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setenv("RAGWRIGHT_TASK_RUNNER", "dask")
    monkeypatch.setenv("RAGWRIGHT_DASK__ADDRESS", scheduler.scheduler_address)
    return index


def records(index: Index) -> dict[str, tuple[object, ...]]:
    """What readers see, by chunk, with vectors; and that the manifest says the same."""
    with open_catalog(index.settings) as catalog, open_store(index.settings.store_spec) as store:
        head = catalog.head().last
        assert head is not None
        found = [row for batch in store.scan(head.space, as_of=head.generation) for row in batch.to_pylist()]
        listed = manifest_of(catalog, head.generation)["chunk_id"].to_pylist()
    seen = {row.pop("chunk_id"): tuple((name, str(value)) for name, value in sorted(row.items())) for row in found}
    assert sorted(listed) == sorted(seen)
    assert len(found) == len(seen)
    return seen


def workers() -> list[psutil.Process]:
    """Processes of a cluster that runs in this one."""
    return [child for child in psutil.Process().children() if "multiprocessing.spawn" in " ".join(child.cmdline())]


def embedding(embedder: Embedder) -> list[psutil.Process]:
    """Those of them that wait for an answer of the embedder."""
    port = urlsplit(embedder.url).port
    return [w for w in workers() if any(c.raddr and c.raddr.port == port for c in w.net_connections("inet"))]


def test_threads_take_a_bounded_number_of_portions_at_a_time(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_SOURCE__PARTITION_ROWS", "1")
    at_once: list[int] = []

    def chunked() -> int:
        with open_catalog(index.settings) as catalog:
            return len(catalog.names("generations/00000001/chunks"))

    def hold() -> None:
        while chunked() < ROWS:  # the plan comes next, and then the stage that embeds
            time.sleep(0.01)
        with index.embedder.held(after=0):
            until(lambda: index.embedder.waiting >= AT_ONCE)
            for _ in range(10):
                at_once.append(index.embedder.waiting)
                time.sleep(0.05)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    assert reindex(source=index.faq.url).embedded == ROWS
    holder.join()
    assert max(at_once) == AT_ONCE < ROWS


def test_a_worker_killed_in_the_middle_changes_nothing_about_the_index(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reindex(source=index.faq.url)
    on_threads = records(index)
    on_dask = replace(index, home=tmp_path / "other")
    monkeypatch.setenv("RAGWRIGHT_HOME", "other")  # relative: workers must not depend on where they start
    monkeypatch.setenv("RAGWRIGHT_TASK_RUNNER", "dask")
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__API_KEY", KEY)
    killed: list[int] = []
    listening: set[str] = set()

    def kill_one() -> None:
        until(lambda: len(embedding(index.embedder)) == 2)
        for process in (psutil.Process(), *workers()):
            listening.update(c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN)
        victim = embedding(index.embedder)[0]
        victim.kill()
        killed.append(victim.pid)
        index.embedder.allow(float("inf"))

    with index.embedder.held(after=6):
        killer = threading.Thread(target=kill_one)
        killer.start()
        report = reindex(source=index.faq.url)
        killer.join()
    assert len(killed) == 1
    assert listening == {"127.0.0.1"}
    assert report.embedded == report.written == ROWS
    assert records(on_dask) == on_threads
    assert on_dask.verified()
    assert workers() == []
    assert KEY not in "".join(capfd.readouterr())


def test_a_running_cluster_is_named_by_its_address(at_address: Index) -> None:
    assert reindex(source=at_address.faq.url).embedded == ROWS
    assert at_address.verified()
    assert reindex(source=at_address.faq.url).embedded == 0


def test_workers_stop_when_another_writer_has_taken_over(at_address: Index) -> None:
    def take_over() -> None:
        until(lambda: at_address.embedder.waiting)
        with open_catalog(at_address.settings) as catalog:
            catalog.create("writer/00000002.json", b'{"expires_at": "2000-01-01T00:00:00+00:00"}')
        at_address.embedder.allow(float("inf"))

    with at_address.embedder.held(after=4):
        taker = threading.Thread(target=take_over)
        taker.start()
        with pytest.raises(LeaseLost, match="epoch 1"):
            reindex(source=at_address.faq.url)
        taker.join()
    assert at_address.live() == 0


def test_a_store_in_memory_is_refused(at_address: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_STORE", "memory:faq")
    with pytest.raises(ConfigurationError, match="'memory:faq', which Dask's workers would not share"):
        reindex(source=at_address.faq.url)


def test_the_image_has_the_commands_that_dasks_own_tools_start(tmp_path: Path) -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    made = next(line.removeprefix("RUN ") for line in lines if line.startswith("RUN for role in"))
    (tmp_path / "bin").mkdir()
    environment = {**os.environ, "VIRTUAL_ENV": str(tmp_path)}
    subprocess.run(["sh", "-c", made], env=environment, check=True)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for role in ("scheduler", "worker"):
        command = [tmp_path / "bin" / f"dask-{role}", "--help"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert f"dask {role}" in done.stdout


def test_kubernetes_gets_one_image_and_the_address_that_the_docs_name() -> None:
    cluster = yaml.safe_load((ROOT / "deploy" / "dask_on_kubernetes.yaml").read_text(encoding="utf-8"))
    place, roles = cluster["metadata"], ("scheduler", "worker")
    pods = [cluster["spec"][role]["spec"]["containers"][0] for role in roles]
    assert len({pod["image"] for pod in pods}) == 1
    assert [pod["args"][:2] for pod in pods] == [["dask", role] for role in roles]
    port = cluster["spec"]["scheduler"]["service"]["ports"][0]["port"]
    address = f"tcp://{place['name']}-scheduler.{place['namespace']}.svc.cluster.local:{port}"
    assert address in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def test_a_missing_extra_is_named(at_address: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'ragwright\[dask\]'"):
        reindex(source=at_address.faq.url)
