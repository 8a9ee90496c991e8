"""Brings a model's files into the cache: once, whole, and checked.

The cache is content-addressed, so models share files::

    <cache>/<sha256>/model.onnx         appears by rename, after its hash was checked
    <cache>/<sha256>/model.onnx.checked what the file looked like when it was last hashed
    <cache>/<sha256>/.lock              held (flock) by the process that fetches; the kernel frees it when that dies
    <cache>/<sha256>/partial/           whatever is being fetched; leftovers are removed by the next holder of the lock
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ragwright.errors import ConfigurationError, ModelError, StorageFull, is_disk_full
from ragwright.models.catalog import ModelFile, PathSource, get_model
from ragwright.models.fetching import NotFetched, fetch
from ragwright.progress import Progress, silent

ModelFiles = Mapping[str, Path]
"""Verified files on this machine by role: `model`, `tokenizer`, `config`, `reference`."""


def resolve(
    name: str, *, cache: Path, progress: Progress = silent, roles: Collection[str] | None = None
) -> dict[str, Path]:
    """Bring a model's files to this machine and say where they are.

    A file is fetched at most once per cache, whatever runs at the same time, and hashed before it gets its name. Later
    calls trust it as long as its size, times and inode are those of the last hashing: that notices any write or
    replacement in microseconds, where hashing a large model again at every start would take seconds. A file that
    differs is hashed again, and fetched again if it is not what it should be.

    Args:
        name: As for `get_model`.
        cache: Folder that holds the files.
        progress: Told the bytes fetched of each file.
        roles: Only these files; None for all.

    Raises:
        ConfigurationError: The model is unknown.
        ModelError: No source has the file. The message names each with its reason, and how to provide it by hand.
        StorageFull: The disk is.
    """
    files = {role: file for role, file in get_model(name).files.items() if roles is None or role in roles}
    return {
        role: _provide(file, what=f"{role} of {name!r}", cache=cache, progress=progress) for role, file in files.items()
    }


def _provide(file: ModelFile, *, what: str, cache: Path, progress: Progress) -> Path:
    failures: list[str] = []
    for source in file.sources:
        if not isinstance(source, PathSource):
            continue
        stamp = cache / "local" / f"{hashlib.sha256(str(source.path).encode()).hexdigest()[:32]}.checked"
        try:
            if _is_right(source.path, file, stamp=stamp):
                return source.path
            failures.append(f"{source}: {'other content' if source.path.exists() else 'no such file'}")
        except OSError as error:
            failures.append(f"{source}: {error.strerror}")
    if file.sha256 is None:
        raise ModelError(f"cannot read the {what}. Tried: {'; '.join(failures)}.", hint="Name another path.")

    place = cache / file.sha256 / file.filename
    stamp = place.with_name(place.name + ".checked")
    try:
        if _is_right(place, file, stamp=stamp):
            return place
        waiting = f"{place.name}, fetched by another process"
        place.parent.mkdir(parents=True, exist_ok=True)
        with _lock(place.parent / ".lock", waiting=lambda: progress(waiting, 0, None)):
            if _is_right(place, file, stamp=stamp):
                return place
            partial = place.parent / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                _fetch_first(file, failures, partial, place, progress)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            if _is_right(place, file, stamp=stamp):
                return place
    except OSError as error:
        if is_disk_full(error):
            raise StorageFull(
                f"no room for {file.filename} ({_megabytes(file.size)}), the {what}.",
                place=str(cache),
                hint="Free some space, or name another folder with RAGWRIGHT_MODEL_CACHE.",
            ) from error
        raise ConfigurationError(
            f"the model cache cannot be used: {error}.",
            place=str(cache),
            hint="Name another folder with RAGWRIGHT_MODEL_CACHE.",
        ) from error
    raise ModelError(
        f"cannot get {file.filename} ({_megabytes(file.size)}), the {what}. Tried: {'; '.join(failures)}.",
        hint=(
            f"Check the network and try again; or put the file there by hand, as {place.absolute()} (its SHA-256 is "
            f"{file.sha256}); or name your own copy as a source, {{ path = ... }}, in a models.toml."
        ),
    )


def _fetch_first(file: ModelFile, failures: list[str], partial: Path, place: Path, progress: Progress) -> None:
    """Move the file into place from the first source that has it; collect why the others did not."""
    for source in file.sources:
        if isinstance(source, PathSource):
            continue
        folder = partial / str(len(failures))
        folder.mkdir()
        try:
            found = fetch(source, file, folder=folder, progress=progress)
        except NotFetched as reason:
            failures.append(f"{source}: {reason}")
            continue
        got = _sha256(found)
        if got == file.sha256:
            _sync(found)
            os.replace(found, place)
            return
        failures.append(f"{source}: its SHA-256 is {got}, not {file.sha256}")


def _is_right(path: Path, file: ModelFile, *, stamp: Path) -> bool:
    """Whether the file is there and is what it should be, hashing it only if it changed since it was last hashed."""
    try:
        now = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if file.size is not None and now.st_size != file.size:
        return False
    if file.sha256 is None:
        return True
    # ctime moves with every write and replacement, and unlike mtime it cannot be set back.
    look = [file.sha256, now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino]
    try:
        if json.loads(stamp.read_text()) == look:
            return True
    except (OSError, ValueError):
        pass  # never stamped, or torn: hashing decides
    if _sha256(path) != file.sha256:
        return False
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        draft = stamp.with_name(f"{stamp.name}.{os.getpid()}")
        draft.write_text(json.dumps(look))
        os.replace(draft, stamp)
    except OSError:
        pass  # a read-only or full cache still serves; it is hashed again next time
    return True


@contextmanager
def _lock(path: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock that dies with its holder; `waiting` is called if someone else has it."""
    with open(path, "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Have the bytes on the disk before the name is, so that a power cut cannot leave a named half file."""
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())


def _megabytes(size: int | None) -> str:
    return "size unknown" if size is None else f"{size / 1e6:.1f} MB"
