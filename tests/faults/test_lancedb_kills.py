"""What is left in a LanceDB folder when its writer is killed, and what other processes see meanwhile."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import lancedb
import pytest
from lancedb_writers import CHUNKS, DIMENSION, SPACE
from made_records import edition_of, ids, make_records, vector_of

from ragwright.errors import StoreError
from ragwright.stores import lancedb as adapter
from ragwright.stores.lancedb import LanceDBStore

WRITERS = Path(__file__).with_name("lancedb_writers.py")


def start(role: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(WRITERS), role, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def make_store(folder: Path) -> LanceDBStore:
    store = LanceDBStore(folder)
    store.ensure_space(SPACE, DIMENSION)
    return store


def rows(store: LanceDBStore) -> list[dict]:
    return [row for batch in store.scan(SPACE) for row in batch.to_pylist()]


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_records_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path)
    store.upsert(SPACE, make_records(CHUNKS, dimension=DIMENSION))
    chance = random.Random(17)
    edition = 1
    for _ in range(6):
        with start("rewrite_for_ever", tmp_path, edition) as writer:
            assert writer.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.25))
            writer.send_signal(signal.SIGKILL)
        found = rows(store)
        names = [row["record_id"] for row in found]
        assert len(names) == len(set(names))
        assert set(names) in (set(ids(CHUNKS)), set(ids(CHUNKS[1::2])))
        # Each call is one commit, so at most one half of the chunks is ahead by an edition.
        assert len({edition_of(row, DIMENSION) for row in found}) == 1
        assert len({row["died"] for row in found}) == 1
        edition = edition_of(found[0], DIMENSION) + 1
        matches = LanceDBStore(tmp_path).query(SPACE, found[5]["vector"], k=1, as_of=1)
        assert [match.record_id for match in matches] == [found[5]["record_id"]]
        matches = LanceDBStore(tmp_path).search_text(SPACE, found[5]["question"], k=1, as_of=1)
        assert [match.record_id for match in matches] == [found[5]["record_id"]]
    # The next writer is not kept out by the dead one's lock, and what that left half-done goes.
    store.upsert(SPACE, make_records(CHUNKS, edition=9_999, dimension=DIMENSION))
    monkeypatch.setattr(adapter, "_KEEP_VERSIONS", timedelta(milliseconds=1))
    unfinished = tmp_path / f"{SPACE}.lance" / "data" / "0123456789abcdef.lance"
    unfinished.write_bytes(b"of a commit that never was")
    (tmp_path / f"{SPACE}.lance" / "data" / ".tmp012345").write_bytes(b"not even named")
    for _ in range(2):
        time.sleep(0.01)
        store.optimise(SPACE)
    assert {edition_of(row, DIMENSION) for row in rows(store)} == {9_999}
    data = list((tmp_path / f"{SPACE}.lance" / "data").iterdir())
    assert unfinished not in data
    assert not list(tmp_path.rglob(".tmp*"))
    assert len(data) <= 2, "one file of live rows, and perhaps the one it was made from"


@pytest.mark.slow
def test_two_processes_that_insert_the_same_ids_leave_one_record_each(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    twins = [start("insert", tmp_path, name) for name in ("left", "right")]
    for twin in twins:
        assert twin.stdout.readline() == "ready\n"
    for twin in twins:
        twin.stdin.write("go\n")
        twin.stdin.flush()
    for twin in twins:
        twin.communicate(timeout=60)
        assert twin.returncode == 0
    names = [row["record_id"] for row in rows(store)]
    assert len(names) == len(set(names)) == 8 * 30 + 2 * 8


@pytest.mark.slow
def test_readers_see_each_generation_whole_while_another_process_writes(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.upsert(SPACE, make_records(CHUNKS[7:47], dimension=DIMENSION))
    live, checked = 1, 0
    with start("publish", tmp_path, 16) as writer:
        for line in writer.stdout:
            for _ in range(3):
                promised = set(CHUNKS[live * 7 : live * 7 + 40])
                seen = [match.chunk_id for match in store.query(SPACE, vector_of("x", 0, DIMENSION), k=99, as_of=live)]
                assert len(seen) == 40
                assert set(seen) == promised
                scanned = [
                    name
                    for batch in store.scan(SPACE, as_of=live, columns=("chunk_id",))
                    for name in batch["chunk_id"].to_pylist()
                ]
                assert len(scanned) == 40
                assert set(scanned) == promised
                by_words = [match.chunk_id for match in store.search_text(SPACE, "text", k=99, as_of=live)]
                assert by_words == sorted(promised)  # all have the word once: a tie, and no other generation's words
                checked += 1
            live = int(line)
    assert (writer.returncode, live, checked) == (0, 16, 45)


def test_a_foreign_writer_without_our_lock_does_not_break_ours(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.upsert(SPACE, make_records(CHUNKS, dimension=DIMENSION))
    table = lancedb.connect(tmp_path).open_table(SPACE)
    done = threading.Event()

    def foreign() -> None:
        while not done.is_set():
            table.update(where="row_key = 'key of 0399'", values={"part": 3})

    thread = threading.Thread(target=foreign)
    thread.start()
    try:
        for turn in range(10):
            store.mark(SPACE, ids(CHUNKS[: turn * 5 + 5]), turn + 2)
    finally:
        done.set()
        thread.join()
    died = {row["chunk_id"]: row["died"] for row in rows(store)}
    assert [died[chunk] for chunk in CHUNKS[:50]] == [11] * 50


def test_a_scan_goes_on_while_the_table_is_compacted(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    for turn in range(8):
        chunks = [f"{turn}-{n}" for n in range(1_500)]
        store.upsert(SPACE, make_records(chunks, dimension=DIMENSION, vectors=[[1.0] * DIMENSION] * 1_500))
    batches = store.scan(SPACE, columns=("record_id",))
    count = next(batches).num_rows
    other = LanceDBStore(tmp_path)
    other.delete(SPACE, ids([f"3-{n}" for n in range(1_500)]))
    other.optimise(SPACE)
    other.optimise(SPACE)
    assert count + sum(batch.num_rows for batch in batches) == 12_000
    assert sum(batch.num_rows for batch in store.scan(SPACE, columns=("record_id",))) == 10_500


def test_a_version_that_a_reader_is_at_outlives_compaction_however_old_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path)
    for part in (CHUNKS[:200], CHUNKS[200:]):
        store.upsert(SPACE, make_records(part, dimension=DIMENSION))
    reading = lancedb.connect(tmp_path).open_table(SPACE)
    monkeypatch.setattr(adapter, "_KEEP_VERSIONS", timedelta(seconds=1))
    time.sleep(1.1)
    store.optimise(SPACE)
    assert reading.to_arrow().num_rows == len(CHUNKS)


def test_a_space_that_another_process_dropped_or_made_anew_is_noticed(tmp_path: Path) -> None:
    here, there = make_store(tmp_path), LanceDBStore(tmp_path)
    here.upsert(SPACE, make_records(["old"], dimension=DIMENSION))
    query = vector_of("old", 0, DIMENSION)
    assert here.query(SPACE, query, k=1, as_of=1)[0].chunk_id == "old"
    there.drop_space(SPACE)
    with pytest.raises(StoreError, match="no space 's'"):
        here.query(SPACE, query, k=1, as_of=1)
    there.ensure_space(SPACE, DIMENSION)
    there.upsert(SPACE, make_records(["new"], dimension=DIMENSION))
    assert here.query(SPACE, query, k=1, as_of=1)[0].chunk_id == "new"


@pytest.mark.parametrize("left", ["empty-folder", "data-without-commit"])
def test_a_space_whose_making_was_killed_can_be_made_again(tmp_path: Path, left: str) -> None:
    folder = tmp_path / f"{SPACE}.lance"
    (folder / "data").mkdir(parents=True)
    if left == "data-without-commit":
        (folder / "_versions").mkdir()
        (folder / "data" / "half.lance").write_bytes(b"half")
    store = LanceDBStore(tmp_path)
    assert store.spaces() == []
    store.ensure_space(SPACE, DIMENSION)
    store.upsert(SPACE, make_records(["a"], dimension=DIMENSION))
    assert (store.spaces(), len(rows(store))) == ([SPACE], 1)


def test_a_drop_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    (tmp_path / f"{SPACE}.lance").rename(tmp_path / ".dropped-0123")
    assert store.spaces() == []
    store.ensure_space(SPACE, DIMENSION)
    store.optimise(SPACE)
    assert not list(tmp_path.glob(".dropped-*"))


def test_a_forked_process_reconnects(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    # LanceDB calls its support of forks experimental: its own runtime crashes in one child of about fifty.
    for _ in range(4):
        # In a process of its own: what else this one has done with LanceDB must not go into the fork.
        with start("fork_while_locked", tmp_path) as parent:
            said, _ = parent.communicate(timeout=120)
        if parent.returncode != -signal.SIGSEGV % 256:
            break
    assert (said, parent.returncode) == ("0001\n", 0)
    assert store.fetch(SPACE, ids(["child"])).num_rows == 1
