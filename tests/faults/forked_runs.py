"""Re-indexing processes that start at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forking import Fork, Forks


@dataclass(frozen=True)
class Run(Fork):
    """A re-index under way in a process of its own."""

    name: str
    embedded_log: Path

    @property
    def embedded(self) -> int:
        """Texts that were given to the embedder."""
        return sum(map(int, self.embedded_log.read_text().split())) if self.embedded_log.exists() else 0


class WarmRunner(Forks):
    """The process that forks."""

    def __init__(self, folder: Path) -> None:
        super().__init__("faults.forked_runs")
        self._folder, self._runs = folder, 0

    def start(self, settings: dict[str, Any], source: Path | str, *, stop_at: int = 0, **options: Any) -> Run:
        """Fork a re-index.

        Args:
            settings: Of `ragwright.settings.Settings`, JSON-ready.
            source: The FAQ.
            stop_at: The process stops itself before it embeds its n-th batch.
            options: Further fields of the request.
        """
        log, embedded = (self._folder / f"run-{self._runs:03d}.{suffix}" for suffix in ("log", "embedded"))
        name = f"number-{self._runs}"
        self._runs += 1
        request = {"source": str(source), "run_id": name, **options}
        fork = self.fork(log, settings=settings, request=request, stop_at=stop_at, embedded=str(embedded))
        return Run(fork.pid, self, log, name, embedded)


def prepare() -> None:
    """Import what a re-index needs. Nothing is connected before a fork."""
    from warm_imports import warm

    warm()


def child(run: dict[str, Any]) -> int:
    """One re-index; 0 if it published, 1 if it failed, with the error as the log's last line."""
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
