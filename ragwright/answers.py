"""What a reader gets: an answer with its citations, or "I don't know", and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

I_DONT_KNOW = "I don't know."
"""What a reader sees when the FAQ does not answer the question."""


@dataclass(frozen=True)
class Citation:
    """A section of the FAQ that an answer rests on; `row` is 0-based in the source, `score` a cosine."""

    row: int
    row_key: str
    score: float
    question: str
    text: str

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, for people and programs."""
        return {
            "row": self.row,
            "row_key": self.row_key,
            "score": round(self.score, 6),
            "question": self.question,
            "text": self.text,
        }


@dataclass(frozen=True)
class Explanation:
    """Why a question was answered or not.

    Attributes:
        probability: That the FAQ answers it, as the answerability model sees it.
        threshold: Least probability at which a question is answered; None if the judge has no such thing.
        evidence: Value of each piece of evidence, by name.
        weights: What each piece added to the log-odds, by name; a negative one speaks against an answer.
        words: For each word that says what the question is about, its cosine with the nearest word of the most relevant
            section; empty where words were not compared.
        candidates: What was retrieved, most relevant first, each with its relevance.
    """

    probability: float
    threshold: float | None
    evidence: Mapping[str, float]
    weights: Mapping[str, float]
    words: Mapping[str, float]
    candidates: tuple[tuple[Citation, float], ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "probability": round(self.probability, 4),
            "threshold": None if self.threshold is None else round(self.threshold, 4),
            "evidence": {name: round(value, 4) for name, value in self.evidence.items()},
            "weights": {name: round(value, 4) for name, value in self.weights.items()},
            "words": {word: round(value, 4) for word, value in self.words.items()},
            "candidates": [
                {"row": found.row, "row_key": found.row_key, "question": found.question, "score": round(found.score, 6)}
                | {"relevance": round(relevance, 6)}
                for found, relevance in self.candidates
            ],
        }


@dataclass(frozen=True)
class Answer:
    """What a reader gets.

    Attributes:
        question: As asked, cleaned of control characters.
        answer: The text; `I_DONT_KNOW` when abstained.
        abstained: Whether the FAQ does not answer it.
        reason: Why, in a few words, for people.
        citations: The sections the answer rests on, most relevant first; none when abstained.
        generation: Generation of the index it was answered from, None without an index.
        timings_ms: `embed`, `search`, `read`, `generate` and `total`, in milliseconds.
        source: `generated` (by the language model, supported), `quoted` (from the FAQ), `bare` (no FAQ) or `none`.
        ranking: Everything retrieved, most relevant first, whether or not it was used.
        evidence: What the decision rests on, by name.
        explanation: Why it was answered or not; None where nothing was found to decide on.
        prompt_tokens: Tokens that the language model read; 0 if it was not asked, None if its server does not count.
        new_tokens: The same of those it wrote.
    """

    question: str
    answer: str
    abstained: bool
    reason: str
    citations: tuple[Citation, ...]
    generation: int | None
    timings_ms: Mapping[str, float]
    source: str = "none"
    ranking: tuple[Citation, ...] = ()
    evidence: Mapping[str, float] = field(default_factory=dict)
    explanation: Explanation | None = None
    prompt_tokens: int | None = 0
    new_tokens: int | None = 0

    def to_json(self, *, explain: bool = False) -> dict[str, Any]:
        """JSON-ready, in the layout that programs rely on; with the explanation if asked for."""
        extra = {"explanation": self.explanation.to_json() if self.explanation else None} if explain else {}
        return extra | {
            "question": self.question,
            "answer": self.answer,
            "abstained": self.abstained,
            "reason": self.reason,
            "citations": [citation.to_json() for citation in self.citations],
            "generation": self.generation,
            "timings_ms": {name: round(value, 3) for name, value in self.timings_ms.items()},
            "source": self.source,
        }
