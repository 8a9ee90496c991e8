"""From staged chunks to a plan written ahead: what the catalog knows, what the store says, what must change.

Read and written a partition at a time. What has to be whole in memory is what an earlier generation shows, and what
earlier attempts left: nothing, where an index is made from nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.errors import CatalogError, NotVisibleYet
from ragwright.index import tables
from ragwright.index.attempt import MANIFEST, Attempt
from ragwright.index.catalog import folder
from ragwright.index.lines import DesiredLines, chunk_ids
from ragwright.index.loading import loaded
from ragwright.index.plan import OPERATIONS, Op, Outline, Plan, known_records, needs_reading, read_back, reconcile
from ragwright.index.writing import acknowledged
from ragwright.seen import NEVER, Seen

log = logging.getLogger(__name__)


def make_plan(attempt: Attempt, partitions: int, *, visibility_timeout: float = 60, ask_store: bool = True) -> Outline:
    """Decide what to send to the store, and write it down before anything is sent.

    Args:
        attempt: Staged and chunked.
        partitions: How many partitions were staged.
        visibility_timeout: Seconds to wait for what earlier attempts wrote to show.
        ask_store: Whether the attempt's space is there to be asked.
    """
    if attempt.same_as and not attempt.earlier:
        return _plan_nothing(attempt)
    known = known_records(attempt.base_manifest, [plan.operations for _, plan in attempt.earlier])
    asked = needs_reading(known)
    if asked and ask_store:
        _await_earlier_writes(attempt, visibility_timeout)
        found = attempt.store.fetch(attempt.space, asked, columns=("record_id", "died"))
        known = read_back(known, asked, found)
    known = attempt.damage.apply(known)
    lines = DesiredLines(attempt, partitions)
    decided = _Decided.of(attempt, known, lines) if len(known) else _Decided()
    _write_manifest(attempt, lines, decided)
    return _write_plan(attempt, partitions, decided)


def _plan_nothing(attempt: Attempt) -> Outline:
    """Show what an earlier generation shows."""
    if not attempt.catalog.copy(f"{folder(attempt.same_as)}/manifest.parquet", attempt.path("manifest.parquet")):
        raise CatalogError(f"generation {attempt.same_as} has no manifest", place=f"index {attempt.catalog.index!r}")
    shown = tables.facts(attempt.catalog, attempt.path("manifest.parquet"))
    outline = Outline(dict.fromkeys(map(str, Op), 0) | {Op.KEEP: shown.rows if shown else 0})
    with tables.writing(attempt.catalog, attempt.path("plan.parquet"), OPERATIONS) as plan:
        plan.note(outline.to_metadata())
    return outline


@dataclass(frozen=True)
class _Decided:
    """What becomes of the records there are.

    Attributes:
        plan: All of it; empty where nothing was there.
        kept: Of `plan`, the records that the new generation shows: `record_id`, `born`.
        places: Where in `kept` the record of each desired line is, in their order; null where it has to be made.
        made: The chunks that are to be inserted.
    """

    plan: Plan = Plan(OPERATIONS.empty_table())  # noqa: RUF009 - frozen, and so is what it holds
    kept: pa.Table | None = None
    places: pa.Array | None = None
    made: Seen | None = None

    @classmethod
    def of(cls, attempt: Attempt, known: pa.Table, desired: DesiredLines) -> _Decided:
        """Beside everything that the new generation is to show."""
        wanted = pa.concat_arrays([pa.array([], pa.string()), *map(chunk_ids, desired)])
        plan = reconcile(known, wanted, base=attempt.begin.base, generation=attempt.generation)
        kept, made = plan.of(Op.KEEP, Op.REVIVE, Op.REWRITE).combine_chunks(), Seen()
        inserts = plan.of(Op.INSERT)["chunk_id"].to_pylist()
        made.note(inserts, range(len(inserts)))
        places = pc.index_in(wanted, kept["chunk_id"].combine_chunks())
        return cls(plan, kept.select(["record_id", "born"]), places, made)

    def shown(self, lines: pa.Table, start: int, generation: int) -> pa.Table:
        """Desired lines from `start` on with the records that show them: those that are kept, or else new ones."""
        record = pc.binary_join_element_wise(chunk_ids(lines), str(generation), ".")
        born = pa.array(np.full(len(lines), generation))
        if self.places is not None and self.kept is not None:
            at = self.places.slice(start, len(lines))
            record = pc.coalesce(pc.take(self.kept["record_id"].combine_chunks(), at), record)
            born = pc.coalesce(pc.take(self.kept["born"].combine_chunks(), at), born)
        return lines.append_column("record_id", record).append_column("born", born).select(MANIFEST.names)

    def inserts(self, chunks: pa.Array) -> pa.Array:
        """Those of some staged chunks that no record shows."""
        if self.made is None:
            return chunks
        return chunks.filter(pa.array(self.made.find(chunks.to_pylist()) != NEVER))


def _write_manifest(attempt: Attempt, desired: DesiredLines, decided: _Decided) -> None:
    start = 0
    with tables.writing(attempt.catalog, attempt.path("manifest.parquet"), MANIFEST) as manifest:
        for lines in desired:
            manifest.write(decided.shown(lines, start, attempt.generation))
            start += len(lines)


def _write_plan(attempt: Attempt, partitions: int, decided: _Decided) -> Outline:
    """All that will be sent, and of what stays only the number, so that it costs nothing."""
    generation, counts = attempt.generation, decided.plan.counts()
    with tables.writing(attempt.catalog, attempt.path("plan.parquet"), OPERATIONS) as plan:
        sent = pc.invert(pc.is_in(decided.plan.operations["op"], pa.array([str(Op.KEEP), str(Op.INSERT)])))
        plan.write(decided.plan.operations.filter(sent))
        inserts = []
        for chunks in _staged(attempt, partitions):
            new = _insertion(decided.inserts(chunks), generation)
            plan.write(new)
            inserts.append(len(new))
        if decided.made is None:
            counts[Op.INSERT] = sum(inserts)
        elif counts[Op.INSERT] > sum(inserts):
            # Rows that are as they were, of which the store has lost a record: to be missed when all is verified.
            staged = pa.concat_arrays([pa.array([], pa.string()), *_staged(attempt, partitions)])
            lost = decided.plan.of(Op.INSERT)
            plan.write(lost.filter(pc.invert(pc.is_in(lost["chunk_id"], staged))))
        outline = Outline(counts, tuple(inserts))
        plan.note(outline.to_metadata())
    return outline


def _insertion(chunks: pa.Array, generation: int) -> pa.Table:
    columns = {
        "op": pa.array([str(Op.INSERT)] * len(chunks), pa.string()),
        "record_id": pc.binary_join_element_wise(chunks, str(generation), "."),
        "chunk_id": chunks,
        "born": pa.array(np.full(len(chunks), generation)),
    }
    return pa.table(columns, schema=OPERATIONS)


def _staged(attempt: Attempt, partitions: int) -> Iterator[pa.Array]:
    """Chunk ids of each partition."""
    for number in range(partitions):
        yield chunk_ids(attempt.table(f"chunks/{number:05d}.parquet", columns=["chunk_id"]))


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
