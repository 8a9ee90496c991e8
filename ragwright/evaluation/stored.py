"""Evaluations kept with their generation, and found again by the conditions under which they were made."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import ragwright
from ragwright.documents import content_hash
from ragwright.errors import RagwrightError
from ragwright.evaluation.questions import QuestionSet
from ragwright.evaluation.run import EvaluationResult
from ragwright.index.catalog import Catalog, folder
from ragwright.settings import Settings

# What decides neither what is asked nor what is answered. Everything else does, settings yet to be made included.
_ELSEWHERE = {
    "profile",
    "home",
    "model_cache",
    "index",
    "store",
    "catalog",
    "source",
    "quality",
    "chunking",
    "embedding",  # a generation is asked with the embedder that made it, whatever is set
    "endpoints",
    "evaluation",
    "gate",
    "retention",
    "writer",
    "retry",
    "costs",
    "pinecone",
    "agent",
}


@dataclass(frozen=True)
class Conditions:
    """What two evaluations must share to be compared: digests of the questions, and of all that shapes an answer."""

    questions: str
    answering: str

    @classmethod
    def of(cls, settings: Settings, questions: QuestionSet) -> Conditions:
        """Those of asking these questions under these settings with this version of ragwright."""
        lines = [json.dumps(question.to_json(), sort_keys=True) for question in questions.questions]
        shaping = settings.model_dump(mode="json", exclude=_ELSEWHERE)
        shaping["generation"].pop("api_key")
        return cls(
            questions=content_hash(lines)[:16],
            answering=content_hash([ragwright.__version__, json.dumps(shaping, sort_keys=True)])[:16],
        )

    @property
    def name(self) -> str:
        """Of a file that holds such an evaluation."""
        return f"evaluations/{self.questions}-{self.answering}.json"


def keep(catalog: Catalog, generation: int, result: EvaluationResult, conditions: Conditions) -> None:
    """Put an evaluation with its generation: as the latest, and as the one under these conditions."""
    value = result.to_json() | {"conditions": dataclasses.asdict(conditions)}
    catalog.write_json(f"{folder(generation)}/{conditions.name}", value)
    catalog.write_json(f"{folder(generation)}/evaluation.json", value)


def recall(catalog: Catalog, generation: int, conditions: Conditions) -> EvaluationResult | None:
    """The evaluation of a generation under these conditions; None if there is none, or of another layout."""
    value = catalog.read_json(f"{folder(generation)}/{conditions.name}")
    if value is None:
        return None
    try:
        return EvaluationResult.from_json(value, generation)
    except (KeyError, TypeError, ValueError, RagwrightError):
        return None  # an older version wrote it: what it lacks can only be measured


def carry_over(catalog: Catalog, generation: int, to: int) -> None:
    """Let a generation that shows the same records have the evaluations of another, without asking anything."""
    for name in catalog.names(f"{folder(generation)}/evaluations"):
        catalog.copy(f"{folder(generation)}/evaluations/{name}", f"{folder(to)}/evaluations/{name}")
    latest = catalog.read_json(f"{folder(generation)}/evaluation.json")
    if latest is not None:
        catalog.write_json(f"{folder(to)}/evaluation.json", latest | {"generation": to})
