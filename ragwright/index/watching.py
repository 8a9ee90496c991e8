"""Whether a source has changed since somebody last looked, without reading it.

What was seen last is in the catalog (`watched/<digest>.json`), so that any worker may look next.
"""

from __future__ import annotations

from dataclasses import dataclass

from ragwright.documents import content_hash
from ragwright.index.catalog import Catalog, now
from ragwright.settings import SourceSettings
from ragwright.sources.version import source_version


@dataclass(frozen=True)
class Change:
    """A source that is not what it was.

    Attributes:
        source: Its address; one with credentials in it is never watched.
        version: What it says of its content now.
        before: What it said at the last look; empty: nobody has looked before.
    """

    source: str
    version: str
    before: str = ""

    @property
    def digest(self) -> str:
        """Names the source in a resource id or a file name."""
        return content_hash((self.source,))[:16]


def look(catalog: Catalog, source: str, settings: SourceSettings) -> Change | None:
    """The change since the last look that was noted, if any. A source that nobody has looked at counts as changed.

    Raises:
        SourceError: It is not there, or says nothing by which a change could be known.
        TransientError: The other side does not answer now.
    """
    change = Change(source, source_version(source, settings))
    seen = catalog.read_json(_path(change)) or {}
    before = str(seen.get("version", ""))
    return None if before == change.version else Change(source, change.version, before)


def note(catalog: Catalog, change: Change) -> None:
    """Write down that a change was told, so that the next look does not tell it again."""
    catalog.write_json(_path(change), {"source": change.source, "version": change.version, "at": now()})


def _path(change: Change) -> str:
    return f"watched/{change.digest}.json"
