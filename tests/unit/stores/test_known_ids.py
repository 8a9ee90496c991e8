import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.documents import FOREVER, records_schema
from ragwright.stores import known_ids
from ragwright.stores.known_ids import KnownIds
from ragwright.stores.lancedb import LanceDBStore


def records(numbers, born=1, text="a text"):
    ids = [f"{hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()}.{born}" for number in numbers]
    count = len(ids)
    vectors = np.ones((count, 4), np.float32)
    columns = {
        "record_id": ids,
        "chunk_id": ids,
        "born": [born] * count,
        "died": [FOREVER] * count,
        "row_key": ids,
        "row": list(numbers),
        "part": [0] * count,
        "parts": [1] * count,
        "question": ["a question"] * count,
        "text": [text] * count,
        "metadata": ["{}"] * count,
        "vector": list(vectors),
    }
    return pa.table(columns, schema=records_schema(4))


def shown(store):
    found = pa.Table.from_batches(list(store.scan("space", columns=["row", "text"])))
    return dict(zip(found["row"].to_pylist(), found["text"].to_pylist(), strict=True)), len(found)


@pytest.fixture
def stores(tmp_path):
    with LanceDBStore(tmp_path) as one, LanceDBStore(tmp_path) as other:
        one.ensure_space("space", 4)
        yield one, other


def test_a_batch_that_is_sent_again_is_there_once(stores):
    one, other = stores
    one.upsert("space", records(range(10)))
    one.upsert("space", records(range(10), text="again"))
    other.upsert("space", records(range(5, 15), text="by another"))
    texts, count = shown(one)
    assert count == 15
    assert [texts[number] for number in (0, 5, 14)] == ["again", "by another", "by another"]


def test_many_batches_by_turns_leave_each_record_once(stores):
    one, other = stores
    for turn in range(40):
        stores[turn % 2].upsert("space", records(range(turn * 5, turn * 5 + 10), text=str(turn)))
    texts, count = shown(one)
    assert count == len(texts) == 205
    assert texts[7] == "1"
    assert texts[204] == "39"
    other.delete("space", records([7])["record_id"].to_pylist())
    one.upsert("space", records([7, 300], text="back"))
    assert shown(other)[1] == 206


def test_records_of_a_table_that_was_dropped_are_not_remembered(stores):
    one, _ = stores
    one.upsert("space", records(range(3)))
    one.drop_space("space")
    one.ensure_space("space", 4)
    one.upsert("space", records(range(3), text="new"))
    assert shown(one) == ({0: "new", 1: "new", 2: "new"}, 3)


def test_a_write_whose_end_nobody_saw_is_looked_up(stores, monkeypatch):
    one, _ = stores
    one.upsert("space", records(range(3)))
    table = one._latest("space")
    real = table.add

    def add_and_fail(found):
        real(found)
        raise OSError("the connection is gone")

    monkeypatch.setattr(table, "add", add_and_fail)
    with pytest.raises(Exception, match="the connection is gone"):
        one.upsert("space", records(range(3, 6)))
    monkeypatch.undo()
    one.upsert("space", records(range(3, 6), text="again"))
    assert shown(one)[1] == 6


def test_what_another_process_wrote_is_read_alone(stores, monkeypatch):
    one, _ = stores
    read = []
    hashed = known_ids._hashes
    monkeypatch.setattr(known_ids, "_hashes", lambda ids: read.append(len(ids)) or hashed(ids))
    processes = KnownIds(), KnownIds()
    for turn in range(20):
        table, batch = one._latest("space"), records(range(10 * turn, 10 * turn + 10))
        known = processes[turn % 2]
        assert known.lacks(table, batch["record_id"])
        table.add(batch)
        known.took(table, batch["record_id"])
        assert not known.lacks(table, records([10 * turn])["record_id"])
    assert sum(read) < 20 * 50  # of its own batch and the other's, not of the whole table


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from(["upsert", "delete", "compact"]), st.integers(0, 20)),
        max_size=12,
    )
)
def test_no_record_that_is_there_is_taken_for_new_whatever_two_processes_do(tmp_path_factory, steps):
    with LanceDBStore(tmp_path_factory.mktemp("store")) as store:
        store.ensure_space("space", 4)
        processes = KnownIds(), KnownIds()
        there = set()
        for process, step, first in steps:
            numbers = range(first, first + 5)
            if step == "upsert":
                table, batch = store._latest("space"), records(numbers)
                if processes[process].lacks(table, batch["record_id"]):
                    assert there.isdisjoint(numbers)
                    table.add(batch)
                else:
                    table.merge_insert("record_id").when_matched_update_all().when_not_matched_insert_all().execute(
                        batch
                    )
                processes[process].took(table, batch["record_id"])
                there |= set(numbers)
            elif step == "delete":
                store.delete("space", records(numbers)["record_id"].to_pylist())
                there -= set(numbers)
            else:
                store.optimise("space")
        assert sum(len(batch) for batch in store.scan("space", columns=["row"])) == len(there)
