"""How a plan reaches the store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest
from small_index import FAQ, Write, run, shown

from ragwright.embedding import HashingEmbedder, Vectors
from ragwright.errors import StoreError
from ragwright.index import writing
from ragwright.settings import Settings
from ragwright.stores.memory import MemoryStore


@pytest.mark.parametrize("settings", ["memory"], indirect=True)
def test_records_are_ended_and_revived_in_calls_that_a_lease_outlives(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, int]] = []
    mark = MemoryStore.mark

    def noted(store: MemoryStore, space: str, record_ids: Sequence[str], died: int) -> None:
        calls.append((len(record_ids), died))
        mark(store, space, record_ids, died)

    monkeypatch.setattr(writing, "_SLICE", 4)
    monkeypatch.setattr(MemoryStore, "mark", noted)
    run(settings, write_faq(FAQ))
    report = run(settings, write_faq(FAQ[:2]), allow_mass_delete=True)
    assert calls == [(4, 2), (4, 2), (2, 2)]
    assert report.written == 10
    assert len(shown(settings)) == 2


class GreedyEmbedder(HashingEmbedder):
    """Takes the next texts before it gives out the last vectors; notes what had been written when it took them."""

    written = 0
    taken: list[int]
    ended = False

    def embed_each(self, groups: Iterable[Sequence[str]], *, kind: Any = "document") -> Iterator[Vectors]:
        before: Vectors | None = None
        try:
            for texts in groups:
                GreedyEmbedder.taken.append(GreedyEmbedder.written)
                vectors = self.embed(texts, kind=kind)
                if before is not None:
                    yield before
                before = vectors
            if before is not None:
                yield before
        finally:
            GreedyEmbedder.ended = True


@pytest.fixture
def greedy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an index whose embedder is greedy, whose store is slow, and whose batches hold two sections."""
    monkeypatch.setattr(GreedyEmbedder, "taken", [], raising=False)
    monkeypatch.setattr(GreedyEmbedder, "written", 0)
    monkeypatch.setattr(GreedyEmbedder, "ended", False)
    monkeypatch.setattr("ragwright.embedding.opening.HashingEmbedder", GreedyEmbedder)
    upsert = MemoryStore.upsert

    def slow(store: MemoryStore, space: str, records: Any) -> None:
        time.sleep(0.02)
        upsert(store, space, records)
        GreedyEmbedder.written += 1

    monkeypatch.setattr(MemoryStore, "upsert", slow)
    return settings.model_copy(update={"embedding": settings.embedding.model_copy(update={"write_batch": 2})})


@pytest.mark.parametrize("settings", ["memory"], indirect=True)
def test_a_batch_is_begun_when_the_last_but_one_has_been_written(greedy: Settings, write_faq: Write) -> None:
    report = run(greedy, write_faq(FAQ))
    assert report.written == len(shown(greedy)) == len(FAQ)
    assert len(GreedyEmbedder.taken) == GreedyEmbedder.written == len(FAQ) / 2
    assert all(written >= batch - 1 for batch, written in enumerate(GreedyEmbedder.taken))


@pytest.mark.parametrize("settings", ["memory"], indirect=True)
def test_after_a_failed_write_nothing_more_is_embedded_or_written(
    greedy: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def fails_second(store: MemoryStore, space: str, records: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreError("no", place="test")
        GreedyEmbedder.written += 1

    monkeypatch.setattr(MemoryStore, "upsert", fails_second)
    with pytest.raises(StoreError, match="no"):
        run(greedy, write_faq(FAQ))
    assert calls == 2
    assert len(GreedyEmbedder.taken) <= 4
    assert GreedyEmbedder.ended
