"""Artifacts: what a person reads in the Prefect UI. Keys are stable, so that each has a history."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect import task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from ragwright.documents import QUARANTINE
from ragwright.evaluation.gate import GateVerdict
from ragwright.evaluation.gate_report import markdown as gate_markdown
from ragwright.evaluation.report import failure_rows, markdown
from ragwright.evaluation.report_file import write_report
from ragwright.evaluation.run import EvaluationResult
from ragwright.index.catalog import folder
from ragwright.index.reindex import ReindexReport, opened
from ragwright.progress import Progress
from ragwright.reporting import RunReport, reindex_markdown
from ragwright.settings import Settings
from tasks.policies import TRANSIENT

_UPDATE_SECONDS = 2.0
_QUARANTINE_ROWS = 200
_FAILURE_ROWS = 200


@task(name="Report re-index", task_run_name="Report generation {report.generation}", **TRANSIENT)
def report_reindex(settings: Settings, report: ReindexReport) -> None:
    """Ledger and quarantine of one re-index."""
    create_markdown_artifact(
        reindex_markdown(report), key=f"{settings.index}-ledger", description=f"Generation {report.generation}"
    )
    with opened(settings, report.generation) as attempt:
        rows = attempt.table("quarantine.parquet", columns=QUARANTINE.names).slice(0, _QUARANTINE_ROWS).to_pylist()
    create_table_artifact(
        rows or [{"row": "", "rule": "none", "detail": "every row passed"}],
        key=f"{settings.index}-quality",
        description="Rows that were not indexed, and why",
    )


@task(name="Report evaluation", task_run_name="Report the evaluation", **TRANSIENT)
def report_evaluation(settings: Settings, result: EvaluationResult) -> None:
    """Figures, failures and samples of one evaluation, and where its page is."""
    description = f"Generation {result.generation}"
    create_markdown_artifact(markdown(result), key=f"{settings.index}-evaluation", description=description)
    create_table_artifact(
        failure_rows(result, at_most=_FAILURE_ROWS) or [{"went wrong": "nothing"}],
        key=f"{settings.index}-failures",
        description=f"{description}: {len(result.failures)} of {len(result.results)} questions went wrong",
    )
    if result.generation is not None:
        _report_page(settings, result.generation)


def report_gate(settings: Settings, generation: int, verdict: GateVerdict) -> None:
    """What the gate said of a candidate, and which questions changed."""
    create_markdown_artifact(
        gate_markdown(verdict, generation),
        key=f"{settings.index}-gate",
        description=f"Generation {generation}: {verdict.verdict}",
    )
    if verdict.checks:
        _report_page(settings, generation)


def _report_page(settings: Settings, generation: int) -> None:
    """Write the page. A browser does not follow a link from the UI to a file, so its place is told as text."""
    path = write_report(settings, generation).absolute()
    catalog = f"{settings.catalog_url.rstrip('/')}/{settings.index}"
    create_markdown_artifact(
        f"The evaluation of generation {generation} with its plots and failures is in\n\n    {path}\n\n"
        f"on {platform.node()}, and in the catalog as\n\n    {catalog}/{folder(generation)}/report.html\n\n"
        "beside the quality gate's `quality.html`. Open it in a browser.",
        key=f"{settings.index}-report",
        description=f"Generation {generation}",
    )


@task(name="Report run", task_run_name="Report the run", **TRANSIENT)
def report_run(settings: Settings, report: RunReport) -> None:
    """The one report of a run."""
    create_markdown_artifact(report.markdown(), key=f"{settings.index}-run", description="What this run did")


@contextmanager
def progress_artifact(key: str, description: str) -> Iterator[Progress]:
    """A `Progress` shown as a bar in the UI, updated at most every two seconds."""
    artifact = create_progress_artifact(progress=0.0, key=key, description=description)
    last = time.monotonic()

    def advance(what: str, done: int, total: int | None) -> None:
        nonlocal last
        if total and (done >= total or time.monotonic() - last > _UPDATE_SECONDS):
            last = time.monotonic()
            if isinstance(artifact, UUID):
                update_progress_artifact(artifact, progress=100.0 * done / total)

    yield advance
