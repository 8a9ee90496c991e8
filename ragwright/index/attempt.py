"""One try at a new generation: its number, its place in the catalog, and what it was told to do.

An attempt's state is in the catalog, not in a process: every stage can run in a process of its own, given the
generation's number, and a stage that is repeated picks up where the last try stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from ragwright.abstention import Calibration
from ragwright.cloud_settings import PineconeSettings
from ragwright.documents import Fingerprint
from ragwright.errors import CatalogError
from ragwright.index import tables
from ragwright.index.catalog import Begin, Catalog, Entry, Head, folder, now
from ragwright.index.damage import DAMAGE, Damage
from ragwright.index.lease import Fence, WriterLease
from ragwright.index.plan import OPERATIONS, Op, Outline, Plan
from ragwright.retry import ONCE, RetryPolicy
from ragwright.settings import Settings
from ragwright.stores import VectorStore

_T = TypeVar("_T")

MANIFEST = pa.schema(
    [
        ("row", pa.int64()),
        ("row_key", pa.string()),
        ("row_hash", pa.string()),
        ("part", pa.int32()),
        ("parts", pa.int32()),
        ("chunk_id", pa.string()),
        ("record_id", pa.string()),
        ("born", pa.int64()),
    ]
)
"""Every record a generation shows and the source row it comes from, in the source's order."""


class ReindexRequest(BaseModel):
    """What a re-index is asked to do; crosses the flow/task boundary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="The FAQ: a path, s3:// or https:// (CSV, JSONL or Parquet).")
    full: bool = Field(False, description="Embed everything again, into a new space.")
    resume: bool = Field(False, description="Go on in the space of the last attempt that did not publish.")
    allow_mass_delete: bool = Field(False, description="Accept a source that lost more than half of its rows.")
    repair: bool = Field(False, description="Compare the whole store with the live generation, and mend what differs.")
    run_id: str = Field("", description="Named in the log and in messages to other writers.")
    reason: str = Field("", description="Why, for the log.")


@dataclass(frozen=True)
class Attempt:
    """An open attempt. Made by `start` or `reopen`; holds live adapters, so it never crosses a task boundary."""

    catalog: Catalog
    store: VectorStore
    begin: Begin
    fence: Fence
    retry: RetryPolicy = ONCE
    request_timeout: float = 10.0
    bulk: PineconeSettings = field(default_factory=PineconeSettings)

    @property
    def generation(self) -> int:
        """Its number."""
        return self.begin.generation

    @property
    def space(self) -> str:
        """Where its records go."""
        return self.begin.space

    def path(self, name: str) -> str:
        """Where one of its files is in the catalog."""
        return f"{folder(self.generation)}/{name}"

    def guard(self) -> None:
        """Refuse to send a request to the store unless the writer lease outlives it.

        Raises:
            LeaseLost: It does not.
        """
        self.fence.check(self.request_timeout)

    def send(self, request: Callable[[VectorStore], _T]) -> _T:
        """Send a request that changes the store; again, if what went wrong may pass.

        Raises:
            LeaseLost: Others may be writing; nothing was sent.
        """

        def send_once() -> _T:
            self.guard()
            return request(self.store)

        return self.retry.call(send_once)

    def table(self, name: str, *, columns: Sequence[str] | None = None) -> pa.Table:
        """One of its Parquet files.

        Raises:
            CatalogError: An earlier stage has not written it.
        """
        table = self.catalog.read_table(self.path(name), columns=list(columns) if columns else None)
        if table is None:
            raise self._missing(name)
        return table

    def _missing(self, name: str) -> CatalogError:
        return CatalogError(
            f"{name!r} of generation {self.generation} is missing",
            place=f"index {self.catalog.index!r}",
            hint="The stage that writes it has not finished. Run the re-index again.",
        )

    def facts(self, name: str) -> dict[str, Any]:
        """One of its JSON files; empty if there is none."""
        return self.catalog.read_json(self.path(name)) or {}

    @cached_property
    def outline(self) -> Outline:
        """The figures of what it will send to the store."""
        found = tables.facts(self.catalog, self.path("plan.parquet"))
        if found is None or "outline" not in found.metadata:
            raise self._missing("plan.parquet")
        return Outline.from_metadata(found.metadata)

    def inserts(self, partition: int) -> pa.Array:
        """Chunk ids of what it will embed and write of one staged partition, as planned."""
        group = self.outline.group(partition)
        parts = [] if group is None else [group]
        found = tables.batches(self.catalog, self.path("plan.parquet"), ["chunk_id"], groups=parts)
        return pa.concat_arrays([pa.array([], pa.string()), *(batch["chunk_id"] for batch in found)])

    def planned(self, *ops: Op) -> pa.Table:
        """What it will do to records that are there: `OPERATIONS` of some kinds, as planned."""
        groups = self.outline.other
        found = tables.batches(self.catalog, self.path("plan.parquet"), OPERATIONS.names, groups=groups)
        return Plan(tables.table_of(found, OPERATIONS)).of(*ops)

    @cached_property
    def plan(self) -> Plan:
        """All that it will send to the store, as written ahead."""
        return Plan.from_table(self.table("plan.parquet"))

    @cached_property
    def same_as(self) -> int:
        """The generation whose source, rules and space it shares, so that it shows the same; 0: there is none."""
        return int(self.facts("source.json").get("same_as", 0))

    @cached_property
    def base_manifest(self) -> pa.Table | None:
        """Manifest of the newest generation published in the same space; None if there is none."""
        return manifest_of(self.catalog, self.begin.base) if self.begin.base else None

    @cached_property
    def live_manifest(self) -> pa.Table | None:
        """Manifest of the live generation; None before the first."""
        if self.begin.live == self.begin.base:
            return self.base_manifest
        return manifest_of(self.catalog, self.begin.live)

    @cached_property
    def succeeds_abandoned(self) -> bool:
        """Whether a generation after its base was published in its space and then given up by a rollback."""
        published = {entry.generation for entry in self.catalog.head().entries}
        return any(number in published for number, _ in self.earlier)

    @cached_property
    def damage(self) -> Damage:
        """What it was told to repair; empty for most."""
        table = self.catalog.read_table(self.path("damage.parquet"))
        return Damage(DAMAGE.empty_table() if table is None else table.cast(DAMAGE))

    @cached_property
    def earlier(self) -> list[tuple[int, Plan]]:
        """Attempts since the base that may have written to the same space, with their plans, oldest first."""
        found = []
        for number in self.catalog.attempts(after=self.begin.base):
            if number < self.generation and self.catalog.begin_of(number).space == self.space:
                plan = self.catalog.read_table(f"{folder(number)}/plan.parquet")
                if plan is not None:
                    found.append((number, Plan.from_table(plan)))
        return found


def manifest_of(catalog: Catalog, generation: int) -> pa.Table:
    """What a generation shows (`MANIFEST`).

    Raises:
        CatalogError: It has none: it was never planned, or vacuum removed it.
    """
    table = catalog.read_table(f"{folder(generation)}/manifest.parquet")
    if table is None:
        raise CatalogError(
            f"generation {generation} has no manifest",
            place=f"index {catalog.index!r}",
            hint="It did not get that far, or vacuum removed it. `ragwright generations` lists those that can be read.",
        )
    return table.cast(MANIFEST)


CALIBRATION = "answerability.json"
"""A generation's answerability model, in its folder."""


def calibration_of(catalog: Catalog, generation: int) -> Calibration | None:
    """A generation's answerability model; None if it has none of this version."""
    stored = catalog.read_json(f"{folder(generation)}/{CALIBRATION}")
    return None if stored is None else Calibration.read(stored)


def start(
    catalog: Catalog,
    store: VectorStore,
    request: ReindexRequest,
    *,
    fingerprint: Fingerprint,
    rules: str,
    epoch: int,
    retry: RetryPolicy = ONCE,
    request_timeout: float = 10.0,
) -> Attempt:
    """Take the next generation's number and decide where its records go."""
    head = catalog.head()

    def make(generation: int) -> Begin:
        space, base = _place(catalog, head, request, fingerprint, generation)
        return Begin(
            generation=generation,
            live=head.live,
            base=base,
            head=head.sequence,
            space=space,
            fingerprint=fingerprint,
            source=request.source,
            at=now(),
            run_id=request.run_id,
            epoch=epoch,
            full=request.full,
            rules=rules,
        )

    return Attempt(catalog, store, catalog.allocate(make), Fence(catalog, epoch), retry, request_timeout)


def reopen(
    catalog: Catalog,
    store: VectorStore,
    generation: int,
    lease: WriterLease | None = None,
    *,
    retry: RetryPolicy = ONCE,
    request_timeout: float = 10.0,
    bulk: PineconeSettings | None = None,
) -> Attempt:
    """Open an attempt that another process, or another stage, began."""
    begin = catalog.begin_of(generation)
    fence = Fence(catalog, begin.epoch, lease)
    return Attempt(catalog, store, begin, fence, retry, request_timeout, bulk or PineconeSettings())


def _place(
    catalog: Catalog, head: Head, request: ReindexRequest, fingerprint: Fingerprint, generation: int
) -> tuple[str, int]:
    """The space for a fingerprint and its base: the live one, an earlier one that still stands, or a new one.

    A name is never used twice, so that a space holds nothing but what the catalog knows of.
    """
    published = head.published()
    by_space = {entry.space: entry.generation for entry in published}
    unpublished = [catalog.begin_of(n) for n in catalog.attempts(after=max(by_space.values(), default=0))]
    if request.resume:
        for begin in reversed(unpublished):
            if begin.fingerprint == fingerprint:
                return begin.space, by_space.get(begin.space, 0)
    if not request.full:
        for entry in reversed(published):
            if entry.fingerprint == fingerprint:
                return entry.space, by_space[entry.space]
        for begin in reversed(unpublished):
            if begin.fingerprint == fingerprint and not begin.full:
                return begin.space, by_space.get(begin.space, 0)
    return f"{catalog.index}-{fingerprint.digest}-{generation}", 0


def same_vectors(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether a query embedded by `one` may be compared with records embedded by `other`.

    How sections were cut is not part of it: a query is no section.
    """
    return replace(one, text_format="") == replace(other, text_format="")


def publish(
    attempt: Attempt, *, counts: dict[str, int], reason: str = "", after: int | None = None, run_id: str | None = None
) -> Entry:
    """Let readers see the attempt's generation, from their next look at the log on.

    Args:
        attempt: Verified.
        counts: Ledger and records.
        reason: Why, for the log.
        after: The log's entry to follow, if it is not the one that the attempt saw when it began.
        run_id: Who publishes, if it is not the run that began the attempt.

    Raises:
        PublishConflict: Another writer published first; nothing was changed.
        LeaseLost: The writer lease lapsed.
    """
    attempt.guard()
    entry = Entry(
        sequence=(attempt.begin.head if after is None else after) + 1,
        kind="publish",
        generation=attempt.generation,
        space=attempt.space,
        fingerprint=attempt.begin.fingerprint,
        at=now(),
        reason=reason,
        run_id=attempt.begin.run_id if run_id is None else run_id,
        counts=counts,
    )
    attempt.catalog.append(entry)
    return entry


def open_catalog(settings: Settings) -> Catalog:
    """The catalog the settings name."""
    return Catalog(settings.catalog_url, settings.index)
