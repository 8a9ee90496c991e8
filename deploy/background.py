"""The processes that `make up` leaves running, their logs, and what is noted about them.

They are known by a mark in their own command lines that names the state folder. No process id is written down, so none
can be stale or belong to a stranger.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import psutil
from prefect_api import address

from ragwright.endpoints import processes
from ragwright.errors import RagwrightError, TimedOut

Role = Literal["server", "worker"]

START_SECONDS = 180.0  # a first start migrates a new database, which takes half a minute on two busy cores
# Of the caller's Prefect settings only these hold here: the others may name another server, its key or its database.
KEPT = "PREFECT_LOGGING_"


class Local:
    """What runs on this machine for one state folder, found anew at every look."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve() / "prefect"
        self.notes = self.home / "local.json"

    @contextmanager
    def alone(self, say: Callable[[str], None]) -> Iterator[None]:
        """Be the only one who starts and stops things here; the lock dies with its holder."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.home / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Another `make up` or `make down` is at work; waiting for it.")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def find(self, role: Role) -> psutil.Process | None:
        """The living process that was started here in that role."""
        mark = self._mark(role)
        for process in psutil.process_iter(["cmdline"]):
            if mark in (process.info["cmdline"] or []) and processes.is_alive(process):
                return process
        return None

    def start(self, role: Role, *command: str, port: int) -> processes.Identity:
        """Start `python -m prefect ...` in the background; its output goes into a log of its own."""
        log = self.log(role)
        log.unlink(missing_ok=True)
        marked = [sys.executable, "-X", self._mark(role), "-m", "prefect", *command]
        return processes.spawn(marked, env=self.environment(port), log=log)

    def run(self, *command: str, port: int, log: str) -> None:
        """Run a command to its end, with its output in a log.

        Raises:
            RagwrightError: It failed; the end of its log is in the message.
        """
        with self.log(log).open("wb") as output:
            done = subprocess.run(  # noqa: S603 # our own
                [sys.executable, *command],
                env=self.environment(port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise RagwrightError(
                f"`{' '.join(command[1:])}` ended with exit code {done.returncode}{self.tail(log)}",
                place=str(self.log(log)),
                hint="Mend what the log says and run `make up` again; what runs already stays up.",
            )

    def await_start(self, role: Role, started: processes.Identity | None, ready: Callable[[], bool]) -> None:
        """Return once a process is ready.

        Raises:
            RagwrightError: It ended, or takes too long; the end of its log is in the message.
        """
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self.find(role) is None:
                code = processes.exit_code(started) if started else None
                ended = "ended while starting" + ("" if code is None else f" (exit code {code})")
                raise RagwrightError(
                    f"the {role} {ended}{self.tail(role)}", place=str(self.log(role)), hint="Mend what the log says."
                )
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"the {role} is not ready after {START_SECONDS:g} s{self.tail(role)}",
                    place=str(self.log(role)),
                    hint="Run `make up` again, which goes on waiting; `make down` stops it.",
                )
            time.sleep(0.2)

    def flow_runs(self) -> dict[str, psutil.Process]:
        """Processes of flow runs that the worker started, by the run's id; they outlive a worker that was killed."""
        found = {}
        for process in psutil.process_iter(["cmdline"]):
            try:
                # Servers of models are children of flow runs and inherit the variables.
                if "prefect.engine" in (process.info["cmdline"] or []) and processes.is_alive(process):
                    environment = process.environ()
                    if environment.get("PREFECT_HOME") == str(self.home):
                        found[environment.get("PREFECT__FLOW_RUN_ID", "")] = process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def environment(self, port: int) -> dict[str, str]:
        """What the processes are started with."""
        kept = {n: value for n, value in os.environ.items() if not n.startswith("PREFECT_") or n.startswith(KEPT)}
        return kept | {
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": f"{address(port)}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # Lets the automation for runs whose process has died notice within minutes.
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            # In memory, the default, leases of places end with the server: a restart crashes a run that lasts more than
            # four minutes after it, and one that died meanwhile keeps its place for ever.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_WORKER_QUERY_SECONDS": "2",  # a person waits for the run; 10, the default, is for many workers
            "PYTHONUNBUFFERED": "1",
        }

    def log(self, name: str) -> Path:
        """Where the output of one process is."""
        return self.home / f"{name}.log"

    def tail(self, name: str, lines: int = 15) -> str:
        """The end of a log, for a message."""
        try:
            text = self.log(name).read_text("utf-8", "replace").rstrip()
        except FileNotFoundError:
            return ""
        return "\nEnd of its log:\n" + "\n".join(text.splitlines()[-lines:]) + "\n" if text else ""

    def noted(self) -> dict[str, Any]:
        """What an earlier `up` wrote down: the server's port, and what was deployed."""
        try:
            notes = json.loads(self.notes.read_bytes())
        except (OSError, ValueError):
            return {}
        return notes if isinstance(notes, dict) else {}

    def note(self, **notes: Any) -> None:
        """Write something down beside what is noted already."""
        draft = self.notes.with_suffix(".draft")
        draft.write_text(json.dumps(self.noted() | notes), encoding="utf-8")
        draft.replace(self.notes)

    def _mark(self, role: Role) -> str:
        return f"ragwright={self.home}/{role}"  # -X takes any name
