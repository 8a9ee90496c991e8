from __future__ import annotations

from pathlib import Path

import lancedb
import pyarrow as pa
import pytest

from ragwright.errors import StoreError
from ragwright.stores.lancedb import LanceDBStore


def test_tables_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    foreign = lancedb.connect(tmp_path)
    for name in ("other", "with.dots"):
        foreign.create_table(name, pa.table({"vector": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))}))
    store = LanceDBStore(tmp_path)
    assert store.spaces() == ["other"]
    with pytest.raises(StoreError, match="not made by ragwright"):
        store.ensure_space("other", 2)
    assert foreign.open_table("other").count_rows() == 1


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    store = LanceDBStore(tmp_path / "deep" / "store")
    with pytest.raises(StoreError, match="no space 's'"):
        store.fetch("s", ["a.1"])
    store.drop_space("s")
    assert store.spaces() == []
    assert list(tmp_path.iterdir()) == []
    store.ensure_space("s", 2)
    assert store.spaces() == ["s"]
