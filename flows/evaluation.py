"""Score the live generation, or any other, with a question set."""

from __future__ import annotations

from prefect import flow

from flows import run_names
from flows.parameters import Asked, Checked, GenerationOrUsual, Index
from ragwright.evaluation.run import EvaluationResult
from tasks.endpoints import stop_endpoints, stopped_afterwards
from tasks.evaluation import evaluate_generation
from tasks.reports import reported
from tasks.secrets import flow_settings


@flow(
    name="evaluation", flow_run_name=run_names.evaluation, on_cancellation=[stop_endpoints], on_crashed=[stop_endpoints]
)
def evaluation(
    index: Index = "faq", generation: GenerationOrUsual = 0, questions: Checked[Asked] = Asked()
) -> EvaluationResult:
    """Ask a question set and report retrieval, answers, false answers and refusals.

    Args:
        index: Name of the index.
        generation: A generation to score, published or not; 0: the live one.
        questions: Which questions are asked, and whether they are asked again.
    """
    settings = flow_settings(index=index)
    with reported(settings, "evaluation", measures_only=True) as run, stopped_afterwards(settings):
        result = evaluate_generation(
            settings, questions.path, questions.sample or None, generation or None, again=questions.again
        )
        run.generation = result.generation
    return result


if __name__ == "__main__":
    evaluation()
