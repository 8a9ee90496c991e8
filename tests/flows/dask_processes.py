"""A Dask scheduler and its workers, each a process of its own, so that a test can end or freeze one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 60.0
"""Seconds that a process may take to start on a machine that does other things too."""


class DaskProcesses:
    """What is started here is killed by `close`.

    Args:
        folder: For logs and for what workers keep on disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def scheduler(self) -> tuple[str, subprocess.Popen[bytes]]:
        """Start a scheduler; its address and its process, once it listens."""
        port = self._folder / "scheduler.json"
        # Should the tests die, it ends by itself, and its workers with it.
        options = ("--port", "0", "--scheduler-file", str(port), "--idle-timeout", "300 s")
        process = self._start("distributed.cli.dask_scheduler", *options)
        deadline = time.monotonic() + PATIENCE
        while not (port.exists() and (said := port.read_text()).rstrip().endswith("}")):
            assert process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)
        return said.partition('"address": "')[2].partition('"')[0], process

    def worker(
        self, address: str, *, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, which nobody starts again; it need not be there yet."""
        options = ("--no-nanny", "--nthreads", "1", "--local-directory", str(self._folder))
        return self._start("distributed.cli.dask_worker", address, *options, prefix=prefix, environment=environment)

    def close(self) -> None:
        """End all of them, frozen ones too."""
        for process in self._started:
            process.send_signal(signal.SIGKILL)
            process.wait()

    @property
    def said(self) -> str:
        """Their log."""
        return self._log.read_text(errors="replace")[-4_000:]

    @property
    def _log(self) -> Path:
        return self._folder / "dask.log"

    def _start(
        self, module: str, *arguments: str, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        command = [*prefix, sys.executable, "-m", module, *arguments, "--host", "127.0.0.1", "--no-dashboard"]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self._folder, env={**os.environ, **(environment or {})}, stdout=log, stderr=log
            )
        self._started.append(process)
        return process


@contextmanager
def dask_processes(folder: Path) -> Iterator[DaskProcesses]:
    """None yet; all that are started end with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    processes = DaskProcesses(folder)
    try:
        yield processes
    finally:
        processes.close()
