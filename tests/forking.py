"""Processes that start at once: children of a process that has done the slow imports.

`python forking.py MODULE` calls `MODULE.prepare()`, and then reads one JSON request a line: `{"run": {...}}` forks a
child, which ends with what `MODULE.child({...})` returns, and is answered with its pid; `{"pid": PID}` is answered with
a child's exit code (negative: the signal that ended it; null: it runs). `Forks` talks to it. At its end children that
still run are killed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self


@dataclass(frozen=True)
class Fork:
    """A child; what it prints goes to `log`."""

    pid: int
    forks: Forks
    log: Path

    def wait(self, seconds: float = float("inf")) -> int | None:
        """Exit code; negative: the signal that ended it; None: it still runs after so many seconds."""
        end = time.monotonic() + seconds
        while (code := self.forks.ask({"pid": self.pid})) is None and time.monotonic() < end:
            time.sleep(0.01)
        return code

    def ended(self) -> bool:
        """Whether there is nothing left to signal."""
        return self.wait(0) is not None

    def signal(self, number: int) -> None:
        """Send a signal; one to a process that has ended is lost."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def said(self) -> str:
        """What it printed."""
        return self.log.read_text() if self.log.exists() else ""


class Forks:
    """The process that forks; a context manager. Threads may share it."""

    def __init__(self, module: str, environment: Mapping[str, str] | None = None) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAGWRIGHT_", "PREFECT_"))}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, __file__, module]
        self._process = subprocess.Popen(command, env=inherited | (environment or {}), **pipes)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """It ends with its input."""
        self._process.communicate()

    def fork(self, out: Path, err: Path | None = None, **run: Any) -> Fork:
        """Start a child that prints to these files, one for both if only one is named."""
        files = {"out": str(out), "err": str(err or out)}
        return Fork(self.ask({"run": run | files}), self, out)

    def ask(self, request: Mapping[str, Any]) -> Any:
        """Send one request and return the answer."""
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


def serve(child: Callable[[dict[str, Any]], int]) -> None:
    """Fork whenever asked."""
    codes: dict[int, int | None] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "run" in asked:
            answer: int | None = os.fork()
            if not answer:
                _become(child, asked["run"])
            codes[answer] = None
        else:
            pid = asked["pid"]
            if codes[pid] is None:
                ended, status = os.waitpid(pid, os.WNOHANG)
                codes[pid] = os.waitstatus_to_exitcode(status) if ended else None
            answer = codes[pid]
        print(json.dumps(answer), flush=True)
    for pid in (pid for pid, code in codes.items() if code is None):
        os.kill(pid, signal.SIGKILL)


def _become(child: Callable[[dict[str, Any]], int], run: dict[str, Any]) -> NoReturn:
    """Do what a child does, and end; an error is the last that it prints."""
    for number, name in enumerate((os.devnull, run["out"], run["err"])):
        os.dup2(os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    code = 1
    try:
        code = child(run)
    finally:
        if code and sys.exc_info()[0]:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    module = importlib.import_module(sys.argv[1])
    module.prepare()
    serve(module.child)
