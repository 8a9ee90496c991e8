"""The life of a served process: bind, tell the port, load, serve, drain, end. Nothing outlives the lease."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from ragwright.endpoints import Contract
from ragwright.errors import ConfigurationError, RagwrightError
from ragwright.models import ModelInfo, get_model
from ragwright.progress import Progress
from ragwright.serving.app import Limits, ModelServer, log
from ragwright.serving.contracts import check_contract, open_service
from ragwright.serving.lease import LeaseWatch

LEASE_SECONDS = 1.0
# After drain, the kernel ends the process even if native code holds the interpreter.
ALARM_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class ServedModel:
    """What to serve, and where the process and its host meet."""

    name: str
    model: str
    contract: Contract
    port: int
    cache: Path
    lease_file: Path
    ready_file: Path
    limits: Limits


def serve(served: ServedModel, token: str) -> int:
    """Serve until told to stop or the lease ends; return the exit code.

    0: asked to end, or the lease ended. 1: the model could not be loaded.

    Raises:
        ConfigurationError: Model, contract, lease or port cannot be served.
    """
    lease = LeaseWatch(served.lease_file)
    arm_alarm(lease, served.limits)
    info = get_model(served.model)
    check_contract(served.contract, info)
    listener = _listen(served.port)
    ends = _Ends()
    server = ModelServer(served.name, served.contract, token, served.limits)
    http = uvicorn.Server(
        uvicorn.Config(
            server.app, log_config=None, access_log=False, lifespan="off", server_header=False, timeout_keep_alive=60
        )
    )
    # Not the main thread, because uvicorn would take the signals, and on SIGTERM close the port before it drains.
    web = threading.Thread(target=http.run, kwargs={"sockets": [listener]}, name="http", daemon=True)
    web.start()
    while not http.started and web.is_alive():
        time.sleep(0.005)
    port = listener.getsockname()[1]
    _write_ready(served.ready_file, port)
    log("listening", endpoint=served.name, port=port, model=served.model, contract=served.contract)
    threading.Thread(target=_load, args=(served, info, server, ends), name="load", daemon=True).start()

    while ends.why is None:
        ends.wait(min(LEASE_SECONDS, max(lease.remaining, 0.01)))
        lease.refresh()
        arm_alarm(lease, served.limits)
        if ends.why is None and lease.end:
            ends.end(lease.end)
        if ends.why is None and not web.is_alive():
            ends.end("the HTTP server died", code=1)

    log("draining", endpoint=served.name, reason=ends.why, in_flight=server.in_flight)
    server.draining = True
    deadline = time.monotonic() + served.limits.drain_seconds
    while server.in_flight and time.monotonic() < deadline and not ends.urgent:
        time.sleep(0.02)
    log("ended", endpoint=served.name, reason=ends.why, abandoned=server.in_flight)
    http.should_exit = True
    web.join(timeout=0.2 if server.in_flight else 2)
    served.ready_file.unlink(missing_ok=True)
    return ends.code


class _Ends:
    """Why the process ends: the first reason counts; a second signal makes it urgent."""

    def __init__(self) -> None:
        self.why: str | None = None
        self.code = 0
        self.urgent = False
        self._happened = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self.urgent = self.why is not None
        self.end(signal.Signals(number).name)

    def end(self, why: str, *, code: int = 0) -> None:
        if self.why is None:
            self.why, self.code = why, code
        self._happened.set()

    def wait(self, seconds: float) -> None:
        self._happened.wait(seconds)


def _load(served: ServedModel, info: ModelInfo, server: ModelServer, ends: _Ends) -> None:
    began = time.monotonic()
    try:
        service = open_service(served.contract, info, cache=served.cache, progress=_logged(served.name))
        for warning in service.warnings:
            log("warning", endpoint=served.name, reason=warning)
        server.open(service)
    except RagwrightError as error:
        log("failed", endpoint=served.name, error=str(error))
        ends.end("the model cannot be served", code=1)
    except Exception as error:
        log("failed", endpoint=served.name, error=f"{type(error).__name__}: {error}")
        ends.end("the model cannot be served", code=1)
        raise
    else:
        log("ready", endpoint=served.name, seconds=round(time.monotonic() - began, 2), **service.about)


def _listen(port: int) -> socket.socket:
    """A listening socket on the loopback interface; there is no way to ask for another."""
    # Named TCP, asyncio sends at once what it is given. Otherwise the body of a reply waits until the caller has
    # acknowledged the head, which systems put off for 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise ConfigurationError(
            f"port {port!r} {'is in use' if taken else f'cannot be used: {error}'}.",
            place="127.0.0.1",
            hint="Name another port, or 0 for any free one.",
        ) from error
    return listener


def _write_ready(path: Path, port: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps({"port": port, "pid": os.getpid()}))
    os.replace(draft, path)


def arm_alarm(lease: LeaseWatch, limits: Limits) -> None:
    """Have the kernel end this process some time after the lease, whatever Python is doing then.

    Nobody handles SIGALRM: its default ends a process. A library that keeps the interpreter's lock while it loads or
    hangs stops every thread here, but not the timer.
    """
    signal.setitimer(signal.ITIMER_REAL, max(lease.remaining, 0) + limits.drain_seconds + ALARM_GRACE_SECONDS)


def _logged(name: str) -> Progress:
    """Progress as an occasional log line."""
    last = time.monotonic()

    def tell(what: str, done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last > 2:
            last = time.monotonic()
            log("fetching", endpoint=name, file=what, done=done, total=total)

    return tell
