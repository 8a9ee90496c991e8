"""An index over a dozen rows, and what its readers see."""

from __future__ import annotations

from collections.abc import Callable

from ragwright.index.attempt import ReindexRequest, manifest_of, open_catalog
from ragwright.index.reindex import ReindexReport, reindex
from ragwright.settings import Settings
from ragwright.stores import open_store

FAQ = [(f"What is thing number {n}?", f"Thing {n} is the one that comes after thing {n - 1}.") for n in range(12)]

Write = Callable[[list[tuple[str, str]]], str]


def run(settings: Settings, source: str, **options: object) -> ReindexReport:
    return reindex(settings, ReindexRequest(source=source, **options))


def shown(settings: Settings) -> dict[int, tuple[str, str]]:
    """What a reader at the head sees of every row, by today's row number."""
    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store:
        head = catalog.head().last
        assert head is not None
        lines = manifest_of(catalog, head.generation).to_pylist()
        records = {
            record["record_id"]: record
            for batch in store.scan(head.space, as_of=head.generation)
            for record in batch.to_pylist()
        }
    assert {line["record_id"] for line in lines} == set(records)
    return {line["row"]: (records[line["record_id"]]["question"], records[line["record_id"]]["text"]) for line in lines}
