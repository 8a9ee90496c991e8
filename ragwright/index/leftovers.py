"""What killed writers leave in a catalog that is a folder.

The object store library writes a file under the name `FILE#NUMBER` first and then renames it; neither it nor
`Catalog.names` ever shows those names. S3 has nothing of the kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ragwright.folders import files_under
from ragwright.index.catalog import Catalog

_UNFINISHED = re.compile(r".+#\d+")


def unfinished_files(catalog: Catalog, below: str = "") -> list[Path]:
    """Files whose writing has begun and not ended, in one folder of the catalog or in all of it."""
    if catalog.location.startswith("s3://"):
        return []
    root = Path(catalog.location.removeprefix("file://")) / catalog.index / below
    return [path for path in files_under(root) if _UNFINISHED.fullmatch(path.name)]


def remove(files: Iterable[Path]) -> int:
    """Remove those that are still there; returns how many. Whoever still writes one fails with an error, no more."""
    there = [file for file in files if file.exists()]
    for file in there:
        file.unlink(missing_ok=True)
    return len(there)
