"""Model files while processes race and die. The hub here is a real server that hands out its file piece by piece."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

CONTENT = os.urandom(400_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
PROGRAM = """
import sys
from pathlib import Path
from ragwright.models import resolve
path = resolve("toy", cache=Path(sys.argv[1]))["model"]
print(path, len(path.read_bytes()))
"""


@dataclass
class Hub:
    """Downloads begun; each gives half of the file, then waits for `go_on`."""

    url: str = ""
    begun: int = 0
    half_sent: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go_on: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def hub() -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.begun += 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
            self.wfile.flush()
            state.half_sent.release()
            state.go_on.wait(30)
            with contextlib.suppress(OSError):  # the client may have been killed
                self.wfile.write(CONTENT[len(CONTENT) // 2 :])

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    state.go_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "models.toml").write_text(
        f"""
        [toy]
        task = "text-generation"
        context_tokens = 64
        [toy.files.model]
        filename = "weights.bin"
        sha256 = "{SHA}"
        size = {len(CONTENT)}
        sources = [{{ hub = "toy/model", revision = "abc", filename = "weights.bin" }}]
        """
    )
    return tmp_path / "cache"


def start(cache: Path, hub: Hub) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(cache)],
        cwd=cache.parent,
        env={**os.environ, "HF_ENDPOINT": hub.url, "RAGWRIGHT_HOME": str(cache.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out.strip()


def test_processes_that_race_fetch_a_file_once(hub: Hub, cache: Path) -> None:
    processes = [start(cache, hub) for _ in range(3)]
    assert hub.half_sent.acquire(timeout=30)
    time.sleep(1)  # the others arrive and wait; fetching at once they would be counted below
    hub.go_on.set()
    assert {finish(process) for process in processes} == {f"{cache / SHA / 'weights.bin'} {len(CONTENT)}"}
    assert hub.begun == 1


def test_a_killed_fetch_leaves_nothing_that_is_used(hub: Hub, cache: Path) -> None:
    victim = start(cache, hub)
    assert hub.half_sent.acquire(timeout=30)
    deadline = time.monotonic() + 30
    while not list((cache / SHA).rglob("partial/*/weights.bin")):
        assert time.monotonic() < deadline, "the half file that this test is about never came"
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not (cache / SHA / "weights.bin").exists()
    hub.go_on.set()
    assert finish(start(cache, hub)).endswith(str(len(CONTENT)))
    assert sorted(path.name for path in (cache / SHA).iterdir()) == [".lock", "weights.bin", "weights.bin.checked"]


def test_a_waiting_process_takes_over_from_a_killed_one(hub: Hub, cache: Path) -> None:
    victim = start(cache, hub)
    assert hub.half_sent.acquire(timeout=30)
    heir = start(cache, hub)
    time.sleep(1)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    hub.go_on.set()
    assert finish(heir).endswith(str(len(CONTENT)))
    assert hub.begun == 2


def test_pip_does_not_outlive_a_killed_fetch(cache: Path, hub: Hub) -> None:
    index = hub  # it answers pip's question for the project with half a page, and pip waits for the rest
    description = (cache.parent / "models.toml").read_text()
    wheel = 'wheel = "toy-model==1.0", member = "a"'
    (cache.parent / "models.toml").write_text(
        description.replace('hub = "toy/model", revision = "abc", filename = "weights.bin"', wheel)
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    victim = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(cache)],
        cwd=cache.parent,
        env={**env, "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"{index.url}/simple", "RAGWRIGHT_HOME": "."},
    )
    assert index.half_sent.acquire(timeout=30)
    children = psutil.Process(victim.pid).children()
    assert children
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
