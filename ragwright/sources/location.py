"""Where an FAQ is: a local file as it stands, anything else as a download."""

from __future__ import annotations

import difflib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ragwright.errors import SourceError
from ragwright.progress import Progress
from ragwright.settings import SourceSettings


@dataclass(frozen=True)
class Located:
    """A readable local file.

    Attributes:
        path: Where its bytes are.
        place: What to call it in a message; no credentials.
        name: The name whose suffix tells the format.
    """

    path: Path
    place: str
    name: str


def locate(spec: str | Path, settings: SourceSettings, resources: ExitStack, progress: Progress) -> Located:
    """Find a local file or download a remote one; `resources` removes the download.

    Raises:
        SourceError: There is no such file, or it may not be read.
        TransientError: The other side does not answer now.
    """
    scheme, separator, _ = str(spec).partition("://")
    if not separator:
        return _local(Path(spec))
    if scheme.lower() not in {"http", "https", "s3"}:
        raise SourceError(
            f"cannot read from {scheme!r} addresses",
            place=f"{scheme}://...",
            hint="Use a path, https://, http:// or s3://bucket/key.",
        )
    from ragwright.sources.remote import download

    path, place, name = download(str(spec), settings, resources, progress)
    return Located(path, place, name)


def named(spec: str) -> str:
    """What to call a source where others read it: of an address no user name, no password and no signed query."""
    if "://" not in spec:
        return spec
    try:
        parts = urlsplit(spec)
    except ValueError:
        return f"{spec.partition('://')[0]}://..."
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _local(path: Path) -> Located:
    place = str(path)
    try:
        if path.is_dir():
            raise SourceError("this is a folder, not a file", place=place, hint=_offer(path, ""))
        if not path.is_file():
            what = "there is no such file" if not path.exists() else "this is not a regular file"
            raise SourceError(what, place=place, hint=_offer(path.parent, path.name))
        with path.open("rb"):
            pass
    except OSError as error:
        raise SourceError(
            f"the file cannot be opened: {error.strerror}", place=place, hint="Check its permissions."
        ) from error
    return Located(path, place, path.name)


def _offer(folder: Path, name: str) -> str:
    """Suggest the files of a folder that come near a name, or that look like data."""
    if not folder.is_dir():
        return f"There is no folder {str(folder)!r} either; this process runs in {str(Path.cwd())!r}."
    files = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    near = difflib.get_close_matches(name, files, n=3, cutoff=0.5) if name else []
    near = near or [file for file in files if file.endswith((".csv", ".jsonl", ".parquet"))][:5]
    if not near:
        return f"The folder {str(folder)!r} has no CSV, JSONL or Parquet file."
    return "Did you mean " + " or ".join(repr(str(folder / file)) for file in near) + "?"
