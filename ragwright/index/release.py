"""Publishing, by hand, a candidate that the gate blocked."""

from __future__ import annotations

import sys
from typing import Any

from ragwright.errors import CatalogError, ConfigurationError, NotVisibleYet, StoreError
from ragwright.index.attempt import publish as append_entry
from ragwright.index.attempt import reopen
from ragwright.index.catalog import Catalog, Entry, Head, folder, now
from ragwright.index.lease import WriterLease
from ragwright.index.verify import verify_candidate
from ragwright.stores import VectorStore


def release(
    catalog: Catalog,
    store: VectorStore,
    lease: WriterLease,
    generation: int,
    *,
    reason: str,
    run_id: str = "",
    timeout: float = 10,
) -> Entry:
    """Let readers see a blocked candidate, after looking once more whether all of it is there.

    Args:
        catalog: Of the index.
        store: Where its records are.
        lease: Held by the caller: nobody else may write meanwhile.
        generation: The candidate.
        reason: Why it goes live all the same, for the log.
        run_id: Who publishes.
        timeout: Seconds for the store to show what was written, which was long ago.

    Raises:
        ConfigurationError: No reason is given.
        CatalogError: There is no such candidate, or another generation went live since it began.
        StoreError: Its records are not as they were when it was judged.
        PublishConflict: Somebody rolled back at this moment; nothing was changed.
        LeaseLost: The writer lease lapsed.
    """
    if not reason.strip():
        raise ConfigurationError(
            "a blocked generation is published for a reason, and none is given", hint="Name it with --reason."
        )
    head = catalog.head()
    end = _blocked(catalog, head, generation)
    attempt = reopen(catalog, store, generation, lease, request_timeout=lease.longest_request)
    try:
        # All of it, however large: later attempts may have taken records over, or ended others.
        verify_candidate(attempt, whole_up_to=sys.maxsize, timeout=timeout)
    except (NotVisibleYet, StoreError) as error:
        raise StoreError(
            f"generation {generation} is not what was judged any more: {error.what}",
            place=f"index {catalog.index!r}",
            hint="A later run went on with its records. Publish that one (`ragwright generations`), or run again.",
        ) from error
    counts = end["report"]["ledger"] | {"records": end["report"]["chunks"]}
    entry = append_entry(attempt, counts=counts, reason=reason, after=head.sequence, run_id=run_id)
    told = end | {"outcome": "published", "released": {"at": now(), "reason": reason, "run_id": run_id}}
    catalog.write_json(attempt.path("end.json"), told | {"report": end["report"] | {"published": True}})
    return entry


def _blocked(catalog: Catalog, head: Head, generation: int) -> dict[str, Any]:
    """How the attempt ended, if it is a candidate that can still go live."""
    begin = catalog.begin_of(generation)
    end = catalog.read_json(f"{folder(generation)}/end.json") or {}
    why, hint = "", "`ragwright generations` shows the state of each."
    since = [entry for entry in head.entries if entry.sequence > begin.head and entry.kind != "vacuum"]
    if any(entry.generation == generation and entry.kind == "publish" for entry in head.entries):
        why = "it was published before"
        hint = "`ragwright rollback` goes back to an older generation."
    elif since:
        last = since[-1]
        why = f"since it began a {last.kind} made generation {last.generation} live"
        hint = "Run the re-index again: what it wrote is reused, and it is judged against what is live now."
    elif end.get("outcome") != "blocked":
        why = f"it is {end.get('outcome', 'unfinished')}, and only a blocked one was verified and judged"
        hint = "Run the re-index again: what it wrote is reused."
    if why:
        raise CatalogError(
            f"generation {generation} cannot be published: {why}", place=f"index {catalog.index!r}", hint=hint
        )
    return end
