from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import make_records

from ragwright.errors import ConfigurationError, StoreError
from ragwright.stores import MAX_IDS_PER_REQUEST, MAX_METADATA_BYTES, MAX_REQUEST_BYTES, limits, open_store
from ragwright.stores.lancedb import LanceDBStore
from ragwright.stores.memory import MemoryStore
from ragwright.stores.on_disk import OnDisk
from ragwright.stores.snapshot import Snapshot

SIZES = st.lists(st.integers(0, 900_000), max_size=60)


@given(sizes=SIZES, max_count=st.integers(1, 20))
def test_request_slices_cover_everything_once_and_fit(sizes: list[int], max_count: int) -> None:
    slices = list(limits.request_slices(np.array(sizes, dtype=np.int64), max_count=max_count))
    assert [n for run in slices for n in range(run.start, run.stop)] == list(range(len(sizes)))
    for run in slices:
        assert 1 <= run.stop - run.start <= max_count
        assert sum(sizes[run]) <= MAX_REQUEST_BYTES


@given(sizes=SIZES)
def test_a_request_is_only_cut_where_one_more_would_not_fit(sizes: list[int]) -> None:
    for run in limits.request_slices(np.array(sizes, dtype=np.int64)):
        at_the_end = run.stop == len(sizes)
        assert at_the_end or sum(sizes[run.start : run.stop + 1]) > MAX_REQUEST_BYTES


def test_a_record_over_the_limit_gets_a_request_of_its_own() -> None:
    sizes = np.array([10, MAX_REQUEST_BYTES + 1, 10], dtype=np.int64)
    assert [(s.start, s.stop) for s in limits.request_slices(sizes)] == [(0, 1), (1, 2), (2, 3)]


@given(ids=st.lists(st.text(max_size=2), max_size=50), size=st.integers(1, 7))
def test_id_batches_hold_each_id_once_in_order(ids: list[str], size: int) -> None:
    batches = list(limits.id_batches(ids, size))
    assert [name for batch in batches for name in batch] == list(dict.fromkeys(ids))
    assert all(1 <= len(batch) <= size for batch in batches)


def test_id_batches_default_to_what_one_request_may_hold() -> None:
    batches = list(limits.id_batches([str(n) for n in range(2_500)]))
    assert [len(batch) for batch in batches] == [MAX_IDS_PER_REQUEST, MAX_IDS_PER_REQUEST, 500]


def test_many_ordinary_records_are_checked_without_encoding_each() -> None:
    records = make_records([str(n) for n in range(500)], text="x" * 400)
    many = records.take(np.arange(50_000) % 500)
    many = many.set_column(0, "record_id", [[f"{n}.1" for n in range(50_000)]])
    started = time.perf_counter()
    limits.check_records(many, 8, place="here")
    checking = time.perf_counter() - started
    started = time.perf_counter()
    for row in many.slice(0, 5_000).drop_columns("vector").to_pylist():
        limits.metadata_json(row)
    assert checking < 10 * (time.perf_counter() - started)


def test_the_metadata_limit_is_on_the_encoded_size() -> None:
    # 30,000 characters that JSON writes as two bytes each.
    with pytest.raises(StoreError, match="over the limit of 40960"):
        limits.check_records(make_records(["a"], text="\n" * 30_000), 8, place="here")
    assert MAX_METADATA_BYTES == 40_960


@pytest.mark.parametrize(
    ("spec", "kind"),
    [("memory:some", MemoryStore), ("lancedb:some/folder", LanceDBStore), ("lancedb:/a:b", LanceDBStore)],
)
def test_a_spec_opens_its_store_without_touching_anything(spec: str, kind: type, in_folder: Callable[[], list]) -> None:
    with open_store(spec) as store:
        assert isinstance(store, kind)
        assert store.spaces() == []
    assert in_folder() == []


def test_how_much_a_store_holds_in_memory_is_a_setting(in_folder: Callable[[], list]) -> None:
    for memory_mb, kind in ((None, Snapshot), (0, OnDisk)):
        with open_store("lancedb:some", memory_mb=memory_mb) as store:
            store.ensure_space("s", 8)
            store.upsert("s", make_records(["a"]))
            assert isinstance(store._views.at("s", store._latest("s")), kind)


@pytest.mark.parametrize("spec", ["", "lancedb", "lancedb:", "memory:", "chroma:x", "LANCEDB:x"])
def test_a_spec_that_names_no_store_is_refused(spec: str) -> None:
    with pytest.raises(ConfigurationError, match="names no vector store"):
        open_store(spec)


@pytest.fixture
def in_folder(tmp_path, monkeypatch) -> Callable[[], list]:
    monkeypatch.chdir(tmp_path)
    return lambda: list(tmp_path.iterdir())


def test_one_memory_store_a_name_in_a_process() -> None:
    with open_store("memory:one-a-name") as first:
        first.ensure_space("s", 8)
        first.upsert("s", make_records(["a"]))
    with open_store("memory:one-a-name") as second, open_store("memory:another-name") as other:
        assert second.fetch("s", ["a.1"]).num_rows == 1
        assert other.spaces() == []
