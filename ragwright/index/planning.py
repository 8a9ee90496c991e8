"""From staged chunks to a plan written ahead: what the catalog knows, what the store says, what must change."""

from __future__ import annotations

import logging

import pyarrow as pa
import pyarrow.compute as pc

from ragwright.errors import CatalogError, NotVisibleYet
from ragwright.index.attempt import MANIFEST, Attempt
from ragwright.index.catalog import folder
from ragwright.index.loading import loaded
from ragwright.index.plan import OPERATIONS, Op, Plan, known_records, needs_reading, read_back, reconcile
from ragwright.index.staging import desired_lines
from ragwright.index.writing import acknowledged

log = logging.getLogger(__name__)


def make_plan(attempt: Attempt, partitions: int, *, visibility_timeout: float = 60, ask_store: bool = True) -> Plan:
    """Decide what to send to the store, and write it down before anything is sent.

    Args:
        attempt: Staged and chunked.
        partitions: How many partitions were staged.
        visibility_timeout: Seconds to wait for what earlier attempts wrote to show.
        ask_store: Whether the attempt's space is there to be asked.
    """
    if attempt.same_as and not attempt.earlier:
        return _plan_nothing(attempt)
    lines = desired_lines(attempt, partitions)
    known = known_records(attempt.base_manifest, [plan.operations for _, plan in attempt.earlier])
    asked = needs_reading(known)
    if asked and ask_store:
        _await_earlier_writes(attempt, visibility_timeout)
        found = attempt.store.fetch(attempt.space, asked, columns=("record_id", "died"))
        known = read_back(known, asked, found)
    known = attempt.damage.apply(known)
    plan = reconcile(known, lines["chunk_id"].combine_chunks(), base=attempt.begin.base, generation=attempt.generation)
    attempt.catalog.write_table(attempt.path("manifest.parquet"), _manifest(lines, plan))
    attempt.catalog.write_table(attempt.path("plan.parquet"), plan.to_table())
    return plan


def _plan_nothing(attempt: Attempt) -> Plan:
    """Show what an earlier generation shows."""
    if not attempt.catalog.copy(f"{folder(attempt.same_as)}/manifest.parquet", attempt.path("manifest.parquet")):
        raise CatalogError(f"generation {attempt.same_as} has no manifest", place=f"index {attempt.catalog.index!r}")
    plan = Plan(OPERATIONS.empty_table(), unlisted=len(attempt.table("manifest.parquet", columns=["part"])))
    attempt.catalog.write_table(attempt.path("plan.parquet"), plan.to_table())
    return plan


def _manifest(lines: pa.Table, plan: Plan) -> pa.Table:
    visible = plan.visible
    place = pc.index_in(lines["chunk_id"], visible["chunk_id"].combine_chunks())
    for name in ("record_id", "born"):
        lines = lines.append_column(name, pc.take(visible[name].combine_chunks(), place))
    return lines.select(MANIFEST.names).cast(MANIFEST)


def _await_earlier_writes(attempt: Attempt, timeout: float) -> None:
    """Let the store show what it acknowledged to attempts that did not publish, or their embeddings are paid twice."""
    published = {entry.generation for entry in attempt.catalog.head().entries}
    present: dict[str, None] = {}
    for number, plan in attempt.earlier:
        for record in plan.ids(Op.DELETE):
            present.pop(record, None)
        if number not in published:
            present |= dict.fromkeys(acknowledged(attempt.catalog, number))
            present |= dict.fromkeys(loaded(attempt, number))
    if not present:
        return
    try:
        attempt.store.wait_visible(attempt.space, present=list(present), timeout=timeout)
    except NotVisibleYet as error:
        log.warning("going on without records that an earlier attempt wrote: %s", error)
