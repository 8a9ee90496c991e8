"""A generation that a reader holds: searched from memory, whatever is written beside it or swept away beneath it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from made_records import DIMENSION, ids, make_records, vector_of

from ragwright.documents import Match
from ragwright.stores import lancedb
from ragwright.stores.lancedb import LanceDBStore
from ragwright.stores.snapshot import Snapshot

CHUNKS = [f"{n:04}" for n in range(300)]
VECTOR_BYTES = len(CHUNKS) * DIMENSION * 4
ROOM = {"with texts": 2**30, "vectors alone": VECTOR_BYTES + 100, "nothing": 0}


@pytest.fixture(params=ROOM)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LanceDBStore:
    opened = LanceDBStore(tmp_path / "store", snapshot_bytes=ROOM[request.param])
    opened.ensure_space("s", DIMENSION)
    opened.upsert("s", make_records(CHUNKS))
    return opened


def found(store: LanceDBStore, as_of: int) -> list[list[Match]]:
    return [
        *(store.query("s", vector_of(chunk), k=7, as_of=as_of) for chunk in CHUNKS[:5]),
        store.search_text("s", "Which is text 0042?", k=7, as_of=as_of),
    ]


def next_generation(folder: Path) -> None:
    with LanceDBStore(folder) as writer:
        writer.upsert("s", make_records(CHUNKS[::30], born=2, edition=2))
        writer.mark("s", ids(CHUNKS[::30]), 2)


def test_what_is_written_beside_a_held_generation_costs_its_searches_nothing(
    store: LanceDBStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.hold("s", 1)
    before = found(store, 1)
    next_generation(tmp_path / "store")

    def look(space: str) -> None:
        raise AssertionError(f"looked for a newer version of {space!r}")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_latest", look)
        assert found(store, 1) == before
    after = found(store, 2)
    assert after != before
    assert found(store, 1) == before
    store.hold("s", 2)
    assert found(store, 2) == after == found(LanceDBStore(tmp_path / "store"), 2)


def test_a_held_generation_outlives_the_files_it_was_read_from(
    store: LanceDBStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.hold("s", 1)
    before = found(store, 1)
    next_generation(tmp_path / "store")
    monkeypatch.setattr(lancedb, "_KEEP_VERSIONS", timedelta(microseconds=1))
    with LanceDBStore(tmp_path / "store") as writer:
        writer.optimise("s")
        writer.mark("s", ids(["0299"]), 3)
        writer.optimise("s")
    assert found(store, 1) == before


def test_texts_are_held_where_there_is_room_for_them(tmp_path: Path) -> None:
    for room, held in (("with texts", True), ("vectors alone", False)):
        store = LanceDBStore(tmp_path / "store", snapshot_bytes=ROOM[room])
        store.ensure_space("s", DIMENSION)
        store.upsert("s", make_records(CHUNKS))
        store.hold("s", 1)
        view = store._views.settled("s", 1)
        assert isinstance(view, Snapshot)
        assert all((block.shown is not None) == held for block in view.blocks)
        assert (view.nbytes > VECTOR_BYTES + 1_000) == held
        assert view.nbytes <= ROOM[room]


def test_the_next_generation_shares_what_the_one_before_it_holds(tmp_path: Path) -> None:
    store = LanceDBStore(tmp_path / "store")
    store.ensure_space("s", DIMENSION)
    store.upsert("s", make_records(CHUNKS))
    store.hold("s", 1)
    first = store._views.settled("s", 1)
    next_generation(tmp_path / "store")
    store.hold("s", 2)
    assert store._views.settled("s", 1) is None
    second = store._views.settled("s", 2)
    assert isinstance(first, Snapshot)
    assert isinstance(second, Snapshot)
    assert second.blocks[0] is first.blocks[0]
    assert len(second.blocks) == 2
    assert second.blocks[1].shown is not None
