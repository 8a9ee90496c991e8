"""Endpoints on this machine: one detached server process each, found again by what is written down about it."""

from __future__ import annotations

import http.client
import os
import secrets
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from ragwright.endpoints import Endpoint, EndpointInfo, EndpointSpec, EndpointStatus, Lease, processes
from ragwright.endpoints.registry import Folder, names
from ragwright.errors import ConfigurationError, EndpointError, TimedOut, Unavailable

SERVER = (sys.executable, "-P", "-m", "ragwright.serving")  # -P: a file in the user's folder shadows no library
TOKEN_VARIABLE = "RAGWRIGHT_ENDPOINT_TOKEN"  # noqa: S105 - the variable's name
# A server whose lease ends sooner may be on its way out before an extension reaches it.
LAST_MOMENT = timedelta(seconds=5)
PING_SECONDS = 5.0


@dataclass(frozen=True)
class _State:
    """One look at a folder."""

    spec: EndpointSpec | None
    lease: Lease | None
    process: psutil.Process | None
    port: int | None
    deleting: bool

    def serves(self, spec: EndpointSpec) -> bool:
        """Whether there is nothing to do to have `spec`."""
        return (
            self.spec == spec
            and self.process is not None
            and not self.deleting
            and self.lease is not None
            and self.lease.expires_at > datetime.now(UTC) + LAST_MOMENT
        )


class LocalHost:
    """An `EndpointHost` whose endpoints are server processes on this machine, bound to 127.0.0.1.

    The processes outlive the one that started them and end by themselves when their lease does. The only option of a
    spec is `port`; without it the system chooses.

    Args:
        home: State lives in `<home>/endpoints`. Hosts on the same folder, in any process, see the same endpoints.
        cache: Folder of model files, handed to the server.
        grace: Seconds a server has for its last requests when it is deleted.
        server: The command that serves a model, before its arguments.
    """

    def __init__(self, home: Path, *, cache: Path, grace: float = 10, server: Sequence[str] = SERVER) -> None:
        self._home = home.resolve()
        self._root = self._home / "endpoints"
        self._cache = cache.resolve()
        self._grace = grace
        self._server = tuple(server)

    def deploy(self, spec: EndpointSpec, lease: Lease) -> EndpointInfo:
        """Start a server, or keep the one that already serves this spec."""
        port = _port(spec)
        if lease.expires_at <= datetime.now(UTC):
            raise ConfigurationError(f"the lease of endpoint {spec.name!r} is over already: {lease.expires_at}")
        folder = Folder(self._root, spec.name)
        with folder.locked():
            state = _look(folder)
            if state.serves(spec):
                _extend(folder, lease.expires_at)
            else:
                self._remove(folder)
                self._start(folder, spec, lease, port)
            return _info(folder, _look(folder))

    def wait(self, names: Sequence[str], *, timeout: float) -> list[EndpointInfo]:
        """Return when all are in service; raise as soon as one cannot be any more."""
        deadline = time.monotonic() + timeout
        pause = 0.05
        while True:
            infos = [self.describe(name) for name in names]
            for info in infos:
                if info.status in (EndpointStatus.FAILED, EndpointStatus.DELETING):
                    raise self._start_failed(info)
            waiting = [info.name for info in infos if info.status is not EndpointStatus.IN_SERVICE]
            if not waiting:
                return infos
            if (left := deadline - time.monotonic()) <= 0:
                folder = Folder(self._root, waiting[0])
                raise TimedOut(
                    f"endpoint {waiting[0]!r} is not in service after {timeout:g} s{_quote(folder)}",
                    place=str(folder.log_file),
                    hint="Give it longer with RAGWRIGHT_ENDPOINTS__START_TIMEOUT_SECONDS, or read its log.",
                )
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.5)

    def describe(self, name: str) -> EndpointInfo:
        """Look at the process, the lease and `/ping`."""
        info = self._describe(Folder(self._root, name))
        if info is None:
            raise EndpointError(
                f"there is no endpoint {name!r}", place=str(self._root), hint="See `ragwright endpoints ls`."
            )
        return info

    def reap(self, now: datetime) -> list[str]:
        """End what is left of endpoints whose lease has lapsed at `now` or cannot be read; return their names."""
        reaped = []
        for name in names(self._root):
            folder = Folder(self._root, name)
            with folder.locked():
                lease = folder.lease
                if (lease is None or lease.expires_at <= now) and not folder.is_clear:
                    self._remove(folder)
                    reaped.append(name)
        return reaped

    def list(self, *, owner: str | None = None) -> list[EndpointInfo]:
        """All endpoints, or one owner's, by name."""
        infos = [self._describe(Folder(self._root, name)) for name in names(self._root)]
        return [info for info in infos if info is not None and owner in (None, info.owner)]

    def extend(self, name: str, until: datetime) -> EndpointInfo:
        """Move a lease's end to `until` if that is later; a lapsed lease stays lapsed (`EndpointError`)."""
        self.describe(name)
        folder = Folder(self._root, name)
        with folder.locked():
            lease = folder.lease
            if lease is None or lease.expires_at <= datetime.now(UTC):
                raise EndpointError(
                    f"the lease of endpoint {name!r} is over; its process ends by itself",
                    place=str(folder.path),
                    hint="Deploy it again: `ragwright endpoints up`.",
                )
            _extend(folder, until)
            return _info(folder, _look(folder))

    def delete(self, name: str) -> bool:
        """Stop an endpoint, also a half-started one; whether there was one."""
        folder = Folder(self._root, name)
        if not folder.path.is_dir():
            return False
        with folder.locked():
            return self._remove(folder)

    def connect(self, name: str, *, timeout: float = 60) -> Endpoint:
        """Open the data plane of an endpoint in service."""
        from ragwright.endpoints.http import HttpEndpoint

        info = self.describe(name)
        folder = Folder(self._root, name)
        if info.status in (EndpointStatus.FAILED, EndpointStatus.DELETING):
            raise self._start_failed(info)
        if info.url is None:
            raise Unavailable(
                f"endpoint {name!r} does not listen yet", place=str(folder.path), hint="Wait for it first."
            )
        return HttpEndpoint(name, info.url, info.contract, token=folder.token, timeout=timeout)

    def close(self) -> None:
        """Nothing is held; the endpoints go on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _describe(self, folder: Folder) -> EndpointInfo | None:
        if not folder.exists():
            return None
        state = _look(folder)
        if state.process is None:
            # Perhaps somebody is starting or clearing it at this moment: a look under the lock is the truth.
            with folder.locked():
                if not folder.exists():
                    return None
                state = _look(folder)
        return _info(folder, state)

    def _start(self, folder: Folder, spec: EndpointSpec, lease: Lease, port: int) -> None:
        """Write everything down before the process starts, so that a death in between leaves nothing unknown."""
        _check_free(port, spec.name)
        token = secrets.token_urlsafe(32)
        command = [*self._server, "--name", spec.name, "--model", spec.model, "--contract", spec.contract]
        command += ["--port", str(port), "--cache", str(self._cache)]
        command += ["--lease-file", str(folder.lease_file), "--ready-file", str(folder.ready_file)]
        with ExitStack() as undo:
            undo.callback(self._remove, folder)
            folder.rotate_logs()
            folder.write_token(token)
            folder.write_lease(lease)
            folder.write_spec(spec)
            # The home may come from a flag; the server looks there for a models.toml.
            env = {**os.environ, "RAGWRIGHT_HOME": str(self._home), TOKEN_VARIABLE: token, "PYTHONUNBUFFERED": "1"}
            try:
                identity = processes.spawn(command, env=env, log=folder.log_file)
            except OSError as error:
                raise EndpointError(
                    f"the server of endpoint {spec.name!r} cannot be started: {error.strerror}",
                    place=str(error.filename or command[0]),
                    hint="See `ragwright doctor`.",
                ) from error
            folder.write_identity(identity)
            undo.pop_all()

    def _remove(self, folder: Folder) -> bool:
        """End every process of this endpoint and clear its folder; whether there was an endpoint."""
        found = processes.scan(folder.lease_file)
        existed = folder.exists() or bool(found)
        if not existed and folder.is_clear:
            return False
        folder.begin_deletion()
        for process in found:
            processes.end(process, grace=self._grace)
        folder.clear()
        return existed

    def _start_failed(self, info: EndpointInfo) -> EndpointError:
        folder = Folder(self._root, info.name)
        reason = info.failure_reason or "it is being deleted"
        return EndpointError(
            f"endpoint {info.name!r} is not in service: {reason}{_quote(folder)}",
            place=str(folder.log_file),
            hint="Mend what the log says and deploy again.",
        )


def _look(folder: Folder) -> _State:
    identity = folder.identity
    process = processes.find(identity, lease_file=folder.lease_file) if identity else None
    if process is None:
        # Its parent died before it could write the id down, or the id is stale.
        process = next(iter(processes.scan(folder.lease_file)), None)
    return _State(
        spec=folder.spec,
        lease=folder.lease,
        process=process,
        port=folder.port(process.pid) if process else None,
        deleting=folder.deleting,
    )


def _info(folder: Folder, state: _State) -> EndpointInfo:
    status, reason = _status(folder, state)
    spec, lease = state.spec, state.lease
    return EndpointInfo(
        name=folder.name,
        host="local",
        status=status,
        url=f"http://127.0.0.1:{state.port}" if state.port and status is not EndpointStatus.FAILED else None,
        model=spec.model if spec else "",
        # Of a damaged spec nobody knows the contract; nobody can connect to a failed endpoint either.
        contract=spec.contract if spec else "tei",
        owner=lease.owner if lease else "",
        run_id=lease.run_id if lease else "",
        lease_expires_at=lease.expires_at if lease else None,
        failure_reason=reason,
    )


def _status(folder: Folder, state: _State) -> tuple[EndpointStatus, str | None]:
    if state.deleting and state.process is not None:
        return EndpointStatus.DELETING, None
    if reason := _fault(folder, state):
        return EndpointStatus.FAILED, reason
    in_service = state.port is not None and _answers(state.port)
    return (EndpointStatus.IN_SERVICE if in_service else EndpointStatus.CREATING), None


def _fault(folder: Folder, state: _State) -> str | None:
    if state.deleting:
        return "its deletion was cut short"
    if state.spec is None:
        return f"{folder.spec_file.name} is damaged"
    if state.lease is None:
        return f"{folder.lease_file.name} is missing or damaged"
    if state.lease.expires_at <= datetime.now(UTC):
        return f"its lease lapsed at {state.lease.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    if state.process is None:
        identity = folder.identity
        code = processes.exit_code(identity) if identity else None
        return "its process is gone" + ("" if code is None else f" (exit code {code})")
    return None


def _answers(port: int) -> bool:
    # Not httpx: no proxy of the environment may come between, and `endpoints ls` should be quick.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PING_SECONDS)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _extend(folder: Folder, until: datetime) -> None:
    lease = folder.lease
    if lease is not None and until > lease.expires_at:
        folder.write_lease(lease.model_copy(update={"expires_at": until}))


def _port(spec: EndpointSpec) -> int:
    unknown = sorted(set(spec.options) - {"port"})
    text = spec.options.get("port", "0")
    if unknown or not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise ConfigurationError(
            f"options of endpoint {spec.name!r} are not valid: {dict(spec.options)!r}",
            hint="The local host knows one option, `port`: 0 (any) to 65535.",
        )
    return int(text)


def _check_free(port: int, name: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise EndpointError(
                f"port {port} cannot be used by endpoint {name!r}: {error.strerror}",
                place=f"127.0.0.1:{port}",
                hint="End the program that listens there, or choose another port.",
            ) from error


def _quote(folder: Folder) -> str:
    tail = folder.log_tail()
    return f"\nEnd of its log:\n{tail}\n" if tail else ""
