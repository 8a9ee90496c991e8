"""Real Prefect servers for tests: one that all of a session's processes share, and others to stop, kill and restart.

Most of a new server's start is making its database, so a machine does that once: later servers start from a copy, kept
under `.cache/prefect/<version>`. A server ends when nobody holds its folder's lock any more, however its users ended:
the kernel counts them.

What one server keeps apart and what it does not. Flow and task runs never disturb each other. Named things are one
space: artifact keys, blocks, variables, deployments, work pools, automations and concurrency limits. A test on the
shared server therefore runs under an index of its own (artifact keys begin with it), names deployments, pools,
automations and limits after itself, starts workers for its own pool only, and deletes the blocks it saves. What acts on
all runs (an automation without a filter, stopping the server) belongs on a server of the test's own.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "prefect" / importlib.metadata.version("prefect")
STARTUP = 120.0
"""Seconds a start may take; on two quiet cores it takes 6, or 14 with a new database."""


_NO_CERTIFICATES = {"PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "true"}
"""Every client would read the machine's certificates, for the tenth of a second; on loopback none is asked for."""


class PrefectServer:
    """A Prefect server process with a home of its own, UI included; a context manager that starts and stops it.

    It can be stopped, killed and started again: port, database and log stay.

    Args:
        folder: Where its home and its log are made.
        settings: More of Prefect's settings for the server, such as PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.home = folder / "prefect-home"
        self.log = folder / "prefect-server.log"
        self.port = _free_port()
        self._settings = dict(settings or {})
        self._lock = folder / "prefect-server.users"
        self._use: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the API, as PREFECT_API_URL wants it. The UI is at the same address without `/api`."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.home / "prefect.db"

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """What a process is told that shall use this server."""
        return {"PREFECT_API_URL": self.url, "PREFECT_HOME": str(self.home), **_NO_CERTIFICATES}

    def start(self, *, detached: bool = False) -> None:
        """Start it and wait until it answers. A detached one lives as long as anybody holds a `use` of it."""
        self.home.mkdir(parents=True, exist_ok=True)
        if not detached and self._use is None:
            self._use = _hold(self._lock)
        if self.database.exists():
            self._launch(migrate=False)
            return
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            template = CACHE / "home"
            if not template.exists():
                self._launch(migrate=True)
                self._keep(template)
                return
        for file in template.iterdir():
            shutil.copy(file, self.home)
        self._launch(migrate=False)

    def stop(self) -> None:
        """End it as an administrator would; it finishes what it is doing."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _launch(self, *, migrate: bool) -> None:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": str(migrate).lower(),
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(CACHE / "ui"),
            "PREFECT_SERVER_UI_API_URL": self.url,
            "PREFECT__SERVER_FINAL": "1",  # as `prefect server start` does: less memory
            **self._settings,
        }
        (CACHE / "ui").mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", __file__, str(self.port), str(self._lock)]
        with self.log.open("ab") as log:
            # A session of its own, so that an interrupt at the terminal reaches the tests first.
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + STARTUP
        while not answers(self.port):
            said = self.log.read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"Prefect's server ended with {self._process.returncode}: {said}"
            assert time.monotonic() < deadline, f"Prefect's server did not answer within {STARTUP:.0f} s: {said}"
            time.sleep(0.1)

    def _keep(self, template: Path) -> None:
        """Leave a copy of a database that has just been made, for those who start later."""
        partial = template.with_name("partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        with (
            contextlib.closing(sqlite3.connect(self.database)) as made,
            contextlib.closing(sqlite3.connect(partial / self.database.name)) as copy,
        ):
            made.backup(copy)
        shutil.copy(self.home / "memo_store.toml", partial)  # says that the block types are in the database
        partial.rename(template)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._use is not None:
            self._use.close()
            self._use = None


@contextmanager
def shared_server(folder: Path) -> Iterator[PrefectServer]:
    """The server of this folder, which all processes that name the folder share: the first starts it.

    It ends after the last of them. It is not yours to stop or kill.
    """
    folder.mkdir(parents=True, exist_ok=True)
    server = PrefectServer(folder)
    with (folder / "starting").open("wb") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        use = _hold(server._lock)
        address = folder / "address.json"
        known = json.loads(address.read_text()) if address.exists() else None
        if known is not None and answers(known):
            server.port = known
        else:
            server.start(detached=True)
            address.write_text(json.dumps(server.port))
    with use:
        yield server


@contextmanager
def settings_of(server: PrefectServer, home: Path) -> Iterator[None]:
    """Let Prefect in this process use a server, and a home for what this process keeps, such as results.

    The environment stays as it is: processes that tests start choose a server themselves (`environment()`).
    """
    import prefect.context
    import prefect.settings
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    chosen = {
        prefect.settings.PREFECT_API_URL: server.url,
        prefect.settings.PREFECT_HOME: home,
        prefect.settings.PREFECT_API_TLS_INSECURE_SKIP_VERIFY: True,
    }
    with (
        prefect.settings.temporary_settings(updates=chosen),
        # Threads that began before have contexts of their own.
        prefect.context._temporary_global_settings_context(prefect.context.get_settings_context()),
    ):
        yield
        # What is still on its way would otherwise be sent to nobody, with an error each.
        with contextlib.suppress(RuntimeError):  # no log was sent
            APILogWorker.instance().drain()
        EventsWorker.drain_all()


def spare_the_migration(home: Path) -> None:
    """Put the machine's copy of a new database, if there is one yet, where a server will look for its own."""
    home.mkdir(parents=True, exist_ok=True)
    if (CACHE / "home").exists():
        for file in (CACHE / "home").iterdir():
            shutil.copy(file, home)


def answers(port: int) -> bool:
    """Whether a Prefect server is ready there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _hold(lock: Path) -> IO[bytes]:
    """Be one of the server's users until the file is closed, or this process ends."""
    file = lock.open("ab")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def _serve(port: int, users: Path) -> None:
    """Serve until ended by a signal or left by the last user."""
    import uvicorn

    def end_when_left() -> None:
        with users.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # granted when nobody shares it
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
            os._exit(1)

    threading.Thread(target=end_when_left, daemon=True).start()
    uvicorn.run("prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]))
