"""How a plan reaches the store."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from small_index import FAQ, Write, run, shown

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
