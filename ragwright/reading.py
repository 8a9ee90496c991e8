"""Reading the retrieved sections closely: which of their sentences, and which of their words, meet the question."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragwright.embedding import Embedder, Vectors
from ragwright.packing import Section
from ragwright.terms import CorpusStatistics, content_words, sentences, stem, terms

# Beyond these a query would spend its time on text that cannot change the answer.
_MAX_SENTENCES = 48
_MAX_SENTENCES_A_SECTION = 16
_MAX_WORDS_A_SECTION = 80
_MAX_CACHED_WORDS = 20_000


@dataclass(frozen=True)
class Reading:
    """One section, seen from a question.

    Attributes:
        section: What was read.
        question_similarity: Cosine of the asked question and the section's own, in [-1, 1].
        sentences: Sentences of the section's text, in order; the rest of a very long section is left unread.
        vectors: float32 [len(sentences), d], each of length one.
        similarities: float32 [len(sentences)], cosine of the asked question and each sentence.
        coverage: Share of the asked question's content words, weighed by rarity, that the section has, in [0, 1].
        meaning_coverage: The same, where a word that is missing counts as much as its nearest neighbour among the
            section's words is like it: "free" is partly covered by "charge".
    """

    section: Section
    question_similarity: float
    sentences: tuple[str, ...]
    vectors: Vectors
    similarities: npt.NDArray[np.float32]
    coverage: float
    meaning_coverage: float

    @property
    def best_similarity(self) -> float:
        """How near the nearest sentence is to the asked question."""
        return float(self.similarities.max()) if len(self.similarities) else -1.0

    @property
    def relevance(self) -> float:
        """One figure to rank sections by, at most 1.

        The section's similarity, and half as much each of its question's and of the words' coverage. Over four FAQs
        this puts the right row first 7 points more often than the section's similarity alone.
        """
        return (self.section.score + 0.5 * self.question_similarity + 0.5 * self.meaning_coverage) / 2


class Reader:
    """Reads sections with one embedder; remembers the vectors of words it has met. Safe to use from several threads."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._words: dict[str, npt.NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    def read(
        self,
        question: str,
        query: npt.NDArray[np.float32],
        candidates: Sequence[Section],
        statistics: CorpusStatistics,
    ) -> list[Reading]:
        """Compare sections with a question, most relevant first.

        Args:
            question: As asked.
            query: float32 [d], its vector.
            candidates: Sections, in any order; of texts over the embedder's limit the beginning is compared.
            statistics: Of the corpus; empty ones weigh all words alike.
        """
        split = _split(candidates)
        texts = [section.question for section in candidates] + [sentence for found in split for sentence in found]
        vectors = self.embed(texts)
        similarities = vectors @ _unit(query[np.newaxis])[0]
        coverages = self._coverages(question, candidates, statistics)
        readings: list[Reading] = []
        start = len(candidates)
        for index, (section, found) in enumerate(zip(candidates, split, strict=True)):
            end = start + len(found)
            readings.append(
                Reading(
                    section,
                    float(similarities[index]),
                    found,
                    vectors[start:end],
                    similarities[start:end],
                    *coverages[index],
                )
            )
            start = end
        return sorted(readings, key=lambda reading: -reading.relevance)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 [n, d], rows of length one; of a text over the embedder's limit the beginning counts."""
        return _unit(self._embedder.embed(_fitting(texts, self._embedder)))

    def _coverages(
        self, question: str, candidates: Sequence[Section], statistics: CorpusStatistics
    ) -> list[tuple[float, float]]:
        """Exact and meaning coverage of the question by each section."""
        asked = content_words(question)
        if not asked:
            return [(1.0, 1.0)] * len(candidates)
        stems = [stem(word) for word in asked]
        weights = np.array([statistics.rarity(term) for term in stems]) + 1e-3  # so that common words alone count too
        weights /= weights.sum()
        offered = [content_words(section.full_text)[:_MAX_WORDS_A_SECTION] for section in candidates]
        vectors = self._vectors([*asked, *(word for words in offered for word in words)])
        wanted = np.stack([vectors[word] for word in asked])
        found: list[tuple[float, float]] = []
        for section, words in zip(candidates, offered, strict=True):
            has = set(terms(section.full_text))
            exact = np.array([term in has for term in stems], np.float64)
            if words:
                nearest = (wanted @ np.stack([vectors[word] for word in words]).T).max(axis=1)
                soft = np.maximum(exact, np.clip(nearest, 0, 1))
            else:
                soft = exact
            found.append((float(weights @ exact), float(weights @ soft)))
        return found

    def _vectors(self, words: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Unit vectors of words on their own; those not met before are embedded in one call."""
        wanted = list(dict.fromkeys(words))
        with self._lock:
            known = {word: self._words[word] for word in wanted if word in self._words}
        new = [word for word in wanted if word not in known]
        if new:
            fresh = dict(zip(new, self.embed(new), strict=True))
            known |= fresh
            with self._lock:
                if len(self._words) + len(fresh) > _MAX_CACHED_WORDS:
                    self._words.clear()
                self._words |= fresh
        return known


def _unit(vectors: Vectors) -> Vectors:
    """Rows of length one; a zero vector stays, and is like nothing."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _split(candidates: Sequence[Section]) -> list[tuple[str, ...]]:
    """Sentences of each section, within the limits of one reading; better sections come first and get theirs."""
    split: list[tuple[str, ...]] = []
    room = _MAX_SENTENCES
    for section in candidates:
        found = tuple(sentences(section.text)[: min(room, _MAX_SENTENCES_A_SECTION)])
        room -= len(found)
        split.append(found)
    return split


def _fitting(texts: Sequence[str], embedder: Embedder) -> list[str]:
    """The texts, halved until the embedder takes them."""
    fitting = list(texts)
    over = list(range(len(texts)))
    while over:
        counts = embedder.count_tokens([fitting[index] for index in over])
        over = [index for index, count in zip(over, counts, strict=True) if count > embedder.max_tokens]
        for index in over:
            fitting[index] = fitting[index][: len(fitting[index]) // 2]
    return fitting
