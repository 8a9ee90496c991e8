"""What is written down about a local endpoint, so that any process on this machine can find it again.

`<home>/endpoints/<name>/` holds `spec.json` (the endpoint exists while this file does), `lease.json`, `process.json`,
`ready.json` (written by the server once it listens), `token` and the logs. Files change only under the folder's lock
and are replaced whole, so that a reader without the lock sees the old or the new, never a half.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ragwright.endpoints import EndpointSpec, Lease
from ragwright.endpoints.processes import Identity
from ragwright.errors import ConfigurationError, EndpointError, StorageFull, TimedOut, is_disk_full

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,62}")
KEPT_LOGS = 3
LOCK_SECONDS = 60.0

Model = TypeVar("Model", bound=BaseModel)


class Folder:
    """The files of one endpoint.

    Reads return None for a file that is missing or damaged; what to make of that is the host's business. Writes raise
    `StorageFull` or `ConfigurationError` naming the folder.
    """

    def __init__(self, root: Path, name: str) -> None:
        if not NAME.fullmatch(name):
            raise EndpointError(
                f"{name!r} is not the name of an endpoint",
                place=str(root),
                hint="Names are up to 63 letters, digits and hyphens, the first not a hyphen.",
            )
        self.name = name
        self.path = root / name
        self.spec_file = self.path / "spec.json"
        self.lease_file = self.path / "lease.json"
        self.process_file = self.path / "process.json"
        self.ready_file = self.path / "ready.json"
        self.token_file = self.path / "token"
        self.log_file = self.path / "server.log"
        self._deleting_file = self.path / "deleting"

    @contextmanager
    def locked(self, *, timeout: float = LOCK_SECONDS) -> Iterator[None]:
        """Be the only one who changes this endpoint; the lock dies with its holder.

        Raises:
            TimedOut: Another process has held it for `timeout` seconds.
        """
        with self._writing():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Never removed: a lock on a file that is no longer at its path would exclude nobody.
            handle = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            deadline = time.monotonic() + timeout
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise TimedOut(
                            f"another process has been changing endpoint {self.name!r} for {timeout:g} s",
                            place=str(self.path),
                            hint="Wait for it, or end it.",
                        ) from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(handle)

    def exists(self) -> bool:
        """Whether there is such an endpoint, sound or not."""
        return self.spec_file.exists()

    @property
    def is_clear(self) -> bool:
        """Whether nothing but logs is left."""
        return not any(path for path in self._files() if not path.name.startswith("server.log"))

    @property
    def spec(self) -> EndpointSpec | None:
        """What was deployed."""
        return _read(self.spec_file, EndpointSpec)

    @property
    def lease(self) -> Lease | None:
        """Whose it is and until when."""
        return _read(self.lease_file, Lease)

    @property
    def identity(self) -> Identity | None:
        """The server's process."""
        match _read_json(self.process_file):
            case {"pid": int(pid), "created": float(created)} if pid > 0:
                return Identity(pid, created)
        return None

    def port(self, pid: int) -> int | None:
        """Where the server with that process id listens, once it does."""
        match _read_json(self.ready_file):
            case {"port": int(port), "pid": ready} if ready == pid and 0 < port < 65536:
                return port
        return None

    @property
    def token(self) -> str | None:
        """What a caller must show to the server."""
        try:
            return self.token_file.read_text("ascii").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    @property
    def deleting(self) -> bool:
        """Whether a deletion has begun."""
        return self._deleting_file.exists()

    def write_spec(self, spec: EndpointSpec) -> None:
        """From here on the endpoint exists."""
        self._write(self.spec_file, spec.model_dump_json())

    def write_lease(self, lease: Lease) -> None:
        """Set the lease; the server reads it again and again."""
        self._write(self.lease_file, lease.model_dump_json())

    def write_identity(self, identity: Identity) -> None:
        """Note the server's process."""
        self._write(self.process_file, json.dumps({"pid": identity.pid, "created": identity.created}))

    def write_token(self, token: str) -> None:
        """Keep the token where only this user reads it."""
        self._write(self.token_file, token)

    def begin_deletion(self) -> None:
        """Say that the endpoint is going."""
        # Only readers care, and a full disk must not keep an endpoint alive.
        with suppress(StorageFull):
            self._write(self._deleting_file, "")

    def clear(self) -> None:
        """Remove everything but the logs."""
        with self._writing():
            for path in self._files():
                if not path.name.startswith("server.log") and path != self._deleting_file:
                    path.unlink(missing_ok=True)
            self._deleting_file.unlink(missing_ok=True)

    def rotate_logs(self) -> None:
        """Make room for a new log; the last few are kept."""
        with self._writing():
            self.path.chmod(0o700)
            for age in range(KEPT_LOGS - 1, 0, -1):
                older, newer = self.log_file.with_suffix(f".log.{age}"), self.log_file.with_suffix(f".log.{age - 1}")
                source = newer if age > 1 else self.log_file
                if source.exists():
                    source.replace(older)
            os.close(os.open(self.log_file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))

    def log_tail(self, lines: int = 20) -> str:
        """The log's last lines, without the token."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - 16_384))
                text = log.read().decode("utf-8", "replace")
        except OSError:
            return ""
        if token := self.token:
            text = text.replace(token, "***")
        return "\n".join(text.splitlines()[-lines:])

    def _files(self) -> Iterator[Path]:
        try:
            yield from [path for path in self.path.iterdir() if path.is_file() and path.name != "lock"]
        except (FileNotFoundError, NotADirectoryError):
            return

    def _write(self, path: Path, text: str) -> None:
        draft = path.with_name(f".{path.name}.draft")
        with self._writing():
            handle = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                # Else a power cut may leave the new name with no content.
                os.fsync(file.fileno())
            draft.replace(path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if is_disk_full(error):
                raise StorageFull(
                    f"no room to write {error.filename or str(self.path)!r}",
                    place=str(self.path),
                    hint="Free some space, or name another folder in RAGWRIGHT_HOME.",
                ) from error
            raise ConfigurationError(
                f"cannot write {error.filename or str(self.path)!r}: {error.strerror}",
                place=str(self.path),
                hint="Make the folder writable, or name another one in RAGWRIGHT_HOME.",
            ) from error


def names(root: Path) -> list[str]:
    """Names of all folders under `root` that could be endpoints, sorted."""
    try:
        return sorted(path.name for path in root.iterdir() if path.is_dir() and NAME.fullmatch(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def _read(path: Path, model: type[Model]) -> Model | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
