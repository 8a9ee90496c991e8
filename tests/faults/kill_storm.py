"""A storm of SIGKILLs over re-indexing processes, while the source changes and another process reads."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from aftermath import compare, leftovers
from embedding_account import EmbeddingAccount
from faq_versions import Versions
from forked_runs import Run, WarmRunner
from watching_reader import DIMENSION, WatchingReader

from ragwright.index.attempt import open_catalog
from ragwright.index.catalog import folder
from ragwright.settings import Settings

COMMAND = Path(sys.executable).with_name("ragwright")
ROWS = 160
BATCH = 3
_UNDISTURBED_EVERY = 6


@dataclass
class Storm:
    """What a storm did and found."""

    kills: Counter[str] = field(default_factory=Counter)  # by where the run was
    command_kills: int = 0
    runs: int = 0
    generations: int = 0
    embedded: int = 0
    acknowledged: int = 0
    reader: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "kills": self.kills.total(),
            "of the command line": self.command_kills,
            "killed while": dict(self.kills.most_common()),
            "runs": self.runs,
            "generations published": self.generations,
            "texts embedded": self.embedded,
            "of them acknowledged": self.acknowledged,
            "readings": self.reader["scans"] + self.reader["searches"],
            "generations read": len(self.reader["generations"]),
            "violations": self.violations,
            "seconds": round(self.seconds, 1),
        }


def raise_storm(
    place: Path,
    runner: WarmRunner,
    *,
    kills: int,
    commands: int,
    seed: int,
    told: Callable[[Storm], object] = lambda _: None,
) -> Storm:
    """Kill runs until so many were killed; let one end in peace; look at what is left.

    Args:
        place: A folder for everything.
        runner: Forks the runs that are no commands.
        kills: How many; runs that end before the signal reaches them do not count.
        commands: How many of them are real `ragwright reindex` commands.
        seed: Of the source's changes and the moments of the kills.
        told: Called after each kill.
    """
    started = time.monotonic()
    index = StormedIndex(place, runner, random.Random(seed))
    index.run()
    with WatchingReader(index.home) as reader:
        index.rage(kills, commands, told)
        index.run()
        index.storm.reader = reader.stop()
    index.judge(place / "scratch")
    index.storm.seconds = time.monotonic() - started
    return index.storm


class StormedIndex:
    """An index in a folder, its changing source, and the ways in which runs over it are killed."""

    def __init__(self, place: Path, runner: WarmRunner, chance: random.Random) -> None:
        self.home = place / "home"
        self.storm = Storm()
        self._settings = {
            "home": str(self.home),
            "embedding": {"endpoint": f"hashing:{DIMENSION}", "write_batch": BATCH},
            "generation": {"endpoint": "none"},
            "answering": {"calibration_rows": 0},  # it embeds questions, and here embedded texts are counted
        }
        self._runner, self._chance = runner, chance
        self._versions = Versions(place / "versions", rows=ROWS, chance=chance)
        self._source = self._versions.write()
        self._catalog = open_catalog(Settings(**self._settings))
        self._account = EmbeddingAccount(self._catalog)
        self._duration = {"begin.json": 1.0, "plan.parquet": 0.5}

    def run(self) -> None:
        """One undisturbed run over the newest version, timed."""
        attempt, marks = self._next_attempt(), {}
        run = self._runner.start(self._settings, self._source)
        for name in self._duration:
            self._await(attempt, name, run.pid)
            marks[name] = time.monotonic()
        self._conclude(run)
        self._duration = {name: time.monotonic() - mark for name, mark in marks.items()}
        self._source = self._versions.write()

    def rage(self, kills: int, commands: int, told: Callable[[Storm], object]) -> None:
        """Kill runs, some of them the real command, and let one in a few end in peace."""
        moments = self._moments(kills)
        while self.storm.kills.total() < kills:
            if self.storm.runs % _UNDISTURBED_EVERY == 0:
                self.run()
            if self.storm.command_kills < commands:
                self.storm.command_kills += self._kill(self._start_command, "begin.json", next(moments)[1])
            else:
                self._kill(self._start, *next(moments))
            told(self.storm)
            self._source = self._versions.write()

    def _moments(self, count: int) -> Iterator[tuple[str, float]]:
        """After which file of an attempt, and at what share of the time from there on: each share comes once a round.

        In turn over the whole run, over the writing alone, and before or just after the attempt has its number.
        """
        triggers = cycle(["begin.json", "plan.parquet", "begin.json", "plan.parquet", ""])
        while True:
            shares = [(n + self._chance.random()) / count for n in range(count)]
            self._chance.shuffle(shares)
            yield from zip(triggers, shares, strict=False)

    def _kill(self, start: Callable[[], Run | subprocess.Popen[bytes]], trigger: str, share: float) -> bool:
        """Kill one run; False if it had ended before."""
        attempt = self._next_attempt()
        run = start()
        if trigger:
            self._await(attempt, trigger, run.pid)
        time.sleep(share * self._duration.get(trigger, 0.1))
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGKILL)
        if self._conclude(run) != -signal.SIGKILL:
            return False
        self.storm.kills[self._phase(attempt)] += 1
        return True

    def _start(self) -> Run:
        full = self._chance.random() < 0.08
        return self._runner.start(self._settings, self._source, full=full)

    def _start_command(self) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAGWRIGHT_")}
        environment |= {
            "RAGWRIGHT_HOME": str(self.home),
            "RAGWRIGHT_EMBEDDING__ENDPOINT": f"hashing:{DIMENSION}",
            "RAGWRIGHT_EMBEDDING__WRITE_BATCH": str(BATCH),
            "RAGWRIGHT_GENERATION__ENDPOINT": "none",
            "RAGWRIGHT_ANSWERING__CALIBRATION_ROWS": "0",
        }
        command = [str(COMMAND), "reindex", "--source", str(self._source)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def _conclude(self, run: Run | subprocess.Popen[bytes]) -> int:
        """Wait for a run's end and account for it; how it ended."""
        if isinstance(run, Run):
            code, said, embedded = run.wait(), run.said, run.embedded
        else:
            _, stderr = run.communicate(timeout=60)
            code, said, embedded = run.returncode, stderr.decode(), None
        self.storm.runs += 1
        if code not in (0, -signal.SIGKILL):
            self.storm.violations.append(f"run {self.storm.runs} ended with {code}: {said.strip()[-300:]}")
        # One batch may be on its way to the store, and the next one being embedded.
        self.storm.violations += self._account.take_in(embedded, allowed=0 if code == 0 else 2 * BATCH)
        return code

    def judge(self, scratch: Path) -> None:
        """Compare with an index made from scratch of the same source, and look for what should not be there."""
        settings = Settings(**self._settings)
        entries = self._catalog.head().entries
        source = self._catalog.begin_of(entries[-1].generation).source
        other = self._settings | {"home": str(scratch)}
        assert self._runner.start(other, source).wait() == 0
        verified = subprocess.run(
            [str(COMMAND), "verify", "--home", str(self.home)], capture_output=True, text=True, check=False
        )
        if verified.returncode:
            self.storm.violations.append(f"verify exits {verified.returncode}: {verified.stdout}{verified.stderr}")
        self.storm.violations += self.storm.reader["violations"]
        self.storm.violations += compare(settings, Settings(**other)) + leftovers(settings)
        self.storm.generations = len(entries)
        self.storm.embedded, self.storm.acknowledged = self._account.embedded, self._account.acknowledged

    def _next_attempt(self) -> int:
        # A number whose taking was killed is skipped.
        return max((int(path.name) for path in self._attempts.glob("*")), default=0) + 1

    @property
    def _attempts(self) -> Path:
        return self.home / "catalog" / "faq" / "generations"

    def _await(self, attempt: int, name: str, pid: int) -> None:
        path = self._attempts / f"{attempt:08d}" / name
        while not path.exists() and not _has_ended(pid):
            time.sleep(0.001)

    def _phase(self, attempt: int) -> str:
        """What a killed attempt was at, told by what it left."""
        if attempt in {entry.generation for entry in self._catalog.head().entries}:
            return "noting its end"
        names = set(self._catalog.names(folder(attempt)))
        notes = sum(name.startswith("written/") for name in names)
        if notes:
            return "writing" if notes * BATCH < self._account.planned(attempt) else "ending and verifying"
        order = {"plan.parquet": "writing", "source.parquet": "planning", "begin.json": "checking"}
        return next((phase for name, phase in order.items() if name in names), "starting")


def _has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"
