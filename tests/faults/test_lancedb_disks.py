"""A LanceDB folder on a full, read-only or damaged disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from lancedb_writers import CHUNKS, DIMENSION, SPACE
from made_records import ids, make_records, vector_of
from own_mounts import own_mounts

from ragwright.errors import StoreError
from ragwright.stores.lancedb import LanceDBStore

WRITERS = Path(__file__).with_name("lancedb_writers.py")


def run_mounted(script: str, folder: Path) -> str:
    command = [*own_mounts(), "sh", "-ec", script, "sh", str(folder), sys.executable, str(WRITERS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_disk_is_storage_full_and_loses_nothing(tmp_path: Path) -> None:
    said = run_mounted('mount -t tmpfs -o size=6m none "$1"; "$2" "$3" fill_disk "$1"', tmp_path)
    full, recovered = said.splitlines()
    assert full.startswith("full ")
    assert "store/s" in full
    assert "Free some space" in full
    assert recovered == "recovered"


def test_a_read_only_disk_can_be_read_and_says_so_to_writers(tmp_path: Path) -> None:
    store = LanceDBStore(tmp_path / "store")
    store.ensure_space(SPACE, DIMENSION)
    store.upsert(SPACE, make_records(CHUNKS, dimension=DIMENSION))
    said = run_mounted(
        'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; "$2" "$3" read_only "$1"', tmp_path
    ).splitlines()
    assert said[0] == f"read 1 {CHUNKS[3]}"
    assert [line.split()[:2] for line in said[1:]] == [
        [name, "StoreError"] for name in ("upsert", "mark", "delete", "ensure", "drop", "optimise")
    ]
    assert all("Read-only file system" in line and "permissions" in line for line in said[1:])


def test_a_file_in_the_place_of_the_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    store = LanceDBStore(tmp_path / "store")
    with pytest.raises(StoreError, match=str(tmp_path / "store")):
        store.ensure_space(SPACE, DIMENSION)
    with pytest.raises(StoreError, match=str(tmp_path / "store")):
        store.query(SPACE, vector_of("a", 0, DIMENSION), k=1, as_of=1)


def damage_data(table: Path, content: bytes | None) -> None:
    for path in (table / "data").iterdir():
        path.unlink() if content is None else path.write_bytes(content)


def damage_manifests(table: Path, content: bytes) -> None:
    for path in (table / "_versions").glob("*.manifest"):
        path.write_bytes(content)


def cut_data(table: Path) -> None:
    for path in (table / "data").iterdir():
        path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: damage_data(table, None),
        lambda table: damage_data(table, b""),
        lambda table: damage_data(table, os.urandom(5_000)),
        cut_data,
        lambda table: damage_manifests(table, b""),
        lambda table: damage_manifests(table, os.urandom(500)),
    ],
    ids=["data-gone", "data-empty", "data-garbage", "data-cut", "manifest-empty", "manifest-garbage"],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.query(SPACE, vector_of("a", 0, DIMENSION), k=1, as_of=1),
        lambda store: list(store.scan(SPACE)),
        lambda store: store.fetch(SPACE, ids(CHUNKS[:3])),
        lambda store: store.mark(SPACE, ids(CHUNKS[:3]), 2),
        lambda store: store.upsert(SPACE, make_records(CHUNKS, dimension=DIMENSION, edition=1)),
    ],
    ids=["query", "scan", "fetch", "mark", "upsert"],
)
def test_a_damaged_table_is_an_error_with_its_place(
    tmp_path: Path, damage: Callable[[Path], None], call: Callable[[LanceDBStore], object]
) -> None:
    writer = LanceDBStore(tmp_path)
    writer.ensure_space(SPACE, DIMENSION)
    writer.upsert(SPACE, make_records(CHUNKS, dimension=DIMENSION))
    damage(tmp_path / f"{SPACE}.lance")
    with pytest.raises(StoreError) as caught:
        call(LanceDBStore(tmp_path))
    assert caught.value.place == f"{tmp_path}/{SPACE}"
    assert "reindex --full" in str(caught.value)
    assert ".rs:" not in str(caught.value)
