"""Will it work as a conversational agent? The same cases for every model, side by side in one report."""

from __future__ import annotations

from prefect import flow

from flows import run_names
from flows.parameters import Models, Sample, Seed
from ragwright.agent.benchmark.results import BenchmarkResult
from ragwright.agent.benchmark.subjects import subject
from tasks.agent import benchmark_model, report_benchmark
from tasks.secrets import flow_settings


@flow(name="agent_benchmark", flow_run_name=run_names.agent_benchmark)
def agent_benchmark(models: Models = (), sample: Sample = 0, seed: Seed = 7) -> BenchmarkResult:
    """Measure models as conversational agents, one after another.

    Args:
        models: Names in models.toml, GGUF files, [MODEL@]URLs of OpenAI-compatible servers, or
            [MODEL@]sagemaker:ENDPOINT; none: the model that is set.
        sample: Play only so many cases, drawn with a seed, kinds in proportion; 0: all.
        seed: Of the sample and of the models.
    """
    settings = flow_settings()
    names = models or [settings.generation.model]
    for name in names:
        subject(name, settings)  # a mistyped name should not wait for the models before it
    results = [benchmark_model(settings, name, sample or None, seed) for name in names]
    result = BenchmarkResult.together(results)
    report_benchmark(settings, result)
    return result


if __name__ == "__main__":
    agent_benchmark()
