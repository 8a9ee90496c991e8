"""What the answering side needs to know of the whole corpus, counted while it is read."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from ragwright.terms import CorpusStatistics, Vocabulary

_COUNTED = pa.schema([("term", pa.string()), ("documents", pa.int64())])
# Terms counted as Python objects before they are put away, at a sixth of the room.
_OPEN_TERMS = 100_000


class TermCounter:
    """Counts in how many rows each term occurs; memory is bounded by the vocabulary, about 30 bytes a term."""

    def __init__(self) -> None:
        self._rows, self._open, self._vocabulary = 0, Counter[str](), Vocabulary()
        self._counted = [_COUNTED.empty_table()]

    def add(self, rows: pa.Table) -> None:
        """Count a partition (`documents.ROWS`)."""
        for question, answer in zip(rows["question"].to_pylist(), rows["answer"].to_pylist(), strict=True):
            self._open.update(self._vocabulary.terms(f"{question}\n{answer}"))
        self._rows += len(rows)
        if len(self._open) > _OPEN_TERMS or len(self._vocabulary) > _OPEN_TERMS:
            self._put_away()

    def table(self) -> pa.Table:
        """What was counted so far, as `CorpusStatistics.to_table` writes it."""
        self._put_away()
        counted = _summed(self._counted).sort_by("term")
        return counted.replace_schema_metadata(CorpusStatistics(self._rows).to_table().schema.metadata)

    def _put_away(self) -> None:
        terms = pa.array(list(self._open), pa.string())
        counts = pa.array(list(self._open.values()), pa.int64())
        self._counted.append(pa.table([terms, counts], schema=_COUNTED))
        # Like sizes are summed together, so that no term is moved more often than the number of its doublings.
        while len(self._counted) > 1 and 2 * len(self._counted[-1]) > len(self._counted[-2]):
            self._counted.append(_summed([self._counted.pop(), self._counted.pop()]))
        self._open, self._vocabulary = Counter(), Vocabulary()


def _summed(parts: list[pa.Table]) -> pa.Table:
    found = pa.concat_tables(parts).group_by("term").aggregate([("documents", "sum")])
    return pa.table([found["term"], found["documents_sum"]], schema=_COUNTED).combine_chunks()
