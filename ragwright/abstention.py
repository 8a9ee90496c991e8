"""Whether the FAQ answers a question at all: evidence from retrieval, weighed by a small logistic model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from ragwright.packing import Section
from ragwright.reading import Reading
from ragwright.terms import CorpusStatistics, terms

# Raised whenever evidence or its weights change: calibrations made before are then made anew.
CALIBRATION_VERSION = 1
# How many of the next sections the first is compared with.
_FIELD = 5


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against the FAQ answering a question; every figure is finite.

    Similarities are cosines; shares weigh each word by its rarity in the corpus and lie in [0, 1]. The last three are
    there only where the embedder has token vectors.

    Attributes:
        section_similarity: Of the question and the nearest section.
        question_similarity: Of the question and the nearest question of the FAQ.
        lead: How far the most relevant section is ahead of the mean of the next five.
        coverage: Share of the question's words that the most relevant section has.
        unseen: Share of the question's words that no text of the corpus has.
        sections: How many sections were retrieved.
        sentence_similarity: Of the question and the nearest sentence of an answer, where words were not compared.
        likeness: Mean, over the question's words, of the cosine with the nearest word of the most relevant section.
        weakest: The same for the two words that are met worst.
        unmet: Share of the question's words that nothing in the most relevant section comes near.
    """

    section_similarity: float = 0.0
    question_similarity: float = 0.0
    lead: float = 0.0
    coverage: float = 0.0
    unseen: float = 0.0
    sections: int = 0
    sentence_similarity: float | None = None
    likeness: float | None = None
    weakest: float | None = None
    unmet: float | None = None

    @property
    def by_word(self) -> bool:
        """Whether words were compared in their context."""
        return self.likeness is not None

    def to_dict(self) -> dict[str, float]:
        """Every figure there is, by name."""
        return {name: float(value) for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Decision:
    """Whether to answer.

    Attributes:
        answerable: Whether the evidence is enough.
        probability: That the FAQ answers the question, as the model sees it.
        reason: The evidence that weighed most, in words.
        weights: What each piece of evidence added to the log-odds.
        threshold: Least probability at which a question is answered; None if it was not decided by one.
    """

    answerable: bool
    probability: float
    reason: str
    weights: Mapping[str, float]
    threshold: float | None = None


@runtime_checkable
class Judge(Protocol):
    """Decides on evidence; pure."""

    def decide(self, evidence: Evidence) -> Decision:
        """Whether the FAQ answers the question."""


@dataclass(frozen=True)
class Scale:
    """What a piece of evidence is like for questions that an FAQ almost answers: mean and standard deviation."""

    centre: float
    spread: float


@dataclass(frozen=True)
class AnswerabilityModel:
    """Logistic model over evidence: `log-odds = bias + sum(coefficient * (value - centre) / spread)`.

    The scales say what a near miss looks like in one corpus seen through one embedder, and are measured anew for each;
    what the evidence is worth on that scale is the same everywhere.

    Attributes:
        coefficients: By name of the evidence.
        scales: By name of the evidence.
        bias: Log-odds of a question that looks like an average near miss.
        threshold: Least probability at which a question is answered.
    """

    coefficients: Mapping[str, float]
    scales: Mapping[str, Scale]
    bias: float
    threshold: float = 0.5

    def decide(self, evidence: Evidence) -> Decision:
        """Whether the FAQ answers the question; no retrieved section means that it does not."""
        if evidence.sections == 0:
            return Decision(False, 0.0, "nothing was found", {}, self.threshold)
        values = evidence.to_dict()
        weights = {
            name: factor * (values[name] - self.scales[name].centre) / self.scales[name].spread
            for name, factor in self.coefficients.items()
        }
        odds = self.bias + sum(weights.values())
        probability = 1 / (1 + math.exp(-odds)) if odds > -500 else 0.0
        answerable = probability >= self.threshold
        name, _ = (max if answerable else min)(weights.items(), key=lambda item: item[1])
        verdict = "the FAQ answers it" if answerable else "the FAQ does not seem to answer it"
        reason = f"{verdict} (probability {probability:.2f}; {name.replace('_', ' ')} {values[name]:.2f} weighed most)"
        return Decision(answerable, probability, reason, weights, self.threshold)


@dataclass(frozen=True)
class Judgement:
    """The models for both kinds of evidence, with and without words compared in their context."""

    by_word: AnswerabilityModel
    by_text: AnswerabilityModel

    def decide(self, evidence: Evidence) -> Decision:
        """Let the model decide that goes with the evidence."""
        return self.model_for(evidence).decide(evidence)

    def model_for(self, evidence: Evidence) -> AnswerabilityModel:
        """The one that goes with the evidence."""
        return self.by_word if evidence.by_word else self.by_text


class Calibration(BaseModel):
    """The answerability model of one generation, fitted without labels; `calibration.calibrate` makes it.

    Held-out questions are those of the corpus itself, each asked with its row, and rows that ask the same, put aside.
    """

    model_config = ConfigDict(frozen=True)

    version: int = Field(CALIBRATION_VERSION, description="Of the evidence and of how it is weighed.")
    by_word: bool = Field(description="Whether words were compared in their context.")
    scales: dict[str, Scale] = Field(description="What held-out questions look like, by name of the evidence.")
    threshold: float = Field(ge=0, le=1, description="Least probability at which a question is answered.")
    candidates: int = Field(ge=1, description="Sections that were ranked.")
    lexical_candidates: int = Field(0, ge=0, description="Sections beside them that were found by their words.")
    max_false_answer_rate: float = Field(ge=0, le=1, description="The operating point that was asked for.")
    false_answer_rate: float = Field(
        ge=0, le=1, description="At the threshold, held-out and unrelated questions alike."
    )
    held_out: int = Field(ge=0, description="Questions asked with their row put aside.")
    unrelated: int = Field(ge=0, description="Questions about everyday subjects.")
    records: int = Field(ge=0, description="Records of the generation it was fitted on.")
    changed: int = Field(0, ge=0, description="Records that changed since.")

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Calibration | None:
        """One that was written; None if evidence or its weights have changed since."""
        return cls.model_validate(stored) if stored.get("version") == CALIBRATION_VERSION else None

    def judgement(self, models: Judgement | None = None) -> Judgement:
        """The models it was fitted with, at this corpus's scales; evidence of the other kind is judged as they are."""
        models = models or default_models()
        name = "by_word" if self.by_word else "by_text"
        own = replace(getattr(models, name), scales=self.scales, threshold=self.threshold)
        return replace(models, **{name: own})


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
    field = others[:_FIELD]
    met = best.meeting
    return Evidence(
        section_similarity=max(reading.section.score for reading in readings),
        question_similarity=max(reading.question_similarity for reading in readings),
        sentence_similarity=None if met else max(reading.best_similarity for reading in readings),
        lead=best.relevance - sum(field) / len(field) if field else 0.0,
        coverage=_coverage(question, best.section, statistics),
        unseen=_unseen(question, statistics),
        sections=len(readings),
        likeness=met.likeness if met else None,
        weakest=met.weakest if met else None,
        unmet=met.unmet if met else None,
    )


def default_models() -> Judgement:
    """The models to use where none was fitted to the corpus itself.

    `benchmarks/quality/fit.py` fits the coefficients to questions about five FAQs, people's paraphrases against
    near misses and questions about other subjects, and says how they do on an FAQ that was left out. The scales are the
    mean of those five, with all-MiniLM-L6-v2; a corpus that was indexed has its own (`calibration.py`).
    """
    return Judgement(
        by_word=AnswerabilityModel(
            coefficients={"likeness": 0.38, "weakest": 0.32, "unmet": -0.31, "lead": 0.57},
            scales={
                "likeness": Scale(0.66, 0.10),
                "weakest": Scale(0.51, 0.20),
                "unmet": Scale(0.31, 0.24),
                "lead": Scale(0.09, 0.06),
            },
            bias=-0.09,
        ),
        by_text=AnswerabilityModel(
            coefficients={
                "question_similarity": 0.27,
                "sentence_similarity": 0.19,
                "lead": 0.59,
                "coverage": 0.39,
                "unseen": -0.09,
            },
            scales={
                "question_similarity": Scale(0.66, 0.14),
                "sentence_similarity": Scale(0.63, 0.12),
                "lead": Scale(0.09, 0.06),
                "coverage": Scale(0.48, 0.28),
                "unseen": Scale(0.01, 0.05),
            },
            bias=0.52,
        ),
    )


def _unseen(question: str, statistics: CorpusStatistics) -> float:
    asked = set(terms(question))
    total = sum(statistics.rarity(term) for term in asked)
    if not total or not statistics.documents:
        return 0.0
    return sum(statistics.rarity(term) for term in asked if not statistics.knows(term)) / total


def _coverage(question: str, section: Section, statistics: CorpusStatistics) -> float:
    """Share of the question's content words that a section has, weighed by rarity; 1 if it has none."""
    weights = {term: statistics.rarity(term) + 1e-3 for term in terms(question)}  # so that common words alone count too
    if not weights:
        return 1.0
    has = set(terms(section.full_text))
    return sum(weight for term, weight in weights.items() if term in has) / sum(weights.values())
