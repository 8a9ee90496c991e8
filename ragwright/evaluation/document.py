"""The HTML document around a page: it needs no script, fetches nothing, and opens from disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ragwright.errors import ConfigurationError, StorageFull, is_disk_full
from ragwright.evaluation.html_style import STYLE
from ragwright.evaluation.markup import Child, Markup, el

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def document(title: str, body: Child) -> str:
    """A whole document with the project's style sheet; the same body gives the same bytes."""
    whole = el(
        "html",
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            el("title", title),
            el("style", Markup(STYLE)),
        ),
        el("body", el("main", body)),
        lang="en",
    )
    return f"<!doctype html>\n{whole}\n"


def write_files(out: Path, files: Mapping[Path, bytes]) -> None:
    """Put a page, and what lies beside it, where people find it; readers see each file whole or as it was.

    Args:
        out: The page, which errors name.
        files: Contents by path, all in the page's folder.

    Raises:
        ConfigurationError: A file cannot be written.
        StorageFull: There is no room.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            unfinished = path.with_name(f".{path.name}.{os.getpid()}")
            unfinished.write_bytes(content)
            unfinished.replace(path)
    except OSError as error:
        if is_disk_full(error):
            raise StorageFull(f"no room to write {str(out)!r}", hint="Free some space and try again.") from error
        raise ConfigurationError(
            f"{str(out)!r} cannot be written: {error.strerror}", hint="Name a writable file with --out."
        ) from error
