"""Folders that other processes work in at the same time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_under(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in no order; none where there is no such folder.

    A folder that goes away while it is listed counts as empty, where `Path.rglob` of Python 3.11 raises.
    A file that is named may be gone when the caller comes to it.
    """
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in names)
