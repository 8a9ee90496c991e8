"""The command `ragwright` without its slow imports: each run is forked from a process that has done them.

What runs is the installed command's own function, from its arguments to its exit code, in a process, a folder and an
environment of its own.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from forking import Forks


class WarmCommands(Forks):
    """The process that forks."""

    @staticmethod
    @cache
    def shared() -> WarmCommands:
        """One for all tests of this process."""
        commands = WarmCommands("warm_commands")
        atexit.register(commands.close)
        return commands

    def run(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
    ) -> tuple[int, bytes, bytes]:
        """Run `ragwright` with these arguments; its exit code, stdout and stderr.

        Raises:
            subprocess.TimeoutExpired: It was killed after `timeout` seconds.
        """
        with TemporaryDirectory(prefix="command-") as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            command = self.fork(out, err, arguments=list(arguments), cwd=str(cwd), env=dict(env))
            code = command.wait(timeout)
            if code is None:
                command.signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(arguments), timeout, out.read_bytes(), err.read_bytes())
            return code, out.read_bytes(), err.read_bytes()


def prepare() -> None:
    """Import what commands need. Nothing is connected, and no thread runs, before a fork."""
    from warm_imports import warm

    import ragwright.assembly
    import ragwright.cli
    import ragwright.endpoints.local
    import ragwright.gating

    assert all((ragwright.assembly, ragwright.cli, ragwright.endpoints.local, ragwright.gating))
    warm()


def child(asked: dict[str, Any]) -> int:
    """One command."""
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv = ["ragwright", *asked["arguments"]]
    folders = asked["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [str(Path(folder).resolve()) for folder in folders if folder]
    from ragwright.cli import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0
