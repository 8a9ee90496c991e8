"""The stages of a re-index. State is in the catalog; what crosses a task's boundary is the generation's number."""

from __future__ import annotations

import time
from dataclasses import replace

from prefect import get_run_logger, task

from ragwright.abstention import Calibration
from ragwright.embedding import open_embedder
from ragwright.evaluation.gate import GateVerdict
from ragwright.gating import Gatekeeper
from ragwright.index import reindex as stages
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.calibrating import calibrate_candidate
from ragwright.index.history import rollback
from ragwright.index.plan import Op
from ragwright.index.planning import make_plan
from ragwright.index.reindex import ReindexReport, opened, writing
from ragwright.index.staging import Staged, chunk_partition
from ragwright.index.vacuum import Vacuumed, vacuum
from ragwright.index.verify import Verified, verify_candidate
from ragwright.index.writing import Written, retire, write_partition
from ragwright.measuring import Calls
from ragwright.progress import silent
from ragwright.settings import Settings
from ragwright.sources import open_source
from tasks import events
from tasks.policies import ONCE, TRANSIENT
from tasks.portions import Portion
from tasks.progress import portion_progress, progress_artifact
from tasks.runs import root_run_id
from tasks.secrets import store_key


@task(name="Begin generation", task_run_name="Begin a generation of index {settings.index}", **TRANSIENT)
def begin_generation(settings: Settings, request: ReindexRequest, epoch: int) -> int:
    """Take a generation number under the writer lease that the flow holds."""
    with open_embedder(settings) as embedder:
        generation = stages.begin(settings, request, embedder, epoch)
    get_run_logger().info("this run writes generation %d of index %r", generation, settings.index)
    return generation


@task(name="Validate source", task_run_name="Validate the source", **TRANSIENT)
def validate_source(settings: Settings, request: ReindexRequest, generation: int) -> Staged:
    """Read, check and stage the source; unfit rows go to quarantine with the reason."""
    with (
        opened(settings, generation) as attempt,
        open_source(request.source, settings.source) as source,
        open_embedder(settings) as embedder,
        progress_artifact(f"{settings.index}-validation", "Validating the source") as progress,
    ):
        staged = stages.stage_source(attempt, source, embedder, settings, request, progress=progress)
    counts = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in staged.ledger.to_json().items() if count
    )
    get_run_logger().info("%s; partitions of new rows: %d", counts or "no rows", staged.partitions)
    return staged


@task(name="Chunk", task_run_name="Chunk {portion}", **ONCE)
def chunk(settings: Settings, generation: int, portion: Portion) -> int:
    """Cut the answers of some partitions into sections; returns how many."""
    with (
        opened(settings, generation) as attempt,
        open_embedder(settings) as embedder,
        portion_progress(portion) as progress,
    ):
        chunks = 0
        for done, partition in enumerate(portion.partitions):
            progress("partitions", done, portion.count)
            chunks += chunk_partition(attempt, partition, embedder, settings.chunking)
        return chunks


@task(name="Plan", task_run_name="Plan generation {generation}", **TRANSIENT)
def plan_generation(settings: Settings, generation: int, partitions: int) -> dict[str, int]:
    """Decide what to send to the store and write it down first; returns operations by kind."""
    with opened(settings, generation) as attempt:
        counts = dict(make_plan(attempt, partitions).counts)
    get_run_logger().info("plan: %s", ", ".join(f"{count} {op}" for op, count in counts.items() if count) or "nothing")
    return counts


@task(name="Embed and write", task_run_name="Embed and write {portion}", **TRANSIENT)
def write(settings: Settings, generation: int, portion: Portion) -> Written:
    """Embed some partitions' new sections and insert them; batches already acknowledged are not sent again."""
    batch, written = settings.embedding.write_batch, Written()
    store_key(settings)
    with (
        opened(settings, generation) as attempt,
        open_embedder(settings, retry=settings.retry) as embedder,
        portion_progress(portion) as progress,
    ):
        for done, partition in enumerate(portion.partitions):
            inner = progress if portion.count == 1 else silent
            progress("partitions", done, portion.count)
            written += write_partition(attempt, partition, embedder, batch=batch, progress=inner)
        return written


@task(name="Retire", task_run_name="End records that generation {generation} no longer shows", **TRANSIENT)
def retire_records(settings: Settings, generation: int) -> Written:
    """Mark, revive and delete records as planned."""
    with (
        opened(settings, generation) as attempt,
        progress_artifact(f"{settings.index}-writing", "Ending records, and loading files in bulk") as progress,
    ):
        return retire(attempt, progress)


@task(name="Verify", task_run_name="Verify generation {generation}", **TRANSIENT)
def verify(settings: Settings, generation: int) -> Verified:
    """Compare the store with the manifest before anyone reads it."""
    with opened(settings, generation) as attempt:
        verified = verify_candidate(attempt)
    get_run_logger().info("%d touched and %d records in all are as promised", verified.touched, verified.whole)
    return verified


@task(name="Gate", task_run_name="Judge generation {generation}", **TRANSIENT)
def judge(keeper: Gatekeeper, generation: int) -> GateVerdict:
    """Ask a candidate what the live generation was asked."""
    with progress_artifact(f"{keeper.settings.index}-gate", "Asking the gate's questions") as progress:
        calls = Calls(progress=progress, run_id=root_run_id())
        verdict = replace(keeper, calls=calls)(generation)
    if verdict.verdict == "blocked":
        events.gate_blocked(keeper.settings.index, generation, verdict.live, verdict.reason)
    get_run_logger().info("the gate: %s (%s)", verdict.verdict, verdict.reason)
    return verdict


@task(name="Calibrate", task_run_name="Fit the answerability model of generation {generation}", **TRANSIENT)
def calibrate(settings: Settings, generation: int) -> Calibration | None:
    """Give the generation its answerability model: the live one's while little has changed, or its own."""
    with (
        opened(settings, generation) as attempt,
        open_embedder(settings, retry=settings.retry) as embedder,
        progress_artifact(f"{settings.index}-calibration", "Fitting the answerability model") as progress,
    ):
        made = calibrate_candidate(attempt, embedder, settings.answering, progress=progress)
    if made:
        get_run_logger().info(
            "answers from probability %.2f; %d held-out questions, %d records changed since",
            made.threshold,
            made.held_out,
            made.changed,
        )
    return made


@task(name="Publish", task_run_name="Publish generation {generation}", **ONCE)
def publish_generation(
    settings: Settings,
    request: ReindexRequest,
    generation: int,
    staged: Staged,
    chunks: int,
    written: Written,
    verdict: GateVerdict,
    started: float,
) -> ReindexReport:
    """Let readers see the generation if the gate let it pass; `started` is the run's start (`time.time()`)."""
    with opened(settings, generation) as attempt:
        report = stages.finish(
            attempt, staged, chunks, written, verdict, reason=request.reason, seconds=time.time() - started
        )
    events.generation_published(settings.index, generation, request.reason)
    get_run_logger().info("generation %d is live", generation)
    return report


def has_inserts(plan: dict[str, int]) -> bool:
    """Whether there is anything to embed."""
    return plan[Op.INSERT] > 0


@task(name="Roll back", **TRANSIENT)
def roll_back(settings: Settings, to: int | None, reason: str) -> int:
    """Let readers see an older generation again."""
    with open_catalog(settings) as catalog:
        entry = rollback(catalog, to, reason=reason)
    events.generation_published(settings.index, entry.generation, reason)
    get_run_logger().info("generation %d is live again", entry.generation)
    return entry.generation


@task(name="Vacuum", task_run_name="Vacuum index {settings.index}, keep {keep}", **TRANSIENT)
def vacuum_index(settings: Settings, keep: int) -> Vacuumed:
    """Remove what no retained generation shows, under the writer's lease."""
    with (
        writing(settings, "janitor") as (catalog, store, lease),
        progress_artifact(f"{settings.index}-vacuum", "Removing what no generation shows") as progress,
    ):
        done = vacuum(catalog, store, lease, keep=keep, progress=progress)
    get_run_logger().info("removed %d records, %d spaces, %d files", done.records, done.spaces, done.files)
    return done
