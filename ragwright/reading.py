"""Reading the retrieved sections closely: which of their sentences are about the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragwright.embedding import Embedder, Vectors
from ragwright.packing import Section
from ragwright.terms import sentences

# Beyond these a query would spend its time on text that cannot change the answer.
MAX_SENTENCES = 48
_MAX_SENTENCES_A_SECTION = 16


@dataclass(frozen=True)
class Reading:
    """One section, seen from a question.

    Attributes:
        section: What was read.
        question_similarity: Cosine of the asked question and the section's own, in [-1, 1].
        sentences: Sentences of the section's text, in order; the rest of a very long section is left unread.
        similarities: float32 [len(sentences)], cosine of the asked question and each sentence.
    """

    section: Section
    question_similarity: float
    sentences: tuple[str, ...]
    similarities: npt.NDArray[np.float32]

    @property
    def best_similarity(self) -> float:
        """How near the nearest sentence is to the asked question."""
        return float(self.similarities.max()) if len(self.similarities) else -1.0

    @property
    def relevance(self) -> float:
        """One figure to rank sections by: the mean of section, question and best sentence similarity."""
        return (self.section.score + self.question_similarity + self.best_similarity) / 3


def read(query: npt.NDArray[np.float32], candidates: Sequence[Section], embedder: Embedder) -> list[Reading]:
    """Embed questions and sentences of the sections in one batch and compare them with the query.

    Args:
        query: float32 [d], the asked question's vector.
        candidates: Sections, best first.
        embedder: The one that made `query`; texts over its limit are cut at a word for this purpose.
    """
    split: list[tuple[str, ...]] = []
    room = MAX_SENTENCES
    for section in candidates:
        found = tuple(sentences(section.text)[: min(room, _MAX_SENTENCES_A_SECTION)])
        room -= len(found)
        split.append(found)
    texts = [section.question for section in candidates] + [sentence for found in split for sentence in found]
    similarities = cosines(embedder.embed(_fitting(texts, embedder)), query)
    readings: list[Reading] = []
    start = len(candidates)
    for section, question_similarity, found in zip(candidates, similarities, split, strict=False):
        end = start + len(found)
        readings.append(Reading(section, float(question_similarity), found, similarities[start:end]))
        start = end
    return readings


def cosines(vectors: Vectors, query: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Cosine of each row of `vectors` [n, d] with `query` [d]: float32 [n]. A zero vector is like nothing: 0."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    found = np.zeros(len(vectors), np.float32)
    np.divide(vectors @ query, lengths, out=found, where=lengths > 0)
    return found


def _fitting(texts: Sequence[str], embedder: Embedder) -> list[str]:
    fitting = list(texts)
    over = [index for index, count in enumerate(embedder.count_tokens(texts)) if count > embedder.max_tokens]
    while over:
        for index in over:
            fitting[index] = fitting[index][: len(fitting[index]) // 2]
        counts = embedder.count_tokens([fitting[index] for index in over])
        over = [index for index, count in zip(over, counts, strict=True) if count > embedder.max_tokens]
    return fitting
