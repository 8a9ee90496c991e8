"""A small FAQ, brought into an index and read back."""

from __future__ import annotations

import csv
from pathlib import Path

from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.reindex import ReindexReport, reindex
from ragwright.progress import Progress, silent
from ragwright.settings import Settings
from ragwright.stores import open_store


def faq(rows: int) -> list[tuple[str, str]]:
    """Questions and answers, all of them different."""
    return [
        (f"What is thing number {n}?", f"Thing {n} is the one that comes after thing {n - 1}.") for n in range(rows)
    ]


def run(settings: Settings, folder: Path, rows: list[tuple[str, str]], progress: Progress = silent) -> ReindexReport:
    """Write the rows to a file in a folder and re-index it."""
    path = folder / "faq.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "answer"), *rows])
    return reindex(settings, ReindexRequest(source=str(path)), progress=progress)


def shown(settings: Settings) -> dict[str, str]:
    """What readers see: text by question."""
    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store:
        head = catalog.head().last
        assert head is not None
        records = [row for batch in store.scan(head.space, as_of=head.generation) for row in batch.to_pylist()]
    assert len({record["record_id"] for record in records}) == len(records)
    return {record["question"]: record["text"] for record in records}
