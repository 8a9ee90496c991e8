"""Validate, plan, chunk, embed, write, verify, publish, report: readers move to the new generation, or not at all."""

from __future__ import annotations

import time

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows import run_names
from flows.parameters import Changes, Checked, Gate, Index, Source
from flows.provision import embedder_in_service
from ragwright.gating import Gatekeeper
from ragwright.index.attempt import ReindexRequest
from ragwright.index.reindex import ReindexReport, concluding, writer_lease
from ragwright.index.writing import Written
from tasks.endpoints import stop_endpoints
from tasks.index import (
    begin_generation,
    calibrate,
    chunk,
    has_inserts,
    judge,
    plan_generation,
    publish_generation,
    retire_records,
    validate_source,
    verify,
    write,
)
from tasks.portions import portions
from tasks.reports import reported
from tasks.secrets import flow_settings
from tasks.workers import AT_ONCE, workers


@flow(
    name="reindex",
    flow_run_name=run_names.reindex,
    task_runner=ThreadPoolTaskRunner(max_workers=AT_ONCE),  # type: ignore[arg-type]  # invariant in its futures
    on_cancellation=[stop_endpoints],
    on_crashed=[stop_endpoints],
)
def reindex(
    source: Source = "data/sagemaker_faq.csv",
    index: Index = "faq",
    changes: Checked[Changes] = Changes(),
    gate: Checked[Gate] = Gate(),
) -> ReindexReport:
    """Bring an index to what its source says.

    Args:
        source: The FAQ: a path, s3:// or https:// (CSV, JSONL or Parquet).
        index: Name of the index.
        changes: How far this run may change the index.
        gate: What the new generation must show before readers see it.
    """
    started = time.time()
    settings = flow_settings(index=index, **gate.overrides)
    run_id = flow_run.id or ""
    request = ReindexRequest(source=source, run_id=run_id, **changes.model_dump())
    with reported(settings) as run:
        keeper = Gatekeeper.of(settings, gate.path, sample=gate.sample or None)
        with (
            embedder_in_service(settings),
            writer_lease(settings, run_id) as lease,
            workers(settings, lease) as mapped,
        ):
            generation = run.generation = begin_generation(settings, request, lease.epoch)
            with concluding(settings, generation):
                staged = validate_source(settings, request, generation)
                shares = portions(staged.partitions)
                chunks = sum(mapped.run(chunk, generation, shares))
                plan = plan_generation(settings, generation, staged.partitions)
                batches = mapped.run(write, generation, shares) if has_inserts(plan) else []
                written = sum(batches, Written()) + retire_records(settings, generation)
                verify(settings, generation)
                calibrate(settings, generation)
                verdict = judge(keeper, generation)
                report = publish_generation(settings, request, generation, staged, chunks, written, verdict, started)
    return report


if __name__ == "__main__":
    reindex()
