"""Score the live generation, or any other, with a question set."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from ragwright.evaluation.run import EvaluationResult
from tasks.evaluation import evaluate_generation
from tasks.reports import reported
from tasks.secrets import flow_settings


@flow(name="evaluation", flow_run_name="Evaluate index {index}")
def evaluation(
    index: str = "faq",
    questions: Path = Path("data/questions.jsonl"),
    sample: int | None = None,
    generation: int | None = None,
    again: bool = True,
) -> EvaluationResult:
    """Ask a question set and report retrieval, answers, false answers and refusals.

    Args:
        index: Name of the index.
        questions: Question set (JSONL).
        sample: Ask only so many, drawn with a seed, kinds in proportion.
        generation: A generation to score instead of the live one.
        again: Ask even if the same questions were asked of it before, under the same settings.
    """
    settings = flow_settings(index=index)
    with reported(settings, "evaluation", measures_only=True) as run:
        result = evaluate_generation(settings, questions, sample, generation, again=again)
        run.generation = result.generation
    return result


if __name__ == "__main__":
    evaluation()
