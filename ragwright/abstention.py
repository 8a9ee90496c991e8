"""Whether the FAQ answers a question at all: evidence from retrieval, weighed by a small logistic model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

from ragwright.reading import Reading
from ragwright.terms import CorpusStatistics, terms

# A wider lead says no more; without a limit a corpus of one row would answer everything.
_WIDEST_MARGIN = 0.2


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against the FAQ answering a question; every figure is finite.

    Similarities are cosines; shares weigh each word by its rarity in the corpus and lie in [0, 1].

    Attributes:
        section_similarity: Of the question and the nearest section.
        question_similarity: Of the question and the nearest question of the FAQ.
        sentence_similarity: Of the question and the nearest sentence of an answer.
        margin: How far the most relevant row is ahead of the next with another question, at most 0.2.
        coverage: Share of the question's words that the most relevant section has.
        meaning_coverage: The same, near misses in meaning counted in part.
        unseen: Share of the question's words that no text of the corpus has.
        sections: How many sections were retrieved.
    """

    section_similarity: float = 0.0
    question_similarity: float = 0.0
    sentence_similarity: float = 0.0
    margin: float = 0.0
    coverage: float = 0.0
    meaning_coverage: float = 0.0
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
    best = readings[0]
    # A second row with the very same question is no rival: either answers.
    asked_by_best = best.section.question.casefold().split()
    others = [r.relevance for r in readings if r.section.question.casefold().split() != asked_by_best]
    return Evidence(
        section_similarity=max(reading.section.score for reading in readings),
        question_similarity=max(reading.question_similarity for reading in readings),
        sentence_similarity=max(reading.best_similarity for reading in readings),
        margin=min(best.relevance - max(others, default=-1.0), _WIDEST_MARGIN),
        coverage=best.coverage,
        meaning_coverage=best.meaning_coverage,
        unseen=_unseen(question, statistics),
        sections=len(readings),
    )


def default_model() -> AnswerabilityModel:
    """The model to use where none was fitted to the corpus itself.

    Fitted once by `benchmarks/answerability/fit.py` with all-MiniLM-L6-v2, question and answer embedded, on questions
    about four FAQs: people's paraphrases against near misses, questions about other subjects, and paraphrases whose row
    was held out. Fitted on three of them it holds on the fourth, which a similarity threshold does not. Cosines of
    another embedder may need a model of their own. At the threshold a refusal and a false answer cost about the same.
    """
    return AnswerabilityModel(
        coefficients={
            "question_similarity": 4.08,
            "sentence_similarity": 0.98,
            "margin": 11.26,
            "coverage": 0.69,
            "meaning_coverage": 2.95,
            "unseen": -0.66,
        },
        centres={
            "question_similarity": 0.57,
            "sentence_similarity": 0.55,
            "margin": 0.06,
            "coverage": 0.42,
            "meaning_coverage": 0.70,
            "unseen": 0.22,
        },
        bias=-0.51,
    )


def _unseen(question: str, statistics: CorpusStatistics) -> float:
    asked = set(terms(question))
    total = sum(statistics.rarity(term) for term in asked)
    if not total or not statistics.documents:
        return 0.0
    return sum(statistics.rarity(term) for term in asked if not statistics.knows(term)) / total
