from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made_records import DIMENSION, ids, make_records, vector_of

from ragwright.stores import fragment_words, on_disk, words
from ragwright.stores.lancedb import LanceDBStore
from ragwright.stores.memory import MemoryStore
from ragwright.stores.on_disk import OnDisk
from ragwright.stores.snapshot import RowsMoved, Snapshot

CHUNKS = [f"{n:04}" for n in range(600)]


@pytest.fixture
def lance(tmp_path: Path) -> LanceDBStore:
    store = LanceDBStore(tmp_path / "store")
    store.ensure_space("s", DIMENSION)
    return store


def held(store: LanceDBStore) -> Snapshot:
    view = store._views.at("s", store._latest("s"))
    assert isinstance(view, Snapshot)
    return view


def test_a_snapshot_follows_small_changes_without_reading_all_again(lance: LanceDBStore) -> None:
    exact = MemoryStore()
    exact.ensure_space("s", DIMENSION)
    rng = np.random.default_rng(11)
    stores = (lance, exact)
    for store in stores:
        store.upsert("s", make_records(CHUNKS))
    first = None
    for turn in range(2, 60):
        some = rng.choice(CHUNKS, 6, replace=False).tolist()
        change, died = rng.integers(4), int(rng.integers(2, turn + 1))
        for store in stores:
            match change:
                case 0:
                    store.upsert("s", make_records(some, edition=turn))
                case 1:
                    store.upsert("s", make_records(some, born=turn))
                    store.mark("s", ids(some), turn)
                case 2:
                    store.mark("s", ids(some), died)
                case 3:
                    store.delete("s", ids(some))
        query = vector_of(f"query {turn}")
        for as_of in (1, turn - 1, turn):
            assert lance.query("s", query, k=9, as_of=as_of) == exact.query("s", query, k=9, as_of=as_of)
            asked = f"Which edition is {turn - 1}, or of {some[0]}?"
            assert lance.search_text("s", asked, k=9, as_of=as_of) == exact.search_text("s", asked, k=9, as_of=as_of)
        first = first or held(lance)
        if turn == 12:
            assert len(held(lance).blocks) > 1
            assert held(lance).blocks[0] is first.blocks[0]
            assert held(lance).blocks[0].postings is first.blocks[0].postings is not None
    assert len(held(lance).blocks) <= 32


def test_a_query_after_compaction_finds_moved_rows(lance: LanceDBStore) -> None:
    for part in range(0, 600, 100):
        lance.upsert("s", make_records(CHUNKS[part : part + 100]))
    before = lance.query("s", vector_of("0042"), k=5, as_of=1)
    lance.optimise("s")
    assert lance.query("s", vector_of("0042"), k=5, as_of=1) == before
    assert before[0].chunk_id == "0042"
    assert lance.search_text("s", "question of 0042", k=1, as_of=1)[0].chunk_id == "0042"


def test_words_that_a_newer_snapshot_read_are_not_used_for_rows_it_did_not_have(lance: LanceDBStore) -> None:
    lance.upsert("s", make_records(CHUNKS))
    lance.query("s", vector_of("0042"), k=1, as_of=1)
    older = held(lance)
    lance.mark("s", ids(["0042"]), 2)
    assert lance.search_text("s", "0042", k=1, as_of=1)[0].chunk_id == "0042"
    assert held(lance).blocks[0] is older.blocks[0]
    with pytest.raises(RowsMoved):
        older.search_text_many([["0042"]], k=1, as_of=1)


def test_words_are_read_once_whoever_asks_first(lance: LanceDBStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lance.upsert("s", make_records(CHUNKS))
    reads = []
    read = words.texts
    monkeypatch.setattr(words, "texts", lambda records: reads.append(len(records)) or read(records))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda chunk: lance.search_text("s", chunk, k=1, as_of=1), CHUNKS[:20]))
    assert [matches[0].chunk_id for matches in found] == CHUNKS[:20]
    assert sum(reads) == 600


def test_marking_most_records_drops_the_waste(lance: LanceDBStore) -> None:
    lance.upsert("s", make_records(CHUNKS))
    lance.query("s", vector_of("0001"), k=1, as_of=1)
    lance.delete("s", ids(CHUNKS[10:]))
    lance.query("s", vector_of("0001"), k=1, as_of=1)
    assert len(held(lance).rows) == 10


def test_a_table_over_the_memory_bound_is_searched_on_disk_with_the_same_result(tmp_path: Path) -> None:
    frugal, exact = LanceDBStore(tmp_path / "store", snapshot_bytes=0), MemoryStore()
    for store in (frugal, exact):
        store.ensure_space("s", DIMENSION)
        store.upsert("s", make_records(CHUNKS))
        store.mark("s", ids(CHUNKS[::3]), 2)
    for n in range(5):
        for as_of in (0, 1, 2):
            query = vector_of(f"query {n}")
            found = frugal.query("s", query, k=10, as_of=as_of)
            assert found == exact.query("s", query, k=10, as_of=as_of)
            asked = f"Which text is {CHUNKS[n]}?"
            found = frugal.search_text("s", asked, k=10, as_of=as_of)
            assert found == exact.search_text("s", asked, k=10, as_of=as_of)
            assert len(found) == (10 if as_of else 0)
    assert isinstance(frugal._views.at("s", frugal._latest("s")), OnDisk)


@pytest.mark.parametrize("snapshot_bytes", [0, 2**30])
def test_many_searches_at_once_find_what_each_alone_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snapshot_bytes: int
) -> None:
    monkeypatch.setattr(on_disk, "_BATCH_ROWS", 70)
    monkeypatch.setattr(fragment_words, "_RUN", 90)
    monkeypatch.setattr(fragment_words, "_BATCH_ROWS", 40)
    store, exact = LanceDBStore(tmp_path / "store", snapshot_bytes=snapshot_bytes), MemoryStore()
    for one in (store, exact):
        one.ensure_space("s", DIMENSION)
        one.upsert("s", make_records(CHUNKS))
        one.mark("s", ids(CHUNKS[::3]), 2)
    queries = np.stack([vector_of(f"query {n}") for n in range(7)])
    asked = ["!", *(f"Which text is {CHUNKS[n]}?" for n in range(7))]
    for as_of in (0, 1, 2):
        assert store.query_many("s", queries, k=9, as_of=as_of) == [
            exact.query("s", query, k=9, as_of=as_of) for query in queries
        ]
        assert store.search_text_many("s", asked, k=9, as_of=as_of) == [
            exact.search_text("s", text, k=9, as_of=as_of) for text in asked
        ]


def test_memory_for_snapshots_is_shared_among_spaces(tmp_path: Path) -> None:
    room_for_one = 600 * DIMENSION * 4
    store = LanceDBStore(tmp_path / "store", snapshot_bytes=room_for_one)
    for space in ("one", "two"):
        store.ensure_space(space, DIMENSION)
        store.upsert(space, make_records(CHUNKS))
    for space in ("one", "two", "one"):
        assert store.query(space, vector_of("0003"), k=1, as_of=1)[0].chunk_id == "0003"
        assert list(store._views._views) == [space]


def test_words_beyond_the_memory_bound_are_read_once_and_of_later_versions_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, exact = LanceDBStore(tmp_path / "store", snapshot_bytes=0), MemoryStore()
    reads = []
    read = words.texts
    monkeypatch.setattr(fragment_words, "_RUN", 90)

    def both(*changes: tuple[str, object]) -> int:
        for one in (store, exact):
            for change, *given in changes:
                getattr(one, change)("s", *given)
        before = len(reads)
        for as_of in (1, 2):
            expected = exact.search_text("s", "Which is text 0042, edition 2?", k=9, as_of=as_of)
            with monkeypatch.context() as patch:
                patch.setattr(words, "texts", lambda records: reads.append(len(records)) or read(records))
                assert store.search_text("s", "Which is text 0042, edition 2?", k=9, as_of=as_of) == expected
        return sum(reads[before:])

    assert both(("ensure_space", DIMENSION), ("upsert", make_records(CHUNKS))) == 600
    assert both() == 0
    assert both(("upsert", make_records(CHUNKS[:30], born=2, edition=2)), ("mark", ids(CHUNKS[:30]), 2)) == 60
    assert both(("delete", ids(CHUNKS[30:60]))) == 0
    assert both(("delete", ids(CHUNKS[60:]))) <= 90  # most of what was read is gone: it is read anew
    assert both(("delete", [*ids(CHUNKS), *ids(CHUNKS, 2)])) == 0
    assert both(("upsert", make_records(CHUNKS[:5]))) == 5
