"""Two processes that re-index the same index: one wins, the other says why it did not, and readers see one source."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aftermath import shown
from effort import EFFORT
from faq_versions import Versions, read_version
from forked_runs import Run, WarmRunner

from ragwright.index.attempt import open_catalog
from ragwright.maintenance import audit_live
from ragwright.settings import Settings
from ragwright.stores import open_store

COMMAND = Path(sys.executable).with_name("ragwright")
DIMENSION = 64


def settings_of(tmp_path: Path, **writer: float) -> dict[str, Any]:
    return {
        "home": str(tmp_path / "home"),
        "embedding": {"endpoint": f"hashing:{DIMENSION}", "write_batch": 8},
        "generation": {"endpoint": "none"},
        "answering": {"calibration_rows": 10},
        "writer": writer,
    }


def versions(tmp_path: Path) -> Versions:
    return Versions(tmp_path / "versions", rows=200, chance=random.Random(9))


def assert_shows(settings: dict[str, Any], source: Path) -> None:
    tree = Settings(**settings)
    assert shown(tree) == dict(enumerate(read_version(source)))
    assert audit_live(tree, str(source)).true


def records(settings: Settings) -> dict[str, dict[str, Any]]:
    """Everything the store holds, shown or not."""
    with open_store(settings.store_spec) as store:
        return {
            record["record_id"]: record
            for space in store.spaces()
            for batch in store.scan(space)
            for record in batch.to_pylist()
        }


def until_stopped(run: Run) -> None:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline, run.said
        time.sleep(0.02)


@pytest.mark.long
def test_of_two_runs_at_once_one_publishes_and_the_other_says_why_not(tmp_path: Path, runner: WarmRunner) -> None:
    settings, sources = settings_of(tmp_path), versions(tmp_path)
    chance = random.Random(2)
    assert runner.start(settings, sources.write()).wait() == 0
    for _ in range(3 * EFFORT):
        offered = [sources.write(), sources.write()]
        first = runner.start(settings, offered[0])
        time.sleep(chance.choice([0, 0.01, 0.05, 0.2]))
        runs = [first, runner.start(settings, offered[1])]
        codes = [run.wait() for run in runs]
        assert sorted(codes) == [0, 1], [run.said for run in runs]
        loser = runs[codes.index(1)].said.splitlines()[-1]
        assert loser.startswith(("WriterBusy: ", "PublishConflict: "))
        assert "Wait for it to end" in loser or "Run again" in loser
        assert_shows(settings, offered[codes.index(0)])


@pytest.mark.long
def test_the_command_line_names_the_other_writer_and_exits_with_1(tmp_path: Path, runner: WarmRunner) -> None:
    settings, sources = settings_of(tmp_path), versions(tmp_path)
    source = sources.write()
    holder = runner.start(settings, source, stop_at=3)
    until_stopped(holder)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAGWRIGHT_")}
    environment = {"RAGWRIGHT_EMBEDDING__ENDPOINT": f"hashing:{DIMENSION}", "RAGWRIGHT_GENERATION__ENDPOINT": "none"}
    command = [COMMAND, "reindex", "--source", source, "--home", settings["home"]]
    other = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=False)
    assert (other.returncode, other.stdout) == (1, "")
    assert f"error: run {holder.name} on " in other.stderr
    assert f"process {holder.pid}, writes this index until" in other.stderr
    assert "next:  Wait for it to end, or stop it; then run again." in other.stderr
    holder.signal(signal.SIGCONT)
    assert holder.wait() == 0, holder.said
    assert_shows(settings, source)


@pytest.mark.long
def test_a_writer_that_was_stopped_beyond_its_lease_sends_nothing_more(tmp_path: Path, runner: WarmRunner) -> None:
    settings, sources = settings_of(tmp_path), versions(tmp_path)
    assert runner.start(settings, sources.write()).wait() == 0
    stale, fresh = sources.write(), sources.write()
    stopped = runner.start(settings_of(tmp_path, lease_seconds=8), stale, stop_at=4)
    until_stopped(stopped)
    refused = 0
    while (second := runner.start(settings, fresh)).wait():
        assert second.said.splitlines()[-1].startswith("WriterBusy: "), second.said
        refused += 1
        time.sleep(0.5)
    assert refused, "the lease of a stopped process stands until it lapses"
    before = records(Settings(**settings))
    stopped.signal(signal.SIGCONT)
    assert stopped.wait() == 1
    assert stopped.said.splitlines()[-1].startswith(("LeaseLost: ", "PublishConflict: "))
    assert records(Settings(**settings)) == before
    with open_catalog(Settings(**settings)) as catalog:
        assert [entry.generation for entry in catalog.head().entries] == [1, max(catalog.attempts())]
    assert_shows(settings, fresh)
    assert runner.start(settings, stale).wait() == 0
    assert_shows(settings, stale)
