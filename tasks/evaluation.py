"""Evaluation queries against a generation."""

from __future__ import annotations

from pathlib import Path

from prefect import get_run_logger, task

from ragwright.assembly import load_questions
from ragwright.evaluation.gate import percent
from ragwright.evaluation.run import EvaluationResult
from ragwright.measuring import Calls, live_generation, measure
from ragwright.settings import Settings
from tasks.policies import TRANSIENT
from tasks.progress import progress_artifact
from tasks.runs import root_run_id


@task(name="Evaluate", task_run_name="Ask the evaluation questions", **TRANSIENT)
def evaluate_generation(
    settings: Settings, questions: Path | None, sample: int | None, generation: int | None = None, *, again: bool = True
) -> EvaluationResult:
    """Ask the question set and score the answers, the "I don't know" ones included."""
    question_set = load_questions(settings, questions, at_most=sample)
    with progress_artifact(f"{settings.index}-questions", "Asking the evaluation questions") as progress:
        calls = Calls(progress=progress, run_id=root_run_id())
        chosen = live_generation(settings) if generation is None else generation
        result = measure(settings, question_set, chosen, again=again, calls=calls).result
    figures = result.aggregate
    get_run_logger().info(
        "%d questions: correct %s, false answers %s, refusals %s",
        figures["questions"],
        *(percent(figures[name]) for name in ("answer_correctness", "false_answer_rate", "over_refusal_rate")),
    )
    return result
