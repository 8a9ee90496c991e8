"""Validate, plan, chunk, embed, write, verify, publish, report: readers move to the new generation, or not at all."""

from __future__ import annotations

import time
from pathlib import Path

from prefect import flow, unmapped
from prefect.runtime import flow_run

from ragwright.gating import Gatekeeper
from ragwright.index.attempt import ReindexRequest
from ragwright.index.reindex import ReindexReport, concluding, writer_lease
from ragwright.index.writing import Written
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


@flow(name="reindex", flow_run_name="Re-index {source}")
def reindex(
    source: str = "data/sagemaker_faq.csv",
    index: str = "faq",
    full: bool = False,
    allow_mass_delete: bool = False,
    reason: str = "",
    questions: Path | None = None,
    sample: int | None = None,
) -> ReindexReport:
    """Bring an index to what its source says.

    Args:
        source: The FAQ: a path, s3:// or https:// (CSV, JSONL or Parquet).
        index: Name of the index.
        full: Embed everything again, into a new space.
        allow_mass_delete: Accept a source that lost more than half of its rows.
        reason: Why, for the index's log.
        questions: Question set (JSONL) that the new generation must pass; none: the settings' own.
        sample: Ask only so many of them, drawn with a seed, kinds in proportion.
    """
    started = time.time()
    settings = flow_settings(index=index)
    fixed = unmapped(settings)  # the tree would count as something to map over
    run_id = flow_run.id or ""
    request = ReindexRequest(
        source=source, full=full, allow_mass_delete=allow_mass_delete, reason=reason, run_id=run_id
    )
    keeper = Gatekeeper.of(settings, questions, sample=sample)
    with reported(settings) as run, writer_lease(settings, run_id) as lease:
        generation = run.generation = begin_generation(settings, request, lease.epoch)
        with concluding(settings, generation):
            staged = validate_source(settings, request, generation)
            shares = portions(staged.partitions)
            chunks = sum(chunk.map(fixed, generation, shares).result()) if shares else 0
            plan = plan_generation(settings, generation, staged.partitions)
            batches = write.map(fixed, generation, shares).result() if has_inserts(plan) else []
            written = sum(batches, Written()) + retire_records(settings, generation)
            verify(settings, generation)
            calibrate(settings, generation)
            verdict = judge(keeper, generation)
            report = publish_generation(settings, request, generation, staged, chunks, written, verdict, started)
    return report


if __name__ == "__main__":
    reindex()
