"""What the answering side needs to know of the whole corpus, counted once a generation."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from ragwright.index.attempt import Attempt
from ragwright.index.catalog import folder
from ragwright.index.staging import Ledger
from ragwright.sources import Source
from ragwright.terms import CorpusStatistics


def count_terms(attempt: Attempt, source: Source, ledger: Ledger) -> CorpusStatistics:
    """Count the terms of the rows that the generation shows, or take the live generation's where nothing changed."""
    stored = None
    if not (ledger.added or ledger.updated or ledger.removed):
        stored = attempt.catalog.read_table(f"{folder(attempt.begin.live)}/statistics.parquet")
    if stored is None:
        stored = CorpusStatistics.from_texts(_texts(attempt, source)).to_table()
    attempt.catalog.write_table(attempt.path("statistics.parquet"), stored)
    return CorpusStatistics.from_table(stored)


def _texts(attempt: Attempt, source: Source) -> Iterator[str]:
    shown: pa.Array = attempt.table("source.parquet", columns=["row"])["row"].combine_chunks()
    for partition in source.partitions():
        rows = partition.rows.filter(pc.is_in(partition.rows["row"], shown))
        for question, answer in zip(rows["question"].to_pylist(), rows["answer"].to_pylist(), strict=True):
            yield f"{question}\n{answer}"
