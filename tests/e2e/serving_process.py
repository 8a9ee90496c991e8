"""A model server as hosts start it: a process of its own, with a lease and a ready file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

TOKEN = "a-token-for-tests"


@dataclass
class Served:
    """A started server and the files it shares with its host."""

    process: subprocess.Popen[bytes]
    folder: Path
    client: httpx.Client

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def extend(self, seconds: float) -> None:
        write_lease(self.folder, seconds)

    def ask(self, payload: object, **headers: str) -> httpx.Response:
        return self.client.post("/invocations", json=payload, headers=headers)


def write_lease(folder: Path, seconds: float) -> None:
    draft = folder / "lease.draft"
    draft.write_text(json.dumps({"expires_at": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()}))
    draft.replace(folder / "lease.json")


def command(folder: Path, model: str, contract: str, cache: Path, *more: str) -> list[str]:
    files = ["--lease-file", str(folder / "lease.json"), "--ready-file", str(folder / "ready.json")]
    port = [] if "--port" in more else ["--port", "0"]
    what = ["--name", "test", "--model", model, "--contract", contract, "--cache", str(cache)]
    return [sys.executable, "-m", "ragwright.serving", *what, *port, *files, *more]


@contextmanager
def serving(
    folder: Path,
    *more: str,
    model: str = "hashing-16",
    contract: str = "tei",
    cache: Path = Path("unused"),
    lease: float = 60,
    wait: bool = True,
    env: dict[str, str] | None = None,
) -> Iterator[Served]:
    """Start a server, wait until it is in service, and end it with the block."""
    write_lease(folder, lease)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command(folder, model, contract, cache, *more),
            env={**os.environ, "RAGWRIGHT_ENDPOINT_TOKEN": TOKEN, **(env or {})},
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: (folder / "ready.json").exists() or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        ready = json.loads((folder / "ready.json").read_text())
        assert ready["pid"] == process.pid
        with httpx.Client(
            base_url=f"http://127.0.0.1:{ready['port']}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=60,
            trust_env=False,
        ) as client:
            if wait:
                until(lambda: process.poll() is not None or client.get("/ping").status_code == 200, seconds=90)
            yield Served(process, folder, client)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def until(condition: object, seconds: float = 30) -> None:
    """Wait for a condition."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
