"""What calibration found on this machine, written down beside the model's files.

    <folder>/<digest>.json   a choice of options, with what it was made for
    <folder>/<digest>.npy    a model's own f32 vectors of the sample, where nobody knows the original's
    <folder>/.lock           held (flock) while measuring, so that two servers do not slow each other down; the kernel
                             frees it when its holder dies

A file appears by rename, whole. One that is damaged is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ragwright.errors import ModelError
from ragwright.serving.runtimes import Vectors
from ragwright.serving.runtimes.options import EncoderOptions
from ragwright.serving.runtimes.reference import read_vectors

Circumstances = Mapping[str, Any]
"""What a choice was made for, JSON-ready: another processor, version or file makes it another choice."""


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    made_for: dict[str, Any]
    options: EncoderOptions
    texts_per_second: dict[str, float]


class Choices:
    """The folder of choices.

    Args:
        folder: Made when something is written.
        warn: Told what could not be read or written; neither keeps a model from being served.
    """

    def __init__(self, folder: Path, *, warn: Callable[[str], None]) -> None:
        self._folder, self._warn = folder, warn

    def read(self, made_for: Circumstances) -> EncoderOptions | None:
        """The options chosen before; None if nothing readable is there."""
        path = self._path(made_for, ".json")
        try:
            written = _Written.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            self._warn(f"{path} is not a choice of options and is made again: {_first_line(error)}")
            return None
        return written.options

    def write(self, made_for: Circumstances, options: EncoderOptions, texts_per_second: Mapping[str, float]) -> None:
        """Keep a choice for the next start."""
        written = _Written(made_for=dict(made_for), options=options, texts_per_second=dict(texts_per_second))
        self._write(self._path(made_for, ".json"), lambda file: file.write(written.model_dump_json(indent=1).encode()))

    def read_vectors(self, made_for: Circumstances, *, dimension: int) -> Vectors | None:
        """A model's own vectors of the sample, float32 [n, d]; None if nothing readable is there."""
        path = self._path(made_for, ".npy")
        if not path.exists():
            return None
        try:
            return read_vectors(path, dimension=dimension)
        except ModelError as error:
            self._warn(f"{error.what} They are computed again: {path}")
            return None

    def write_vectors(self, made_for: Circumstances, vectors: Vectors) -> None:
        """Keep them for the next start."""
        self._write(self._path(made_for, ".npy"), lambda file: np.save(file, vectors))

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Wait until nobody else measures, and let nobody else."""
        with ExitStack() as held:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                fcntl.flock(held.enter_context(open(self._folder / ".lock", "a")), fcntl.LOCK_EX)
            except OSError as error:
                self._warn(f"{self._folder} cannot be locked, so others may measure meanwhile: {error.strerror}")
            yield

    def _path(self, made_for: Circumstances, suffix: str) -> Path:
        digest = hashlib.sha256(json.dumps(made_for, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{digest[:32]}{suffix}"

    def _write(self, path: Path, write: Callable[[BinaryIO], object]) -> None:
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(draft, "wb") as file:
                write(file)
            os.replace(draft, path)
        except OSError as error:
            with suppress(OSError):
                draft.unlink()
            self._warn(f"{path} cannot be written, so the next start measures again: {error.strerror}")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
