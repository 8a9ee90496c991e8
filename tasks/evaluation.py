"""Evaluation queries against a generation."""

from __future__ import annotations

from pathlib import Path

from prefect import get_run_logger, task

from ragwright.assembly import evaluate_index, load_questions
from ragwright.evaluation.run import EvaluationResult
from ragwright.settings import Settings
from tasks.policies import TRANSIENT
from tasks.reports import progress_artifact


@task(name="Evaluate", task_run_name="Ask the evaluation questions", **TRANSIENT)
def evaluate_generation(
    settings: Settings, questions: Path | None, sample: int | None, generation: int | None = None
) -> EvaluationResult:
    """Ask the question set and score the answers, the "I don't know" ones included."""
    question_set = load_questions(settings, questions, at_most=sample)
    with progress_artifact("evaluation", "Evaluation questions") as progress:
        result = evaluate_index(settings, question_set, generation=generation, progress=progress)
    figures = result.aggregate
    get_run_logger().info(
        "%d questions: correct %.0f %%, false answers %s, refusals %s",
        figures["questions"],
        100 * figures["answer_correctness"],
        figures["false_answer_rate"],
        figures["over_refusal_rate"],
    )
    return result
