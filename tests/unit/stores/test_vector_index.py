"""Spaces too large to hold in memory: LanceDB's index finds nearly what exact search finds, whoever sees what."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ragwright.documents import FOREVER, records_schema
from ragwright.stores import Holder, Indexer, nearest, vector_index
from ragwright.stores.lancedb import LanceDBStore
from ragwright.stores.on_disk import OnDisk

DIMENSION, RECORDS, K = 64, 12_000, 10
CENTRES = np.random.default_rng(8).standard_normal((150, DIMENSION), dtype=np.float32)


def clustered(count: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    noise = draw.standard_normal((count, DIMENSION), dtype=np.float32)
    return CENTRES[draw.integers(0, len(CENTRES), count)] + 0.8 * noise


def records(vectors: np.ndarray, *, first: int = 0, born: int = 1) -> pa.Table:
    numbers = np.arange(first, first + len(vectors))
    names = [f"{number:08}" for number in numbers]
    columns = {
        "record_id": [f"{name}.{born}" for name in names],
        "chunk_id": names,
        "born": np.full(len(names), born),
        "died": np.where(numbers % 5 == 0, 2, FOREVER),
        "row_key": names,
        "row": numbers,
        "part": np.zeros(len(names), np.int32),
        "parts": np.ones(len(names), np.int32),
        "question": names,
        "text": [f"Text {number % 7} of {number}." for number in numbers],
        "metadata": ["{}"] * len(names),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION),
    }
    layout = records_schema(DIMENSION)
    return pa.table(columns).select(layout.names).cast(layout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A space with its index; the tests of this module add to it, and put nothing near what others look for."""
    place = tmp_path_factory.mktemp("indexed") / "store"
    with pytest.MonkeyPatch.context() as patch, LanceDBStore(place, snapshot_bytes=0) as store:
        patch.setattr(vector_index, "LEAST_ROWS", 1_000)
        patch.setattr(vector_index, "_ROWS_A_PARTITION", 100)
        store.ensure_space("s", DIMENSION)
        store.upsert("s", records(clustered(RECORDS, 1)))
        store.index("s")
    return place


@pytest.fixture
def store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> LanceDBStore:
    monkeypatch.setattr(vector_index, "LEAST_ROWS", 1_000)
    return LanceDBStore(folder, snapshot_bytes=0)


def view(store: LanceDBStore) -> OnDisk:
    found = store._views.at("s", store._latest("s"))
    assert isinstance(found, OnDisk)
    return found


def recall(store: LanceDBStore, targets: np.ndarray, as_of: int) -> float:
    exact = view(store)._exactly(targets, k=K, as_of=as_of)
    found = [store.query("s", target, k=K, as_of=as_of) for target in targets]
    shares = []
    for ours, theirs in zip(found, exact, strict=True):
        scores = {match.record_id: match.score for match in theirs}
        assert all(match.score == scores.get(match.record_id, match.score) for match in ours)
        shares.append(len({match.record_id for match in ours} & scores.keys()) / len(theirs))
    return float(np.mean(shares))


def test_the_index_finds_what_exact_search_finds_at_every_generation(store: LanceDBStore) -> None:
    assert isinstance(store, Indexer)
    assert isinstance(store, Holder)
    assert view(store).indexed
    between = (clustered(30, 20) + clustered(30, 21)) / 2  # nearest to the centre of no partition
    targets = np.concatenate([clustered(30, 2), between])
    for as_of in (1, 2):
        assert recall(store, targets, as_of) >= 0.99
    seen = {match.record_id for target in targets for match in store.query("s", target, k=K, as_of=2)}
    assert seen
    assert not any(int(name[:8]) % 5 == 0 for name in seen)
    assert store.query("s", targets[0], k=K, as_of=0) == []


def test_what_most_of_the_neighbourhood_is_dead_to_is_found_all_the_same(store: LanceDBStore) -> None:
    near = 30 * np.ones((400, DIMENSION), np.float32) + clustered(400, 3)
    added = records(near, first=20_000)
    dead = pa.array(np.where(np.arange(400) < 390, 2, FOREVER))
    store.upsert("s", added.set_column(added.schema.get_field_index("died"), "died", dead))
    found = store.query("s", near[0], k=K, as_of=2)
    assert sorted(match.row for match in found) == list(range(20_390, 20_400))


def test_new_records_are_found_before_the_index_knows_them_and_after(store: LanceDBStore) -> None:
    far = -30 * np.ones((400, DIMENSION), np.float32) + clustered(400, 4)
    store.upsert("s", records(far, first=30_001, born=3))
    table = store._latest("s")
    assert vector_index.due(table) == "extend"
    before = store.query("s", far[7], k=1, as_of=3)
    assert [match.row for match in before] == [30_008]
    assert store.query("s", far[7], k=1, as_of=2) != before
    store.index("s")
    table = store._latest("s")
    assert table.index_stats("vector_idx").num_unindexed_rows == 0
    assert vector_index.due(table) == "nothing"
    assert store.query("s", far[7], k=1, as_of=3) == before
    assert recall(store, clustered(20, 5), 3) >= 0.99


def test_a_vector_without_direction_is_searched_for_exactly(store: LanceDBStore) -> None:
    nowhere = np.zeros(DIMENSION, np.float32)
    found = store.query("s", nowhere, k=3, as_of=1)
    assert found == view(store)._exactly(nowhere[np.newaxis], k=3, as_of=1)[0]
    assert [match.score for match in found] == [0, 0, 0]


def test_an_index_that_cannot_be_read_makes_searches_slow_and_not_wrong(
    folder: Path, store: LanceDBStore, caplog: pytest.LogCaptureFixture
) -> None:
    target = clustered(1, 6)[0]
    expected = nearest_exactly(store, target)
    for file in (folder / "s.lance" / "_indices").rglob("*"):
        if file.is_file():
            file.rename(file.with_suffix(".away"))
    try:
        with caplog.at_level(logging.WARNING):
            assert LanceDBStore(folder, snapshot_bytes=0).query("s", target, k=K, as_of=2) == expected
        assert "without the vector index" in caplog.text
    finally:
        for file in (folder / "s.lance" / "_indices").rglob("*.away"):
            file.rename(file.with_suffix(".idx"))


def nearest_exactly(store: LanceDBStore, target: nearest.Floats) -> list[object]:
    return list(view(store)._exactly(target[np.newaxis], k=K, as_of=2)[0])


def test_a_space_that_fits_into_memory_or_is_small_gets_no_index(tmp_path: Path) -> None:
    for bound, count in ((2**30, 2_000), (0, 500)):
        store = LanceDBStore(tmp_path / str(bound), snapshot_bytes=bound)
        store.ensure_space("s", DIMENSION)
        store.upsert("s", records(clustered(count, 7)))
        store.index("s")
        assert not vector_index.exists(store._latest("s"))
