"""Re-indexes again and again on a small disk, each time with a little more room.

    full_disk.py HOME SOURCE DISK PAGES...

For each number of pages the disk is filled until as much is free, and a process of its own tries a re-index; after the
last one it tries with all the room there is. Prints one JSON line a try. Run it in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from published_index import Live, settings_of

from ragwright.errors import RagwrightError
from ragwright.index.attempt import ReindexRequest
from ragwright.index.reindex import reindex


def fill(disk: Path, pages: int) -> None:
    """Take all room but so many pages."""
    room = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, (room.f_bavail - pages) * room.f_bsize)
    assert os.statvfs(disk).f_bavail == pages, (os.statvfs(disk), pages)


def attempt(home: Path, source: str) -> dict[str, object]:
    """Re-index, and look with a reader's eyes."""
    live = Live(settings_of(home))
    told: dict[str, object]
    try:
        told = {"published": reindex(live.settings, ReindexRequest(source=source)).to_json()}
    except RagwrightError as error:
        told = {"type": type(error).__name__, "message": error.what, "place": error.place, "hint": error.hint}
    return told | {"head": live.head(), "said": live.said(), "rows": len(live.shown())}


def main() -> None:
    """Try with each number of pages, then with all."""
    sys.path.append(str(Path(__file__).parents[1]))
    from warm_imports import warm

    warm()  # each try is a fork of this process
    home, source, disk = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    for pages in (*map(int, sys.argv[4:]), None):
        (disk / "filler").unlink(missing_ok=True)
        if pages is not None:
            fill(disk, pages)
        child = os.fork()
        if child == 0:
            print(json.dumps({"pages": pages} | attempt(home, source)), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
