"""The benchmarks' own arithmetic, and that what the README shows is what was measured."""

from __future__ import annotations

import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> object:
    """Import a module of benchmarks/ as its scripts do."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def module(name: str) -> ModuleType:
        return importlib.import_module(name)

    return module


def test_the_readme_shows_what_was_measured(named):
    table = named("table")
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table.filled(page, table.table(named("suite").RESULTS)) == page, "run python benchmarks/table.py"


def test_the_table_stands_between_its_markers_and_can_be_made_again(named):
    table = named("table")
    page = "a\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nb\n"
    once = table.filled(page, "| new |")
    assert "old" not in once
    assert "| new |" in once
    assert once.startswith("a\n")
    assert once.endswith("\nb\n")
    assert table.filled(once, "| new |") == once
    with pytest.raises(SystemExit, match="bench:begin"):
        table.filled("no markers", "| new |")


def test_a_ratio_is_that_of_the_pairs_taken_by_turns(named):
    comparison = named("comparison")
    faster = comparison.Comparison("x", "s", (1.0, 2.0), "y", (10.0, 30.0))
    share = comparison.Comparison("x", "s", (1.0, 2.0), "y", (10.0,), direction="share")
    assert faster.ratios == (10.0, 15.0)
    assert share.ratios == (0.1, 0.2)


@pytest.mark.parametrize(
    ("promise", "value", "missed"),
    [("at least", 5, False), ("at least", 5.01, True), ("at most", 5, False), ("at most", 4.99, True)],
)
def test_a_missed_target_stands_in_the_table(named, promise, value, missed):
    comparison = named("comparison")
    target = comparison.Target(promise, value)
    found = comparison.Comparison("x", "s", (2.0,), "y", (10.0,), target=target)
    assert found.missed == missed
    assert ("**missed**" in found.row()) == missed


def test_a_peer_that_failed_is_shown_and_breaks_no_promise(named):
    comparison = named("comparison")
    target = comparison.Target("at least", 1)
    found = comparison.Comparison("x", "s", (2.0,), "y", target=target, failed="it exited 1")
    assert not found.missed
    assert "failed: it exited 1" in found.row()
    assert "no figure" in found.row()


def test_what_is_written_is_read_again(named, tmp_path):
    comparison = named("comparison")
    found = [
        comparison.Comparison("x", "s", (1.0, 2.0), "y", (3.0,), target=comparison.Target("at most", 2)),
        comparison.Comparison("z", "MiB", (1.0,), "y", failed="it exited 1", direction="share"),
    ]
    path = comparison.write(tmp_path, "first", {"rows": 3}, found)
    about, again = comparison.read(path)
    assert again == found
    assert about["conditions"] == {"rows": 3}
    table = named("table").table
    assert all(one.row() in table(tmp_path, whole=True) for one in found)
    assert [one.row() in table(tmp_path) for one in found] == [True, False], "the README shows what has a target"


@pytest.fixture
def small(named, tmp_path) -> object:
    """A setup of twenty rows."""
    source = tmp_path / "faq.jsonl"
    source.write_text("".join(f'{{"question": "Q{n}?", "answer": "A{n}."}}\n' for n in range(20)))
    sizes = {"rows": 20, "large_rows": 0, "memory_rows": [], "records": [], "encoder_rows": 1, "dask_rows": 1}
    limits = {"repeats": 3, "patience": 100, "peer_limit": 60}
    folders = {"work": tmp_path, "peers": tmp_path / "peers", "cache": tmp_path}
    return named("contenders").Setup(source=source, **sizes, **limits, **folders)


def test_a_peer_that_fails_is_a_row_and_is_not_asked_again(named, small):
    contenders, failed = named("contenders"), named("processes").Failed
    asked = []

    def broken() -> dict[str, object]:
        asked.append(1)
        raise failed("exit 1: it has no such option")

    works = {contenders.RAGWRIGHT: lambda: {"seconds": 1.0}, contenders.LANGCHAIN: broken}
    passes = contenders.by_turns(small, works)
    assert len(asked) == 1
    assert len(passes[contenders.RAGWRIGHT]) == 3
    (row,) = named("reindexing").compared("x", passes, named("reindexing").FIRST)
    assert "exit 1: it has no such option" in row.row()
    assert row.ours == (1.0, 1.0, 1.0)
    with pytest.raises(failed):
        contenders.by_turns(small, {contenders.RAGWRIGHT: broken})


def test_a_peer_that_takes_long_is_not_asked_again(named, small):
    contenders = named("contenders")
    everyone = (contenders.RAGWRIGHT, contenders.LANGCHAIN)
    passes = contenders.by_turns(small, dict.fromkeys(everyone, lambda: {"seconds": 101.0}))
    assert [len(passes[one]) for one in everyone] == [3, 1]


def test_peers_without_an_environment_are_rows(named, small, monkeypatch):
    contenders, failed = named("contenders"), named("processes").Failed
    tried = []

    def unmade(folder: Path) -> Path:
        tried.append(folder)
        raise failed("exit 2: no route to the index")

    monkeypatch.setattr(contenders, "peer_python", unmade)
    for peer in (contenders.LANGCHAIN, contenders.LLAMAINDEX):
        found = contenders.attempt(peer, lambda peer=peer: peer.index(small, "faq.jsonl", small.work / "state"))
        assert found == "the peers' environment: exit 2: no route to the index"
    assert len(tried) == 1


def test_an_index_that_a_killed_run_left_is_made_anew(named, small, monkeypatch):
    contenders = named("contenders")
    sources, passes = small.sources(20), []

    def run(python: str, script: str, *given: str, **_: object) -> dict[str, object]:
        state = Path(given[given.index("--state") + 1])
        passes.append((Path(given[given.index("--source") + 1]).stem, state.exists()))
        state.mkdir(exist_ok=True)
        return {"seconds": 1.0, "cpu_seconds": 1.0, "peak_mb": 1}

    monkeypatch.setattr(contenders, "run", run)
    contenders.RAGWRIGHT.ready(small, sources)
    contenders.RAGWRIGHT.settle(small, sources, "changed")
    contenders.RAGWRIGHT.ready(small, sources)  # this run's own doing: brought back
    assert passes == [("original", False), ("changed", True), ("original", True)]
    contenders.RAGWRIGHT.settle(small, sources, "changed")
    small.moved.clear()  # as in the next process
    contenders.RAGWRIGHT.ready(small, sources)
    contenders.RAGWRIGHT.ready(small, sources)
    assert passes[3:] == [("changed", True), ("original", False)]


def test_a_failed_process_says_why_in_one_line_without_a_path(named):
    processes = named("processes")
    fails = "import sys; sys.exit('cannot open /home/someone/bench/faq.jsonl | twice')"
    with pytest.raises(processes.Failed, match=r"exit 1: cannot open faq\.jsonl / twice"):
        processes.output_of([sys.executable, "-S", "-c", fails], accepted=(0,))
    with pytest.raises(processes.Failed, match="SIGKILL"):
        processes.output_of([sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 9)"])
    with pytest.raises(processes.Failed, match="no end within 1 s"):
        processes.output_of([sys.executable, "-S", "-c", "import time; time.sleep(60)"], limit=1)


SERVER = """
import os, socket
listening = socket.create_server(("127.0.0.1", 0))
with open("port.new", "w") as file:
    file.write(str(listening.getsockname()[1]))
os.rename("port.new", "port")
listening.settimeout(60)
listening.accept()
"""
WITH_SERVER = """
import subprocess, sys, time, processes
processes.unwind_on_sigterm()
server = subprocess.Popen([sys.executable, "-S", "-c", sys.argv[1]], start_new_session=True)
try:
    time.sleep(60)
finally:
    time.sleep(0.3)  # as a server that drains: more than is left to one that is killed with its parent
    server.kill()
    server.wait()
"""
SUITE = """
import sys, processes
processes.unwind_on_sigterm()
processes.output_of([sys.executable, "-S", "-c", *sys.argv[1:]])
"""


@pytest.mark.parametrize("to_all", [False, True], ids=["suite", "group"])
def test_a_suite_that_is_told_to_end_lets_its_children_take_their_servers_down(tmp_path, to_all):
    command = [sys.executable, "-S", "-c", SUITE, WITH_SERVER, SERVER]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "benchmarks")}
    suite = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "port").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    port = int((tmp_path / "port").read_text())
    (os.killpg if to_all else os.kill)(suite.pid, signal.SIGTERM)
    assert suite.wait(timeout=20) == 128 + signal.SIGTERM
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_process_that_will_not_end_is_killed(named, monkeypatch):
    processes = named("processes")
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.2)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    begun = time.monotonic()
    with pytest.raises(processes.Failed, match="no end within 0 s"):
        processes.output_of([sys.executable, "-S", "-c", stubborn], limit=0.4)
    assert time.monotonic() - begun < 30


def test_a_benchmark_that_fails_leaves_the_others_to_be_measured(named, small, monkeypatch):
    suite, comparison, processes = named("suite"), named("comparison"), named("processes")

    def fails(setup: object) -> list[object]:
        raise processes.Failed("it did not publish")

    def works(setup: object) -> list[object]:
        return [comparison.Comparison("x", "s", (3.0,), "y", (1.0,), target=comparison.Target("at least", 1))]

    monkeypatch.setattr(suite, "benchmark", {"first": fails, "query": works}.__getitem__)
    missed, failed = suite.measure(small, ["first", "query"], small.work / "results")
    assert failed == ["first: it did not publish"]
    assert len(missed) == 1
    assert [path.name for path in (small.work / "results").iterdir()] == ["query.json"]
    assert (suite.ended(small, "first"), suite.ended(small, "query")) == (False, True)
    small.repeats = 4
    assert not suite.ended(small, "query"), "other conditions"


def test_figures_hold_no_path_of_a_machine(named):
    for path in named("suite").RESULTS.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(home|root|tmp|work|Users|mnt)/", text), path.name


def test_peers_are_locked_as_they_are_asked_for(named):
    environment = named("peer_environment")
    locked = environment.LOCKED.read_text(encoding="utf-8")
    for wanted in environment.peer_versions():
        assert f"\n{wanted.lower()} \\\n" in locked, f"{wanted}: run make lock"
    assert "--hash=sha256:" in locked
    assert "http" not in "".join(line for line in locked.splitlines() if line.startswith("-"))


def test_every_benchmark_can_be_run_and_is_explained(named):
    suite = named("suite")
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name in suite.BENCHMARKS:
        assert callable(suite.benchmark(name))
        assert f"| `{name}` |" in page


def test_what_is_timed_of_a_reindex_are_stages_that_it_has(named, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "peers"))
    reindexing = named("ragwright_reindex")
    for name in reindexing.STAGES:
        assert callable(getattr(reindexing.stages, name))


@pytest.mark.long
def test_the_suite_runs_to_its_end_where_no_peer_can(named, tmp_path):
    (tmp_path / "peers").write_text("not a folder")
    folders = [f"--{name}={tmp_path / name}" for name in ("work", "results", "peers", "cache")]
    command = [sys.executable, str(ROOT / "benchmarks" / "suite.py"), *folders, "--tiny", "--rows=40"]
    command += ["first", "unchanged", "changed", "memory", "query"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr[-2_000:]
    results = {path.stem: named("comparison").read(path)[1] for path in (tmp_path / "results").iterdir()}
    assert set(results) == {"first", "unchanged", "changed", "memory", "query"}
    peers = [one for one in results["unchanged"] if "LangChain" in one.beside]
    assert all(one.ours and not one.theirs for one in peers)
    assert "failed: the peers' environment: exit" in peers[0].row()
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "results").iterdir())
    shown = named("table").table(tmp_path / "results")
    assert shown.count("failed: the peers' environment") == sum(
        1 for found in results.values() for one in found if one.target and not one.theirs
    )
