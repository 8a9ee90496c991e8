"""Finding out whether the live generation is as promised, and making it so again."""

from __future__ import annotations

from contextlib import ExitStack

from ragwright.assembly import in_service, wanted_endpoints
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.audit import Audit, audit, entry_source
from ragwright.index.catalog import nothing_published
from ragwright.index.reindex import ReindexReport, reindex
from ragwright.progress import Progress, silent
from ragwright.settings import Settings
from ragwright.sources import open_source
from ragwright.stores import open_store


def audit_live(settings: Settings, source: str | None = None, *, progress: Progress = silent) -> Audit:
    """Compare the live generation with the store and with its source (the one it was made from, by default).

    Raises:
        RagwrightError: It could not be told.
    """
    with ExitStack() as stack:
        catalog = stack.enter_context(open_catalog(settings))
        entry = catalog.head().last
        if entry is None:
            raise nothing_published(settings.index)
        store = stack.enter_context(open_store(settings.store_spec, retry=settings.retry))
        opened = stack.enter_context(open_source(source or entry_source(catalog, entry), settings.source))
        return audit(catalog, store, entry, opened, progress=progress)


def mend(settings: Settings, found: Audit, source: str | None = None, *, progress: Progress = silent) -> ReindexReport:
    """Publish a generation in which every damaged record is written anew; the damaged one stays as it is until then."""
    with open_catalog(settings) as catalog:
        origin = source or catalog.begin_of(found.generation).source
    request = ReindexRequest(source=origin, repair=True, reason=f"repair of generation {found.generation}")
    wanted = wanted_endpoints(settings, generator=False)
    with in_service(settings, wanted, minutes=settings.endpoints.ask_lease_minutes, progress=progress):
        return reindex(settings, request, progress=progress)
