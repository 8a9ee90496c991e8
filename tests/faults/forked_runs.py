"""Re-indexing processes that start at once: children of a process that has done the slow imports.

`python forked_runs.py` reads one JSON request a line: `{"run": {...}}` forks a re-index and answers with its pid,
`{"wait": PID}` answers with its exit code (negative: the signal that ended it). `WarmRunner` talks to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Run:
    """A re-index under way in a process of its own."""

    name: str
    pid: int
    runner: WarmRunner
    log: Path
    embedded_log: Path

    def wait(self) -> int:
        """Exit code; negative: the signal that ended it."""
        return int(self.runner.ask({"wait": self.pid})["code"])

    def signal(self, number: int) -> None:
        """Send a signal; one to a process that has ended is lost."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def said(self) -> str:
        """What it printed."""
        return self.log.read_text() if self.log.exists() else ""

    @property
    def embedded(self) -> int:
        """Texts that were given to the embedder."""
        return sum(map(int, self.embedded_log.read_text().split())) if self.embedded_log.exists() else 0


class WarmRunner:
    """The process that forks; a context manager. Runs that are still there at its end are killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._runs: list[Run] = []

    def __enter__(self) -> Self:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAGWRIGHT_")}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        for run in self._runs:
            run.signal(signal.SIGKILL)
        self._process.communicate()

    def start(self, settings: dict[str, Any], source: Path | str, **options: Any) -> Run:
        """Fork a re-index.

        Args:
            settings: Of `ragwright.settings.Settings`, JSON-ready.
            source: The FAQ.
            options: Further fields of the request; `stop_at`: the process stops itself before it embeds its n-th batch.
        """
        number = len(self._runs)
        log, embedded = (self._folder / f"run-{number:03d}.{suffix}" for suffix in ("log", "embedded"))
        stop_at = options.pop("stop_at", 0)
        name = f"number-{number}"
        request = {"source": str(source), "run_id": name, **options}
        files = {"log": str(log), "embedded": str(embedded)}
        answer = self.ask({"run": {"settings": settings, "request": request, "stop_at": stop_at, **files}})
        run = Run(name, answer["pid"], self, log, embedded)
        self._runs.append(run)
        return run

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and return the answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def serve() -> None:
    """Import what a re-index needs, then fork whenever asked. Nothing is connected before a fork."""
    sys.path.append(str(Path(__file__).parents[1]))
    from warm_imports import warm

    warm()
    for line in sys.stdin:
        asked = json.loads(line)
        if "run" in asked:
            pid = os.fork()
            if not pid:
                os._exit(_child(asked["run"]))
            print(json.dumps({"pid": pid}), flush=True)
        else:
            _, status = os.waitpid(asked["wait"], 0)
            print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


def _child(run: dict[str, Any]) -> int:
    """One re-index; 0 if it published, 1 if it failed, with the error as the log's last line."""
    log = os.open(run["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    from ragwright.errors import RagwrightError
    from ragwright.index.attempt import ReindexRequest
    from ragwright.index.reindex import reindex
    from ragwright.settings import Settings

    with _watched_embedding(run["embedded"], run["stop_at"]):
        try:
            report = reindex(Settings(**run["settings"]), ReindexRequest(**run["request"]))
        except RagwrightError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            return 1
    print(json.dumps(report.to_json()), flush=True)
    return 0


@contextlib.contextmanager
def _watched_embedding(log: str, stop_at: int) -> Iterator[None]:
    """Note every text before it is embedded; stop this process before a batch if told to."""
    from ragwright.embedding.hashed import HashingEmbedder

    embed, file, batches = HashingEmbedder.embed, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 0

    def watched(self: Any, texts: Any, *, kind: Any = "document") -> Any:
        nonlocal batches
        batches += 1
        if batches == stop_at:
            time.sleep(0.5)  # the write of the batch before ends meanwhile
            os.kill(os.getpid(), signal.SIGSTOP)
        os.write(file, b"%d\n" % len(texts))
        return embed(self, texts, kind=kind)

    HashingEmbedder.embed = watched  # type: ignore[method-assign]
    yield


if __name__ == "__main__":
    serve()
