"""Whether the FAQ answers a question at all: evidence from retrieval, weighed by a small logistic model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

from ragwright.reading import Reading
from ragwright.terms import CorpusStatistics, terms


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against the FAQ answering a question; every figure is finite.

    Similarities are cosines; shares weigh each term by its rarity in the corpus and lie in [0, 1].

    Attributes:
        section_similarity: Of the question and the nearest section.
        question_similarity: Of the question and the nearest question of the FAQ.
        sentence_similarity: Of the question and the nearest sentence of an answer.
        margin: How far the nearest section's relevance is ahead of the next row's.
        coverage: Share of the question that the most relevant section has.
        coverage_all: Share of the question that all retrieved sections have together.
        coverage_back: Share of the most relevant row's own question that the asked question has.
        unseen: Share of the question that no text of the corpus has.
        sections: How many sections were retrieved.
    """

    section_similarity: float = 0.0
    question_similarity: float = 0.0
    sentence_similarity: float = 0.0
    margin: float = 0.0
    coverage: float = 0.0
    coverage_all: float = 0.0
    coverage_back: float = 0.0
    unseen: float = 0.0
    sections: int = 0

    def to_dict(self) -> dict[str, float]:
        """Every figure by name."""
        return {name: float(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Decision:
    """Whether to answer.

    Attributes:
        answerable: Whether the evidence is enough.
        probability: That the FAQ answers the question, as the model sees it.
        reason: The evidence that weighed most, in words.
        weights: What each piece of evidence added to the log-odds.
    """

    answerable: bool
    probability: float
    reason: str
    weights: Mapping[str, float]


@runtime_checkable
class Judge(Protocol):
    """Decides on evidence; pure."""

    def decide(self, evidence: Evidence) -> Decision:
        """Whether the FAQ answers the question."""


@dataclass(frozen=True)
class AnswerabilityModel:
    """Logistic model over evidence: `log-odds = bias + sum(coefficient * (value - centre))`.

    Attributes:
        coefficients: By name of the evidence.
        centres: Value at which a piece of evidence says nothing, by name.
        bias: Log-odds when every piece of evidence is at its centre.
        threshold: Least probability at which a question is answered.
    """

    coefficients: Mapping[str, float]
    centres: Mapping[str, float]
    bias: float
    threshold: float = 0.5

    def decide(self, evidence: Evidence) -> Decision:
        """Whether the FAQ answers the question; no retrieved section means that it does not."""
        if evidence.sections == 0:
            return Decision(False, 0.0, "nothing was found", {})
        values = evidence.to_dict()
        weights = {name: factor * (values[name] - self.centres[name]) for name, factor in self.coefficients.items()}
        odds = self.bias + sum(weights.values())
        probability = 1 / (1 + math.exp(-odds)) if odds > -500 else 0.0
        answerable = probability >= self.threshold
        name, _ = (max if answerable else min)(weights.items(), key=lambda item: item[1])
        verdict = "the FAQ answers it" if answerable else "the FAQ does not seem to answer it"
        reason = f"{verdict} (probability {probability:.2f}; {name.replace('_', ' ')} {values[name]:.2f} weighed most)"
        return Decision(answerable, probability, reason, weights)


def gather(question: str, readings: Sequence[Reading], statistics: CorpusStatistics) -> Evidence:
    """Collect the evidence on a question.

    Args:
        question: As asked.
        readings: The retrieved sections, most relevant first.
        statistics: Of the corpus; empty ones weigh all terms alike and count none as unseen.
    """
    if not readings:
        return Evidence()
    asked = set(terms(question))
    best = readings[0]
    covered = [set(terms(reading.section.full_text)) for reading in readings]
    others = [reading.relevance for reading in readings[1:] if reading.section.row_key != best.section.row_key]
    own = set(terms(best.section.question))
    seen = {term for term in asked if statistics.knows(term)} if statistics.documents else asked
    return Evidence(
        section_similarity=max(reading.section.score for reading in readings),
        question_similarity=max(reading.question_similarity for reading in readings),
        sentence_similarity=max(reading.best_similarity for reading in readings),
        margin=best.relevance - max(others) if others else best.relevance,
        coverage=_share(asked, covered[0], statistics),
        coverage_all=_share(asked, set().union(*covered), statistics),
        coverage_back=_share(own, asked, statistics),
        unseen=1 - _share(asked, seen, statistics),
        sections=len(readings),
    )


def default_model() -> AnswerabilityModel:
    """The model to use where none was fitted to the corpus itself."""
    return AnswerabilityModel(
        coefficients={"question_similarity": 6.0, "sentence_similarity": 3.0, "coverage": 2.0, "unseen": -4.0},
        centres={"question_similarity": 0.65, "sentence_similarity": 0.5, "coverage": 0.6, "unseen": 0.1},
        bias=0.0,
    )


def _share(wanted: set[str], given: set[str], statistics: CorpusStatistics) -> float:
    """Rarity-weighted share of `wanted` that is in `given`; of no terms at all, all are."""
    total = sum(statistics.rarity(term) for term in wanted)
    return sum(statistics.rarity(term) for term in wanted & given) / total if total else 1.0
