"""Conversations that outlive the process: one file each under the home folder, readable by its owner alone."""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ragwright.agent.memory import Exchange
from ragwright.agent.protocol import Step, Turn
from ragwright.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class ConversationInfo:
    """A stored conversation: when it began and was last continued (ISO 8601, UTC), and how many turns it has."""

    name: str
    created: str
    updated: str
    turns: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"name": self.name, "created": self.created, "updated": self.updated, "turns": self.turns}


class _StoredStep(BaseModel):
    model_config = ConfigDict(extra="forbid")
    action: str
    action_input: Any
    observation: str


class _StoredExchange(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str
    reply: str
    steps: list[_StoredStep]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")
    created: str
    updated: str
    exchanges: list[_StoredExchange]


class Conversations:
    """The conversations in a folder. A turn is added as a whole or not at all, whoever else adds turns.

    Args:
        folder: Made when the first conversation is stored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: str) -> tuple[Exchange, ...]:
        """What was said, oldest first; nothing where there is no such conversation yet.

        Raises:
            ConfigurationError: The name is no file name, or the file is damaged.
        """
        stored = self._read(self._path(name))
        return tuple(_exchange(item) for item in stored.exchanges) if stored else ()

    def append(self, name: str, turn: Turn) -> None:
        """Add a turn.

        Raises:
            ConfigurationError: As `load`.
        """
        path = self._path(name)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        steps = [_StoredStep.model_validate(step.to_json()) for step in turn.steps]
        added = _StoredExchange(text=turn.text, reply=turn.reply, steps=steps)
        with self._alone():
            stored = self._read(path) or _Stored(created=now, updated=now, exchanges=[])
            whole = _Stored(created=stored.created, updated=now, exchanges=[*stored.exchanges, added])
            _replace(path, whole.model_dump(mode="json"))

    def all(self) -> list[ConversationInfo]:
        """Every conversation, the last continued first.

        Raises:
            ConfigurationError: A file is damaged.
        """
        found = []
        for path in sorted(self._folder.glob("*.json")):
            stored = self._read(path)
            if stored is not None:
                found.append(ConversationInfo(path.stem, stored.created, stored.updated, len(stored.exchanges)))
        return sorted(found, key=lambda info: info.updated, reverse=True)

    def delete(self, name: str) -> None:
        """Remove a conversation.

        Raises:
            ConfigurationError: There is none of that name.
        """
        path = self._path(name)
        try:
            path.unlink()
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"there is no conversation {name!r}", place=str(self._folder), hint="See `ragwright chat --sessions`."
            ) from error

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name[:80]!r} cannot name a conversation",
                hint="Use up to 64 letters, digits, hyphens and underscores, the first a letter or digit.",
            )
        return self._folder / f"{name}.json"

    def _read(self, path: Path) -> _Stored | None:
        try:
            return _Stored.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ConfigurationError(
                f"the stored conversation {path.stem!r} is damaged",
                place=str(path),
                hint=f"Mend the file, or remove it: ragwright chat --delete {path.stem}",
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two processes that continue one conversation must not lose each other's turns."""
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _exchange(item: _StoredExchange) -> Exchange:
    steps = tuple(Step(step.action, step.action_input, step.observation) for step in item.steps)
    return Exchange(item.text, item.reply, steps)


def _replace(path: Path, value: Any) -> None:
    """Write beside the file and move it there: a reader sees the old one or the new one. Made for the owner alone."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
