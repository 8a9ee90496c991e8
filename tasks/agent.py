"""A model as a conversational agent, put to the test."""

from __future__ import annotations

import platform

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from ragwright.agent.benchmark.page import write_report
from ragwright.agent.benchmark.report import markdown, written
from ragwright.agent.benchmark.results import LABELS, BenchmarkResult
from ragwright.agent.benchmark.running import benchmark
from ragwright.markdown import inline
from ragwright.settings import Settings
from tasks.policies import ONCE, TRANSIENT
from tasks.progress import progress_artifact
from tasks.runs import root_run_id

_FAILURES = 40


@task(name="Benchmark model", task_run_name="Talk to {model}", **ONCE)
def benchmark_model(settings: Settings, model: str, sample: int | None, seed: int) -> BenchmarkResult:
    """Play every case with one model; its endpoint is up for as long as that takes."""
    with progress_artifact("agent-benchmark-progress", f"Talking to {inline(model)}") as progress:
        run_id = root_run_id()
        result = benchmark(settings, [model], at_most=sample, seed=seed, progress=progress, run_id=run_id)
    for name, share in result.models[0].figures.items():
        get_run_logger().info("%s: %s", LABELS[name], written(share))
    return result


@task(name="Report benchmark", task_run_name="Put the models side by side", **TRANSIENT)
def report_benchmark(settings: Settings, result: BenchmarkResult) -> None:
    """The table as an artifact, and where the page is."""
    path = write_report(settings, result).absolute()
    page = f"The page with every failure is\n\n    {path}\n\non {platform.node()}.\n"
    create_markdown_artifact(
        f"{markdown(result, failures=_FAILURES)}\n{page}",
        key="agent-benchmark",
        description="Will it work as a conversational agent?",
    )
