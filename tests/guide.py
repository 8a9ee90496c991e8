"""The adapters that docs/adding-a-backend.md shows, as modules to import; the contract suites run over them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from code_blocks import ROOT, blocks

GUIDE = ROOT / "docs" / "adding-a-backend.md"


@contextmanager
def adapters_of_the_guide(folder: Path) -> Iterator[None]:
    """For as long as the block runs, the modules of the guide can be imported; they are written into a folder."""
    for block in blocks(GUIDE):
        if block.file.endswith(".py"):
            (folder / block.file).write_text(block.text, encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
