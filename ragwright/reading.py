"""Reading the retrieved sections closely: which of their sentences, and which of their words, meet the question."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ragwright.embedding import Embedder, Vectors
from ragwright.interaction import Interaction, Meeting, fitting
from ragwright.packing import Section
from ragwright.terms import CorpusStatistics, sentences

# Beyond these a query would spend its time on text that cannot change the answer.
_MAX_SENTENCES = 48
_MAX_SENTENCES_A_SECTION = 16
_REMEMBERED = 20_000  # texts whose vectors are remembered: at 384 dimensions about 30 MB


@dataclass(frozen=True)
class Reading:
    """One section, seen from a question.

    Attributes:
        section: What was read.
        question_similarity: Cosine of the asked question and the section's own, in [-1, 1].
        meeting: How the section meets the question word by word; None where the embedder has no token vectors.
        question_meeting: The same for the section's own question.
        sentences: Sentences of the section's text, in order; the rest of a very long section is left unread. None of a
            section that was only ranked, as by `Reader.read` where words were compared.
        vectors: float32 [len(sentences), d], each of length one.
        similarities: float32 [len(sentences)], cosine of the asked question and each sentence.
    """

    section: Section
    question_similarity: float
    meeting: Meeting | None = None
    question_meeting: Meeting | None = None
    sentences: tuple[str, ...] = ()
    vectors: Vectors = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    similarities: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def best_similarity(self) -> float:
        """How near the nearest sentence is to the asked question."""
        return float(self.similarities.max()) if len(self.similarities) else -1.0

    @property
    def relevance(self) -> float:
        """One figure to rank sections by, at most 1; docs/evaluation.md has what each part is worth."""
        whole = self.section.score + 0.5 * self.question_similarity
        if self.meeting is None or self.question_meeting is None:
            return whole / 1.5
        return (whole + 2 * self.meeting.relevance + self.question_meeting.relevance) / 4.5


class Reader:
    """Reads sections with one embedder; remembers what it has met. Safe to use from several threads.

    Args:
        embedder: The one the index was made with.
        interaction: Whether to compare word by word, where the embedder can.
        closely: Sections whose sentences are read; the others are only ranked.
    """

    def __init__(self, embedder: Embedder, *, interaction: bool = True, closely: int = 5) -> None:
        self._embedder, self._closely = embedder, closely
        self._interaction = Interaction(embedder) if interaction else None
        self._known: dict[str, npt.NDArray[np.float32]] = {}
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
        if not candidates:
            return []
        unit = _unit(query[np.newaxis])[0]
        similarities = self.embed([section.question for section in candidates]) @ unit
        meetings = self._meet(question, candidates, statistics)
        ranked = [
            Reading(section, float(similarity), *meeting)
            for section, similarity, meeting in zip(candidates, similarities, meetings, strict=True)
        ]
        ranked.sort(key=lambda reading: -reading.relevance)
        # Words say whether the FAQ answers at all; without them sentences must.
        return ranked if ranked[0].meeting else self.read_closely(query, ranked)

    def prepare(self, candidates: Sequence[Section]) -> None:
        """Ask the embedder at once for what it takes to read many sections, so that it need not wait between them."""
        self.embed([section.question for section in candidates])
        if self._interaction is not None:
            self._interaction.prepare([text for one in candidates for text in (*one.pieces, one.question)])

    def read_closely(self, query: npt.NDArray[np.float32], ranked: Sequence[Reading]) -> list[Reading]:
        """Read the sentences of the first sections as well; those that were read stay as they are."""
        unit, first = _unit(query[np.newaxis])[0], ranked[: self._closely]
        if any(reading.sentences for reading in first):
            return list(ranked)
        return [*self._with_sentences(unit, first), *ranked[self._closely :]]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32 [n, d], rows of length one; of a text over the embedder's limit the beginning counts."""
        with self._lock:
            known = {text: self._known[text] for text in texts if text in self._known}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            fresh = dict(zip(new, _unit(self._embedder.embed(fitting(new, self._embedder))), strict=True))
            known |= fresh
            with self._lock:
                if len(self._known) + len(fresh) > _REMEMBERED:
                    self._known.clear()
                self._known |= fresh
        dimension = self._embedder.fingerprint.dimension
        return np.stack([known[text] for text in texts]) if texts else np.zeros((0, dimension), np.float32)

    def _meet(
        self, question: str, candidates: Sequence[Section], statistics: CorpusStatistics
    ) -> list[tuple[Meeting | None, Meeting | None]]:
        if self._interaction is None:
            return [(None, None)] * len(candidates)
        texts = [*(section.pieces for section in candidates), *((section.question,) for section in candidates)]
        met = self._interaction.meet(question, texts, statistics)
        if met is None:
            return [(None, None)] * len(candidates)
        return list(zip(met[: len(candidates)], met[len(candidates) :], strict=True))

    def _with_sentences(self, unit: npt.NDArray[np.float32], ranked: Sequence[Reading]) -> list[Reading]:
        split = _split([reading.section for reading in ranked])
        vectors = self.embed([sentence for found in split for sentence in found])
        read = []
        start = 0
        for reading, found in zip(ranked, split, strict=True):
            own = vectors[start : start + len(found)]
            start += len(found)
            read.append(replace(reading, sentences=found, vectors=own, similarities=own @ unit))
        return read


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
