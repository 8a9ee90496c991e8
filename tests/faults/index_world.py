"""An index, everybody who works on it, and what must be true of it at any time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import obstore.store
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from cheap_gate import validate_cheaply
from faulty_catalog import FaultyCatalog
from faulty_store import FaultyStore, LaggingStore
from promised_index import (
    CHUNKERS,
    DIMENSION,
    SHOWN,
    CountingEmbedder,
    Promise,
    Row,
    difference,
    promise_of,
    vector_of,
)
from simulated_process import Clock, Crash, LeaseClock, Process

from ragwright import maintenance
from ragwright.documents import FOREVER
from ragwright.errors import RagwrightError
from ragwright.evaluation.gate import GateVerdict
from ragwright.index import catalog as catalog_module
from ragwright.index import lease as lease_module
from ragwright.index import preview as preview_module
from ragwright.index import reindex, vacuum, verify, writing
from ragwright.index.attempt import ReindexRequest, manifest_of
from ragwright.index.catalog import HEAD_TTL, Catalog, Entry, folder
from ragwright.index.history import generations, rollback
from ragwright.index.lease import WriterLease
from ragwright.index.reader import IndexReader
from ragwright.index.release import release
from ragwright.settings import Settings
from ragwright.stores import VectorStore, visibility


@dataclass
class Run:
    """How a run ended: a report or an error, and what it had been about to do."""

    process: Process
    report: reindex.ReindexReport | None = None
    error: BaseException | None = None
    promise: Promise | None = None


class World:
    """One index. Every run is a process of its own; nothing but the store, the catalog and the clocks outlives it.

    Args:
        folder: Where the FAQ is written.
        patch: Puts the simulated world in the library's way.
        store: What is really stored.
        remote: Whether requests outlive their process, so that a dead writer's lease must lapse first.
        retries: Calls in all when something transient goes wrong.
    """

    def __init__(
        self,
        folder: Path,
        patch: pytest.MonkeyPatch,
        store: VectorStore,
        clock: Clock,
        *,
        remote: bool = False,
        retries: int = 1,
    ) -> None:
        self.store, self.clock, self.lease_clock, self.remote = store, clock, LeaseClock(), remote
        self.source = folder / "faq.jsonl"
        self.settings = Settings(
            home=folder,
            store="remote:x" if remote else "memory:x",
            embedding={"endpoint": f"hashing:{DIMENSION}", "write_batch": 3},
            generation={"endpoint": "none"},
            answering={"calibration_rows": 0},  # it embeds questions, and here embedded texts are counted
            source={"key_column": "id", "partition_rows": 4},
            quality={"max_bad_share": 1.0},
            retry={"attempts": retries, "first_pause_seconds": 0, "jitter": 0},
        )
        self.rows = [Row(str(number), f"Q{number}?", f"A{number}.") for number in range(4)]
        self.chunking = CHUNKERS[0]
        self.files = obstore.store.MemoryStore()
        self.processes = 0
        self.running: list[Process] = []
        self.lease: WriterLease | None = None
        self.promised: dict[int, Promise] = {}
        self.retained: set[int] = set()
        self.broken: set[int] = set()
        self.log: list[Entry] = []
        self._intended: dict[str, Promise] = {}
        self._left: list[tuple[Entry, float]] = []  # past heads and when they were left: readers may still be there
        self._patch(patch)
        self.write_source()

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        def current() -> Process:
            return self.running[-1]

        def open_catalog(_: object) -> FaultyCatalog:
            return FaultyCatalog(self.files, self.settings.index, current())

        def open_store(_: object, **__: object) -> FaultyStore:
            return FaultyStore(self.store, current(), self.look_around)

        def open_embedder(settings: Settings, **_: object) -> CountingEmbedder:
            return CountingEmbedder(current(), text_format=settings.chunking.embed)

        def writer_lease(settings: Settings, run_id: str = "") -> WriterLease:
            self.lease = real_lease(settings, run_id)
            return self.lease

        real_lease = reindex.writer_lease
        patch.setattr(catalog_module, "open_object_store", lambda *_, **__: self.files)
        for module in (reindex, maintenance, preview_module):
            patch.setattr(module, "open_catalog", open_catalog)
            patch.setattr(module, "open_store", open_store)
        for module in (reindex, preview_module):
            patch.setattr(module, "open_embedder", open_embedder)
            patch.setattr(module, "quality_rules", lambda *_: "cheap")
        validate_cheaply(patch)
        patch.setattr(reindex, "writer_lease", writer_lease)
        for module in (verify, writing, vacuum, visibility):
            patch.setattr(module, "time", self.clock)
        patch.setattr(lease_module, "time", self.lease_clock)
        patch.setattr(lease_module, "datetime", self.lease_clock.wall)
        patch.setattr(lease_module, "process_identity", lambda: {"host": "here", "pid": current().number})
        patch.setattr(
            lease_module, "is_gone", lambda who: who["pid"] not in {process.number for process in self.running}
        )

    # What is there

    @property
    def catalog(self) -> Catalog:
        """The catalog as somebody sees it to whom nothing happens."""
        return FaultyCatalog(self.files, self.settings.index, Process(0))

    def write_source(self) -> None:
        self.source.write_text("\n".join(json.dumps(row._asdict()) for row in self.rows))

    def promise(self) -> Promise:
        """What a generation made now must show."""
        return promise_of(tuple(self.rows), self.chunking)

    @property
    def live(self) -> Entry | None:
        return self.log[-1] if self.log else None

    def readable(self) -> set[int]:
        """Generations that can be read, says the library."""
        return {info.generation for info in generations(self.catalog) if info.state in ("live", "retained")}

    def targets(self) -> list[int]:
        """Generations that can be gone back to and are whole."""
        return sorted(g for g in self.readable() if g < self.live.generation and g not in self.broken)

    # What is done

    def process(self, **options: Any) -> Process:
        self.processes += 1
        return Process(self.processes, **options)

    def within(self, process: Process, action: Callable[[], Any]) -> Any:
        """Do something as a process, which ends with it."""
        self.running.append(process)
        try:
            return action()
        finally:
            process.dead = True
            self.running.remove(process)
            self.read_log()

    def run(self, process: Process, *, blocked: bool = False, repair: bool = False, **options: bool) -> Run:
        """Re-index as a process; errors and crashes come back as the outcome."""
        settings = self.settings.model_copy(update={"chunking": self.chunking})
        request = ReindexRequest(
            source=str(self.source), run_id=str(process.number), allow_mass_delete=True, repair=repair, **options
        )
        done = Run(process, promise=self.promise())
        self._intended[request.run_id] = done.promise

        def gate(generation: int) -> GateVerdict:
            if not process.interruptions:  # a candidate that is evaluated is whole, unless others took over
                self.check(generation, self.catalog.begin_of(generation).space, done.promise)
            return GateVerdict("blocked" if blocked else "passed")

        paid, began = self.paid(), self.clock.seconds
        before = self.catalog.attempts()[-1:] or [0]
        try:
            done.report = self.within(process, lambda: reindex.reindex(settings, request, gate=gate))
        except (RagwrightError, Crash) as error:
            done.error = error
        if not isinstance(self.store, LaggingStore) and not self.broken and not process.interruptions:
            assert self.clock.seconds - began < 30, "waited in vain"
        if not process.interruptions and not repair:
            self._check_cost(done, paid, before[0])
        return done

    def preview(self) -> preview_module.Preview:
        settings = self.settings.model_copy(update={"chunking": self.chunking})
        request = ReindexRequest(source=str(self.source), allow_mass_delete=True)
        return self.within(self.process(), lambda: preview_module.preview(settings, request))

    def paid(self) -> dict[str, set[str]]:
        """By space, records that the store has: nothing in them needs to be embedded again."""
        found = {}
        for space in self.store.spaces():
            found[space] = {
                record for batch in self.store.scan(space, columns=["record_id"]) for record in batch[0].to_pylist()
            }
        return found

    def roll_back(self, process: Process, to: int | None) -> BaseException | None:
        return self._attempt(process, lambda: rollback(self._catalog_of(process), to, reason="a test"))

    def vacuum(self, process: Process, keep: int) -> BaseException | None:
        def clean() -> None:
            catalog, store = self._catalog_of(process), FaultyStore(self.store, process, self.look_around)
            with reindex.writer_lease(self.settings, "vacuum") as lease:
                vacuum.vacuum(catalog, store, lease, keep=keep)

        return self._attempt(process, clean)

    def release(self, process: Process, generation: int) -> BaseException | None:
        def publish() -> None:
            catalog, store = self._catalog_of(process), FaultyStore(self.store, process, self.look_around)
            run_id = catalog.begin_of(generation).run_id
            with reindex.writer_lease(self.settings, "publish") as lease:
                release(catalog, store, lease, generation, reason="a test", run_id=run_id)

        return self._attempt(process, publish)

    def _attempt(self, process: Process, action: Callable[[], object]) -> BaseException | None:
        try:
            self.within(process, action)
        except (RagwrightError, Crash) as error:
            return error
        return None

    def _catalog_of(self, process: Process) -> FaultyCatalog:
        return FaultyCatalog(self.files, self.settings.index, process)

    def break_record(self, how: str, which: int) -> None:
        """Damage a record of the live generation; generations that show it, too, are broken from now on."""
        space, generation = self.live.space, self.live.generation
        shown = pa.Table.from_batches(list(self.store.scan(space, as_of=generation)))
        one = shown.slice(which % len(shown), 1)
        if how == "missing":
            self.store.delete(space, one["record_id"].to_pylist())
        elif how == "ended":
            self.store.mark(space, one["record_id"].to_pylist(), generation)
        elif how == "altered":
            self.store.upsert(space, one.set_column(one.schema.get_field_index("text"), "text", pa.array(["Lies."])))
        else:
            for name, value in {"record_id": f"stranger.{generation}", "born": generation, "died": FOREVER}.items():
                at = one.schema.get_field_index(name)
                one = one.set_column(at, one.schema.field(at), pa.array([value], one.schema.field(at).type))
            self.store.upsert(space, one)
        for known, promise in self.promised.items():
            begin = self.catalog.begin_of(known)
            if begin.space == space and self.shown(known, space) != promise.contents:
                self.broken.add(known)

    def let_lease_lapse(self, *, asleep: bool = False) -> None:
        """More time passes than a lease lasts, and wall clocks are put right."""
        clock = self.lease_clock
        clock.wrong = 0.0
        if asleep:
            clock.slept += 40.0
        else:
            clock.passed += 40.0

    def settle(self) -> None:
        """Let time pass until nothing is under way."""
        self.let_lease_lapse()
        self.clock.sleep(HEAD_TTL + 1)
        if isinstance(self.store, LaggingStore):
            self.store.settle()

    def holder(self) -> int | None:
        """The process that holds the writer lease, or would if it had not lapsed."""
        names = self.catalog.names("writer")
        held = self.catalog.read_json(f"writer/{names[-1]}") if names else None
        return None if held is None or held["released"] else held["process"]["pid"]

    def lease_lapsed(self) -> bool:
        """Whether the lease of a dead holder may be taken over."""
        held = self.catalog.read_json(f"writer/{self.catalog.names('writer')[-1]}")
        wall = self.lease_clock.wall
        return not self.remote or wall.fromisoformat(held["expires_at"]) + lease_module.SKEW < wall.now()

    # What must be true

    def read_log(self) -> None:
        """Take in new entries of the log: whoever published promised something."""
        known = self.catalog.head()
        for entry in known.entries[len(self.log) :]:
            if self.log:
                self._left.append((self.log[-1], self.clock.seconds))
            self.log.append(entry)
            if entry.kind == "publish":
                self.promised[entry.generation] = self._intended[entry.run_id]

    def look_around(self) -> None:
        """Read what readers read: the head, and what was the head a moment ago."""
        self.read_log()
        recent = {entry.generation: entry for entry, left in self._left if left > self.clock.seconds - HEAD_TTL}
        for entry in {**recent, **({self.log[-1].generation: self.log[-1]} if self.log else {})}.values():
            if entry.generation not in self.broken:
                shown = self.shown(entry.generation, entry.space)
                assert shown == self.promised[entry.generation].contents, difference(
                    shown, self.promised[entry.generation].contents
                )

    def shown(self, generation: int, space: str) -> Counter[tuple[Any, ...]]:
        batches = self.store.scan(space, as_of=generation, columns=SHOWN)
        return Counter(line for batch in batches for line in zip(*(c.to_pylist() for c in batch.columns), strict=True))

    def check(self, generation: int, space: str, promise: Promise) -> None:
        """Everything that a reader of a generation can notice is as promised."""
        shown = self.shown(generation, space)
        assert shown == promise.contents, difference(shown, promise.contents)
        manifest = manifest_of(self.catalog, generation)
        numbers = dict(zip(manifest["chunk_id"].to_pylist(), manifest["row"].to_pylist(), strict=True))
        assert numbers == promise.numbers
        assert len(manifest) == len(numbers)
        for batch in self.store.scan(space, as_of=generation, columns=["record_id", "chunk_id", "born", "vector"]):
            for record in batch.to_pylist():
                assert record["record_id"] == f"{record['chunk_id']}.{record['born']}"
                assert record["vector"] == vector_of(promise.texts[record["chunk_id"]])

    def check_everything(self) -> None:
        """What must be true at any time: every generation that can be read is whole."""
        self.look_around()
        states = {info.generation: info for info in generations(self.catalog)}
        for generation, info in states.items():
            if info.state in ("live", "retained") and generation not in self.broken:
                self.check(generation, info.space, self.promised[generation])
        lost = self.retained - {generation for generation, info in states.items() if info.state in ("live", "retained")}
        assert not lost, f"generations {lost} were promised to be kept"

    def check_search(self) -> None:
        """A question is answered from the live generation, with today's row numbers."""
        if not self.log or self.live.generation in self.broken:
            return
        promise = self.promised[self.live.generation]
        embedder = CountingEmbedder(Process(0), text_format=self.live.fingerprint.text_format)
        embedder.fingerprint = replace(self.live.fingerprint)
        found = IndexReader(self.catalog, self.store, embedder).search("Q1?", 3)
        assert found.generation == self.live.generation
        assert len(found.matches) == min(3, len(promise.numbers))
        for match in found.matches:
            assert match.row == promise.numbers[match.chunk_id]
            assert (match.chunk_id, match.row_key, match.part, match.question, match.text) in promise.contents

    def _check_cost(self, done: Run, paid: dict[str, set[str]], before: int) -> None:
        """Only what the plan inserts is embedded, once, and nothing that the store had."""
        catalog = self.catalog
        new = catalog.attempts(after=before)
        plan = catalog.read_table(f"{folder(new[0])}/plan.parquet") if new else None
        if plan is None:
            assert not done.process.embedded
            return
        inserts = plan.filter(pc.equal(plan["op"], "insert"))["chunk_id"].to_pylist()
        texts = Counter(done.promise.texts[chunk] for chunk in inserts)
        embedded = Counter(done.process.embedded)
        assert embedded <= texts, f"embedded for nothing: {embedded - texts}"
        assert done.report is None or embedded == texts
        begin = catalog.begin_of(new[0])
        if begin.generation in self.broken or begin.base in self.broken:
            return
        reusable = self._reusable(begin.space, begin.base, before, paid.get(begin.space, set()))
        again = set(inserts) & reusable
        assert not again, f"embedded again: {[done.promise.texts[chunk] for chunk in again]}"

    def _reusable(self, space: str, base: int, before: int, stored: set[str]) -> set[str]:
        """Chunks that the base shows, or that later attempts wrote and nobody removed."""
        catalog = self.catalog
        base_records = set(manifest_of(catalog, base)["record_id"].to_pylist()) if base else set()
        noted: set[str] = set()
        for number in range(base + 1, before + 1):
            if not catalog.exists(f"{folder(number)}/begin.json") or catalog.begin_of(number).space != space:
                continue
            plan = catalog.read_table(f"{folder(number)}/plan.parquet")
            if plan is not None and not isinstance(self.store, LaggingStore):
                noted |= set(plan.filter(pc.equal(plan["op"], "insert"))["record_id"].to_pylist())
            elif plan is not None:
                noted -= set(plan.filter(pc.equal(plan["op"], "delete"))["record_id"].to_pylist())
                for name in catalog.names(f"{folder(number)}/written"):
                    noted |= set(catalog.read(f"{folder(number)}/written/{name}").decode().splitlines())
        if isinstance(self.store, LaggingStore) and self.store.lag > 30:
            noted = set()  # the library gives up waiting for what it cannot see
        return {record.rpartition(".")[0] for record in base_records | (noted & stored)}

    def check_ledger(self, done: Run, live: Promise | None) -> None:
        """Every row of the source and every live row is accounted for."""
        now, before = done.promise.rows, live.rows if live else {}
        common = now.keys() & before.keys()
        unchanged = sum(now[key] == before[key] for key in common)
        assert done.report.ledger.to_json() == {
            "source_rows": len(self.rows),
            "added": len(now.keys() - before.keys()),
            "updated": len(common) - unchanged,
            "unchanged": unchanged,
            "removed": len(before.keys() - now.keys()),
            "quarantined": len(self.rows) - len(now),
            "failed": 0,
        }
