"""A re-index from source to publish, without an orchestrator: the same stages that the Prefect flow runs as tasks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ragwright.chunking import chunker_fingerprint, max_question_tokens
from ragwright.documents import Fingerprint
from ragwright.embedding import Embedder, open_embedder
from ragwright.errors import GateBlocked, RagwrightError
from ragwright.evaluation.gate import GateVerdict
from ragwright.index.attempt import Attempt, ReindexRequest, open_catalog, publish, reopen, start
from ragwright.index.audit import examine_space
from ragwright.index.calibrating import calibrate_candidate
from ragwright.index.catalog import Catalog, folder, now
from ragwright.index.lease import WriterLease, longest_request
from ragwright.index.leftovers import remove, unfinished_files
from ragwright.index.loading import settle
from ragwright.index.plan import Op
from ragwright.index.planning import make_plan
from ragwright.index.staging import Ledger, Staged, StageOptions, chunk_partition, stage
from ragwright.index.verify import verify_candidate
from ragwright.index.writing import Written, retire, write_partition
from ragwright.memory import give_back
from ragwright.progress import Progress, silent
from ragwright.quality import QualityGate, fingerprint
from ragwright.settings import Settings
from ragwright.sources import Source, open_source
from ragwright.stores import VectorStore, open_store

log = logging.getLogger(__name__)


Gate = Callable[[int], GateVerdict]
"""Judges a candidate generation, given its number."""


@dataclass(frozen=True)
class ReindexReport:
    """What a re-index did."""

    generation: int
    published: bool
    ledger: Ledger
    chunks: int
    embedded: int
    written: int
    gate: GateVerdict
    seconds: float
    tokens: int = 0
    plan: dict[str, int] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    quality: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, in the layout that programs rely on."""
        return {
            "generation": self.generation,
            "published": self.published,
            "ledger": self.ledger.to_json(),
            "chunks": self.chunks,
            "embedded": self.embedded,
            "written": self.written,
            "gate": self.gate.to_json(),
            "seconds": round(self.seconds, 3),
            "tokens": self.tokens,
            "plan": self.plan,
            "notices": list(self.notices),
            "quality": self.quality,
        }


def index_fingerprint(settings: Settings, embedder: Embedder) -> Fingerprint:
    """The embedder's fingerprint with what decides how rows are cut."""
    return replace(embedder.fingerprint, text_format=chunker_fingerprint(settings.chunking, embedder.max_tokens))


def quality_rules(settings: Settings, embedder: Embedder) -> str:
    """Names the rules that rows are checked by; rows that passed the same rules need not be asked again."""
    return fingerprint(settings.quality, max_question_tokens=_question_limit(settings, embedder))


def _question_limit(settings: Settings, embedder: Embedder) -> int | None:
    return max_question_tokens(settings.chunking, embedder.max_tokens)


def writer_lease(settings: Settings, run_id: str = "") -> WriterLease:
    """The right to write the configured index.

    A local store's requests die with their process, so a dead holder there may be replaced at once.
    """
    trust_dead = settings.store_spec.startswith(("lancedb:", "memory:"))
    ttl = settings.writer.lease_seconds
    return WriterLease(open_catalog(settings), run_id=run_id, ttl=ttl, trust_dead=trust_dead)


@contextmanager
def writing(settings: Settings, run_id: str) -> Iterator[tuple[Catalog, VectorStore, WriterLease]]:
    """The configured index's catalog and store, with the right to write both."""
    with (
        open_catalog(settings) as catalog,
        open_store(settings.store_spec, retry=settings.retry) as store,
        writer_lease(settings, run_id) as lease,
    ):
        yield catalog, store, lease


@contextmanager
def opened(settings: Settings, generation: int, lease: WriterLease | None = None) -> Iterator[Attempt]:
    """An attempt that an earlier stage began, with live adapters."""
    memory = settings.lancedb.memory_mb
    with (
        open_catalog(settings) as catalog,
        open_store(settings.store_spec, retry=settings.retry, memory_mb=memory) as store,
    ):
        within = longest_request(settings.writer.lease_seconds)
        retry, bulk = settings.retry, settings.pinecone
        yield reopen(catalog, store, generation, lease, retry=retry, request_timeout=within, bulk=bulk)


def begin(settings: Settings, request: ReindexRequest, embedder: Embedder, epoch: int) -> int:
    """Take a generation number under a writer lease's epoch, and make sure its space is there."""
    made_with = index_fingerprint(settings, embedder)
    rules = quality_rules(settings, embedder)
    with open_catalog(settings) as catalog, open_store(settings.store_spec, retry=settings.retry) as store:
        attempt = start(
            catalog,
            store,
            request,
            fingerprint=made_with,
            rules=rules,
            epoch=epoch,
            retry=settings.retry,
            request_timeout=longest_request(settings.writer.lease_seconds),
        )
        for number in range(attempt.begin.live, attempt.generation):
            remove(unfinished_files(catalog, folder(number)))
        settle(attempt)  # a space that is made meanwhile would be in the way of a load
        attempt.send(lambda store: store.ensure_space(attempt.space, made_with.dimension))
        return attempt.generation


def stage_source(
    attempt: Attempt,
    source: Source,
    embedder: Embedder,
    settings: Settings,
    request: ReindexRequest,
    *,
    data_docs: bool = True,
    progress: Progress = silent,
) -> Staged:
    """Read, check and stage the source; find out first what is damaged, if the request is to repair."""
    if request.repair and attempt.base_manifest is not None:
        found = examine_space(attempt, index_fingerprint(settings, embedder).text_format, progress)
        attempt.catalog.write_table(attempt.path("damage.parquet"), found)

    def make_gate() -> QualityGate:
        return QualityGate(
            settings.quality,
            count_tokens=embedder.count_tokens,
            max_question_tokens=_question_limit(settings, embedder),
        )

    options = StageOptions(
        settings.quality,
        settings.source.partition_rows,
        data_docs=settings.home / "data-docs" / settings.index if data_docs else None,
        allow_mass_delete=request.allow_mass_delete,
    )
    return stage(attempt, source, make_gate, options, progress=progress)


def finish(
    attempt: Attempt,
    staged: Staged,
    chunks: int,
    written: Written,
    verdict: GateVerdict,
    *,
    reason: str,
    seconds: float,
) -> ReindexReport:
    """Publish a candidate that passed; write down how the attempt ended either way.

    Raises:
        GateBlocked: The verdict is `blocked`: readers still see the live generation, the candidate is kept.
    """
    outline = attempt.outline
    blocked = verdict.verdict == "blocked"
    report = ReindexReport(
        generation=attempt.generation,
        published=not blocked,
        ledger=staged.ledger,
        chunks=outline.shown,
        embedded=written.embedded,
        written=written.written,
        gate=verdict,
        seconds=seconds,
        tokens=written.tokens,
        plan=dict(outline.counts),
        notices=staged.notices,
        quality={"quarantined": staged.quarantined, "warnings": staged.warnings},
    )
    if not blocked:
        publish(attempt, counts=staged.ledger.to_json() | {"records": report.chunks}, reason=reason)
    conclude(attempt, "blocked" if blocked else "published", report=report.to_json())
    if blocked:
        raise _blocked(attempt, report)
    return report


def _blocked(attempt: Attempt, report: ReindexReport) -> GateBlocked:
    number, live = attempt.generation, attempt.begin.live
    error = GateBlocked(
        f"generation {number} was not published: {report.gate.reason}",
        place=f"index {attempt.catalog.index!r}",
        hint=(f"Readers still see generation {live}. " if live else "Readers still see nothing. ")
        + (f"`ragwright compare {live} {number}` shows what changed. " if live else "")
        + f'Mend the source and run again, or publish it all the same: `ragwright publish {number} --reason "..."`.',
    )
    error.report = report.to_json()
    return error


def conclude(attempt: Attempt, outcome: str, **facts: Any) -> None:
    """Write down how an attempt ended; one that was killed has no such file."""
    attempt.catalog.write_json(attempt.path("end.json"), {"outcome": outcome, "at": now(), **facts})


@contextmanager
def concluding(settings: Settings, generation: int) -> Iterator[None]:
    """Write down why an attempt failed if the block does; a blocked one has said so itself."""
    try:
        yield
    except GateBlocked:
        raise
    except BaseException as error:
        try:
            with opened(settings, generation) as attempt:
                conclude(attempt, "failed", error={"type": type(error).__name__, "message": str(error)})
        except RagwrightError as unwritable:
            log.warning("why generation %d failed could not be written down: %s", generation, unwritable)
        raise


def reindex(
    settings: Settings, request: ReindexRequest, *, gate: Gate | None = None, progress: Progress = silent
) -> ReindexReport:
    """Bring the index to what the source says, and publish it if it passes.

    What the source, the endpoint or the store refuses for a moment is tried again, as `settings.retry` says.

    Raises:
        RagwrightError: Any of its kinds; readers then still see the generation they saw before.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        # The source first: most mistakes are there, and nothing else needs to be running to find them.
        source = stack.enter_context(open_source(request.source, settings.source, progress=progress))
        embedder = stack.enter_context(open_embedder(settings, retry=settings.retry))
        lease = stack.enter_context(writer_lease(settings, request.run_id))
        generation = begin(settings, request, embedder, lease.epoch)
        stack.enter_context(concluding(settings, generation))
        attempt = stack.enter_context(opened(settings, generation, lease))
        repeat = settings.retry.call
        staged = repeat(lambda: stage_source(attempt, source, embedder, settings, request, progress=progress))
        give_back()
        partitions = range(staged.partitions)
        chunks = sum(chunk_partition(attempt, number, embedder, settings.chunking) for number in partitions)
        give_back()
        plan = repeat(lambda: make_plan(attempt, staged.partitions))
        log.info("generation %d: %s", generation, plan.counts)
        written = Written()
        if plan.counts[Op.INSERT]:
            batch = settings.embedding.write_batch
            for number in partitions:
                written += write_partition(attempt, number, embedder, batch=batch, progress=progress)
        written += repeat(lambda: retire(attempt, progress))
        give_back()
        repeat(lambda: verify_candidate(attempt))
        give_back()
        repeat(lambda: calibrate_candidate(attempt, embedder, settings.answering, progress=progress))
        verdict = gate(generation) if gate else GateVerdict("off")
        seconds = time.monotonic() - started
        return finish(attempt, staged, chunks, written, verdict, reason=request.reason, seconds=seconds)
