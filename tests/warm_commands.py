"""The command `ragwright` without its slow imports: each run is forked from a process that has done them.

What runs is the installed command's own function, from its arguments to its exit code, in a process, a folder and an
environment of its own. `python warm_commands.py` reads one JSON request a line; `WarmCommands` talks to it.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from warm_imports import warm


class WarmCommands:
    """The process that forks; threads may share it."""

    def __init__(self) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAGWRIGHT_", "PREFECT_"))}
        command = [sys.executable, __file__]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process: subprocess.Popen[str] = subprocess.Popen(command, env=inherited, **pipes)
        self._lock = threading.Lock()
        atexit.register(self._process.communicate)  # it ends with its input

    @staticmethod
    @cache
    def shared() -> WarmCommands:
        """One for all tests of this process."""
        return WarmCommands()

    def run(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
    ) -> tuple[int, bytes, bytes]:
        """Run `ragwright` with these arguments; its exit code, stdout and stderr.

        Raises:
            subprocess.TimeoutExpired: It was killed after `timeout` seconds.
        """
        with TemporaryDirectory(prefix="command-") as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            request = {"arguments": arguments, "cwd": str(cwd), "env": dict(env), "out": str(out), "err": str(err)}
            pid = self._ask(request)["pid"]
            end = time.monotonic() + timeout
            while (code := self._ask({"ended": pid})["code"]) is None:
                if time.monotonic() > end:
                    os.kill(pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(list(arguments), timeout, out.read_bytes(), err.read_bytes())
                time.sleep(0.01)
            return code, out.read_bytes(), err.read_bytes()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def serve() -> None:
    """Import what commands need, then fork whenever asked. Nothing is connected, and no thread runs, before a fork."""
    import ragwright.assembly
    import ragwright.cli
    import ragwright.endpoints.local
    import ragwright.gating

    assert all((ragwright.assembly, ragwright.endpoints.local, ragwright.gating))
    warm()
    for line in sys.stdin:
        asked = json.loads(line)
        if "ended" in asked:
            pid, status = os.waitpid(asked["ended"], os.WNOHANG)
            answer = {"code": os.waitstatus_to_exitcode(status) if pid else None}
        else:
            answer = {"pid": os.fork()}
            if not answer["pid"]:
                os._exit(_command(asked))
        print(json.dumps(answer), flush=True)


def _command(asked: Mapping[str, Any]) -> int:
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv = ["ragwright", *asked["arguments"]]
    sys.path[:0] = [
        str(Path(folder).resolve()) for folder in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if folder
    ]
    for number, name in enumerate((os.devnull, asked["out"], asked["err"])):
        os.dup2(os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    from ragwright.cli import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    serve()
