"""`ragwright demo`: one command for a newcomer, who keeps nothing running afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import RAGWRIGHT, CommandLine, Done
from prefect_on_loopback import spare_the_migration

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # seconds; models may have to be fetched first

SAMPLE = 10


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("demo"), {"RAGWRIGHT_MODEL_CACHE": str(model_cache)})


@dataclass(frozen=True)
class Watched:
    """A run, and the processes that were seen while it lasted."""

    done: Done
    seen: set[str]


@pytest.fixture(scope="module")
def watched(shell: CommandLine) -> Watched:
    seen: set[str] = set()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(shell.run_installed, "demo", "--sample", str(SAMPLE), "--json", timeout=550)
        while not run.done():
            seen.update(shell.processes())
            time.sleep(1)
        return Watched(run.result(), seen)


def test_it_reports_what_it_did_with_sample_answers(watched: Watched) -> None:
    report = watched.done.value
    ledger = report["reindex"]["ledger"]
    assert ledger["source_rows"] == ledger["added"] >= 120
    assert report["reindex"]["published"]
    results = report["evaluation"]["results"]
    assert report["evaluation"]["questions"] == len(results) == SAMPLE
    assert report["evaluation"]["hit_at_5"] > 0.5
    text = report["markdown"]
    assert "Generation 1: live" in text
    shown = [result for result in results if result["question"] in text]
    assert {result["answerable"] for result in shown} == {True, False}
    assert any(result["answer"][:40] in text for result in shown if not result["abstained"])


def test_it_leaves_no_process_behind(watched: Watched, shell: CommandLine) -> None:
    assert watched.done.code == 0
    for kind in ("flows.pipeline", "prefect.server", "ragwright.serving --name minilm-demo", "--name smollm2-demo"):
        assert any(kind in command for command in watched.seen), kind
    assert shell.processes() == []
    assert shell.run("endpoints", "ls", "--json").value == []


def test_the_index_it_made_stays(watched: Watched, shell: CommandLine) -> None:
    assert watched.done.code == 0
    written = {path.name for path in (shell.home / "catalog/faq/log").iterdir()}
    assert written == {"00000001.json"}


@pytest.mark.long
def test_an_interrupt_ends_what_was_started(tmp_path: Path) -> None:
    models = {"RAGWRIGHT_EMBEDDING__MODEL": "hashing-384", "RAGWRIGHT_GENERATION__ENDPOINT": "none"}
    shell = CommandLine(tmp_path, models)
    spare_the_migration(shell.home / "prefect")
    with (tmp_path / "log").open("wb") as log:
        command = [str(RAGWRIGHT), "demo"]
        demo = subprocess.Popen(command, cwd=tmp_path, env=shell.env, stdout=log, stderr=log, start_new_session=True)
        try:
            started = time.monotonic()
            while not any("ragwright.serving" in process for process in shell.processes()):
                assert demo.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() - started < 200
                time.sleep(0.2)
            os.killpg(demo.pid, signal.SIGINT)  # as Ctrl-C does
            assert demo.wait(timeout=200) == 130
        finally:
            demo.kill()
            demo.wait()
    assert shell.processes() == []
    said = (tmp_path / "log").read_text()
    assert "the endpoints are being stopped" in said
    assert "Traceback" not in said
