"""What the answering side needs to know of the whole corpus, counted while it is read."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from ragwright.terms import CorpusStatistics, Vocabulary


class TermCounter:
    """Counts in how many rows each term occurs; memory is bounded by the vocabulary."""

    def __init__(self) -> None:
        self._rows, self._counts, self._vocabulary = 0, Counter[str](), Vocabulary()

    def add(self, rows: pa.Table) -> None:
        """Count a partition (`documents.ROWS`)."""
        for question, answer in zip(rows["question"].to_pylist(), rows["answer"].to_pylist(), strict=True):
            self._counts.update(self._vocabulary.terms(f"{question}\n{answer}"))
        self._rows += len(rows)

    def statistics(self) -> CorpusStatistics:
        """What was counted so far."""
        return CorpusStatistics(self._rows, dict(self._counts))
