"""What every vector store keeps to: each clause of the `VectorStore` docstring, over every adapter.

An adapter joins with one more entry in `OPEN`: how to open a store of its own for a test. Pinecone's is the real one,
talking to a server on this machine. RAGWRIGHT_TEST_STORE names one of another package for a run, `{folder}` in it being
a folder of the test's own.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from guide import adapters_of_the_guide
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_records import DIMENSION, edition_of, ids, make_records, vector_of
from pinecone_on_loopback import pinecone_on_loopback

from ragwright.documents import FOREVER, records_schema
from ragwright.errors import NotVisibleYet, StoreError
from ragwright.stores import MAX_METADATA_BYTES, VectorStore, open_store
from ragwright.stores.lancedb import LanceDBStore
from ragwright.stores.limits import metadata_json
from ragwright.stores.memory import MemoryStore
from ragwright.terms import terms


@contextmanager
def pinecone(_folder: Path) -> Iterator[VectorStore]:
    with pinecone_on_loopback(), open_store("pinecone:contract") as store:
        yield store


@contextmanager
def guide(folder: Path) -> Iterator[VectorStore]:
    with adapters_of_the_guide(folder), open_store(f"python:arrow_store:ArrowStore:{folder / 'store'}") as store:
        yield store


OPEN: dict[str, Callable[[Path], AbstractContextManager[VectorStore]]] = {
    "memory": lambda folder: open_store(f"memory:{folder}"),
    "lancedb": lambda folder: open_store(f"lancedb:{folder / 'store'}"),
    "pinecone": pinecone,
    "guide": guide,
}
if outside := os.environ.get("RAGWRIGHT_TEST_STORE"):
    OPEN["outside"] = lambda folder: open_store(outside.format(folder=folder))

AWKWARD = [
    "o'clock",
    'say "hi"',
    "two\nlines\r\n",
    "tab\tnul\x00",
    "naïve ☃ 漢字 🚀 שלום",
    "back\\slash %_*",
    "'; DROP TABLE x; --",
    "",
]

FAST = MemoryStore, LanceDBStore


@pytest.fixture(params=OPEN, scope="module")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorStore]:
    with OPEN[request.param](tmp_path_factory.mktemp(request.param)) as opened:
        yield opened


def many(store: VectorStore, count: int) -> int:
    """So many records, or a tenth in stores that are not built to be fast with them: one crosses a network for each."""
    return count if isinstance(store, FAST) else count // 10


@pytest.fixture
def space(store: VectorStore) -> Iterator[str]:
    name = f"s-{uuid.uuid4().hex[:12]}"
    store.ensure_space(name, DIMENSION)
    yield name
    store.drop_space(name)


def write(store: VectorStore, space: str, records: pa.Table) -> None:
    store.upsert(space, records)
    store.wait_visible(space, present=records["record_id"].to_pylist())


def everything(store: VectorStore, space: str, **how: object) -> pa.Table:
    batches = list(store.scan(space, **how))
    table = pa.Table.from_batches(batches, batches[0].schema if batches else records_schema(DIMENSION))
    return table.sort_by("record_id") if "record_id" in table.column_names else table


def shown(store: VectorStore, space: str, as_of: int | None = None) -> set[str]:
    return set(everything(store, space, as_of=as_of, columns=("record_id",))["record_id"].to_pylist())


def test_the_adapter_satisfies_the_port(store: VectorStore) -> None:
    assert isinstance(store, VectorStore)


# Spaces


def test_a_space_is_there_once_it_is_ensured_and_gone_once_it_is_dropped(store: VectorStore) -> None:
    assert "comes-and-goes" not in store.spaces()
    store.ensure_space("comes-and-goes", DIMENSION)
    store.ensure_space("comes-and-goes", DIMENSION)
    assert "comes-and-goes" in store.spaces()
    store.drop_space("comes-and-goes")
    store.drop_space("comes-and-goes")
    assert "comes-and-goes" not in store.spaces()


def test_a_space_that_is_made_anew_is_empty(store: VectorStore, space: str) -> None:
    write(store, space, make_records(["a", "b"]))
    assert store.query(space, vector_of("a"), k=1, as_of=1)[0].chunk_id == "a"
    store.drop_space(space)
    store.ensure_space(space, DIMENSION)
    assert store.query(space, vector_of("a"), k=1, as_of=1) == []
    write(store, space, make_records(["c"]))
    assert [match.chunk_id for match in store.query(space, vector_of("a"), k=3, as_of=1)] == ["c"]


def test_ensuring_a_space_with_another_dimension_is_refused(store: VectorStore, space: str) -> None:
    with pytest.raises(StoreError, match=f"dimension {DIMENSION}, not {DIMENSION + 1}"):
        store.ensure_space(space, DIMENSION + 1)


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b", "naïve", ".hidden", "x" * 65])
def test_a_name_that_some_store_could_not_hold_is_refused(store: VectorStore, name: str) -> None:
    with pytest.raises(StoreError, match="cannot name a space"):
        store.ensure_space(name, 4)


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.upsert("nowhere", make_records(["a"])),
        lambda store: store.mark("nowhere", ["a.1"], 2),
        lambda store: store.mark("nowhere", [], 2),
        lambda store: store.delete("nowhere", ["a.1"]),
        lambda store: store.fetch("nowhere", ["a.1"]),
        lambda store: store.query("nowhere", vector_of("a"), k=1, as_of=1),
        lambda store: store.search_text("nowhere", "text", k=1, as_of=1),
        lambda store: store.search_text("nowhere", "", k=1, as_of=1),
        lambda store: list(store.scan("nowhere")),
        lambda store: store.wait_visible("nowhere", present=["a.1"], timeout=1),
        lambda store: store.optimise("nowhere"),
    ],
    ids=[
        "upsert",
        "mark",
        "mark-nothing",
        "delete",
        "fetch",
        "query",
        "search_text",
        "search-nothing",
        "scan",
        "wait_visible",
        "optimise",
    ],
)
def test_an_unknown_space_is_an_error_that_names_it(store: VectorStore, call: Callable[[VectorStore], object]) -> None:
    with pytest.raises(StoreError, match="no space 'nowhere'"):
        call(store)
    assert "nowhere" not in store.spaces()


def test_two_spaces_do_not_mix(store: VectorStore, space: str) -> None:
    other = f"{space}-other"
    store.ensure_space(other, DIMENSION)
    write(store, space, make_records(["a", "b"], edition=1))
    write(store, other, make_records(["b", "c"], edition=2))
    store.delete(space, ids(["b"]))
    store.mark(other, ids(["c"]), 2)
    store.wait_visible(space, absent=ids(["b"]))
    assert shown(store, space) == {"a.1"}
    assert shown(store, other) == {"b.1", "c.1"}
    assert shown(store, other, as_of=2) == {"b.1"}
    assert [edition_of(row) for row in store.fetch(other, ids(["b"])).to_pylist()] == [2]
    store.drop_space(other)
    assert shown(store, space) == {"a.1"}


# Writing and reading back


def test_records_come_back_as_they_went_in(store: VectorStore, space: str) -> None:
    records = make_records(["a", "b", "c"], born=3, died=7)
    write(store, space, records)
    assert everything(store, space).cast(records.schema) == records
    fetched = store.fetch(space, ids(["c", "a", "not there"], born=3)).sort_by("record_id")
    assert fetched.cast(records.schema) == records.take([0, 2])


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_any_text_survives_in_every_text_field(store: VectorStore, space: str, text: str) -> None:
    fields = {"question": text, "text": text, "row_key": text, "metadata": json.dumps({"k": text}, ensure_ascii=False)}
    write(store, space, make_records(["a"], **fields))
    row = everything(store, space).to_pylist()[0]
    assert {name: row[name] for name in fields} == fields
    match = store.query(space, vector_of("a"), k=1, as_of=1)[0]
    assert (match.question, match.text, match.row_key, match.metadata) == (text, text, text, {"k": text})


def test_ids_with_quotes_and_any_other_sign_are_taken_literally(store: VectorStore, space: str) -> None:
    awkward = [text for text in AWKWARD if text]
    write(store, space, make_records([*awkward, "bystander"]))
    assert store.fetch(space, ids(awkward)).num_rows == len(awkward)
    store.mark(space, ids(awkward), 5)
    store.wait_visible(space, present=ids(awkward))
    assert shown(store, space, as_of=5) == {"bystander.1"}
    store.delete(space, ids(awkward))
    store.wait_visible(space, absent=ids(awkward))
    assert shown(store, space) == {"bystander.1"}


def test_upsert_replaces_a_record_by_its_id(store: VectorStore, space: str) -> None:
    write(store, space, make_records(["a", "b"], edition=1))
    assert store.query(space, vector_of("a", 1), k=1, as_of=1)[0].score == pytest.approx(1, abs=1e-6)
    write(store, space, make_records(["b", "c"], edition=2))
    write(store, space, make_records(["a"], edition=2))
    rows = everything(store, space).to_pylist()
    assert [(row["chunk_id"], edition_of(row)) for row in rows] == [("a", 2), ("b", 2), ("c", 2)]
    best = store.query(space, vector_of("a", 2), k=1, as_of=1)[0]
    assert (best.chunk_id, best.metadata) == ("a", {"edition": "2"})
    assert best.score == pytest.approx(1, abs=1e-6)


def test_of_an_id_given_twice_in_one_call_the_last_counts(store: VectorStore, space: str) -> None:
    twice = pa.concat_tables([make_records(["a", "b"], edition=1), make_records(["a"], edition=2)])
    write(store, space, twice)
    assert [(row["chunk_id"], edition_of(row)) for row in everything(store, space).to_pylist()] == [("a", 2), ("b", 1)]


def test_repeating_a_call_changes_nothing(store: VectorStore, space: str) -> None:
    for _ in range(2):
        write(store, space, make_records(["a", "b", "c"]))
    for _ in range(2):
        store.mark(space, ids(["a", "never there"]), 4)
    for _ in range(2):
        store.delete(space, ids(["b", "never there"]))
    store.wait_visible(space, absent=ids(["b", "never there"]))
    assert [(row["chunk_id"], row["died"]) for row in everything(store, space).to_pylist()] == [
        ("a", 4),
        ("c", FOREVER),
    ]


def test_marking_changes_died_and_nothing_else(store: VectorStore, space: str) -> None:
    records = make_records(["a", "b"])
    write(store, space, records)
    store.mark(space, ids(["a"]), 9)
    marked = everything(store, space)
    assert marked["died"].to_pylist() == [9, FOREVER]
    assert marked.drop_columns("died").cast(records.drop_columns("died").schema) == records.drop_columns("died")
    store.mark(space, ids(["a"]), FOREVER)
    assert everything(store, space).cast(records.schema) == records


def test_empty_calls_are_fine(store: VectorStore, space: str) -> None:
    store.upsert(space, records_schema(DIMENSION).empty_table())
    store.mark(space, [], 3)
    store.delete(space, [])
    store.wait_visible(space, timeout=0)
    store.optimise(space)
    assert store.fetch(space, []).num_rows == 0
    assert store.query(space, vector_of("a"), k=5, as_of=1) == []
    assert everything(store, space).num_rows == 0


def test_thousands_of_ids_in_one_call(store: VectorStore, space: str) -> None:
    marked = 5_000 if isinstance(store, FAST) else 1_100  # beyond what one request takes
    chunks = [f"{n:05}" for n in range(marked + 500)]
    write(store, space, make_records(chunks, vectors=[[1.0, *[0.0] * 7]] * len(chunks)))
    store.mark(space, ids(chunks[:marked]), 2)
    assert store.fetch(space, ids(chunks), columns=("died",))["died"].to_pylist().count(2) == marked
    assert shown(store, space, as_of=2) == set(ids(chunks[marked:]))
    store.delete(space, ids(chunks[:marked]))
    store.wait_visible(space, absent=ids(chunks[:marked]), present=ids(chunks[marked:]))
    assert shown(store, space) == set(ids(chunks[marked:]))


def test_optimise_changes_nothing_a_reader_notices(store: VectorStore, space: str) -> None:
    for part in ("ab", "cd", "ef"):
        write(store, space, make_records(list(part)))
    store.mark(space, ids(["a"]), 2)
    store.delete(space, ids(["b"]))
    before = everything(store, space), store.query(space, vector_of("c"), k=9, as_of=2)
    store.optimise(space)
    assert (everything(store, space), store.query(space, vector_of("c"), k=9, as_of=2)) == before


# What is refused, before anything is written


def sized(chunk: str, size: int, filler: str) -> pa.Table:
    """A record whose metadata is exactly `size` bytes of JSON."""
    bare = make_records([chunk], text="").drop_columns("vector").to_pylist()[0]
    each = len(metadata_json({"x": filler}).encode()) - len(metadata_json({"x": ""}).encode())
    room = size - len(metadata_json(bare).encode())
    return make_records([chunk], text=filler * (room // each) + "x" * (room % each))


@pytest.mark.parametrize("filler", ["x", "漢", '"', "\x01"], ids=["ascii", "multibyte", "quote", "control"])
def test_metadata_up_to_the_limit_is_kept_and_one_byte_more_is_refused(
    store: VectorStore, space: str, filler: str
) -> None:
    write(store, space, sized("fits", MAX_METADATA_BYTES, filler))
    too_large = sized("too-large", MAX_METADATA_BYTES + 1, filler)
    with pytest.raises(StoreError, match=r"'too-large\.1'.* 40961 bytes"):
        store.upsert(space, pa.concat_tables([make_records(["a"]), too_large, make_records(["b"])]))
    assert shown(store, space) == {"fits.1"}


def broken(column: str, values: list[object]) -> pa.Table:
    good = make_records(["a", "b"])
    at = good.schema.get_field_index(column)
    return good.set_column(at, good.schema.field(column), pa.array(values, good.schema.field(column).type))


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (make_records(["a"], dimension=DIMENSION + 1), "dimension 9, the space has 8"),
        (broken("record_id", ["a.1", None]), "nulls in 'record_id'"),
        (broken("vector", [[0.0] * 8, None]), "nulls in 'vector'"),
        (broken("vector", [[0.0] * 8, [float("nan")] * 8]), r"vector of record 'b\.1' has values that are not finite"),
        (make_records(["a"]).drop_columns("born"), "Lay them out as"),
        (make_records(["a"]).append_column("extra", pa.array([1])), "Lay them out as"),
    ],
    ids=["dimension", "null-id", "null-vector", "nan", "column-missing", "column-too-many"],
)
def test_records_that_do_not_fit_are_refused_whole(
    store: VectorStore, space: str, records: pa.Table, says: str
) -> None:
    with pytest.raises(StoreError, match=says):
        store.upsert(space, records)
    assert shown(store, space) == set()


@pytest.mark.parametrize(
    ("vector", "k", "says"),
    [
        (np.zeros(DIMENSION - 1, np.float32), 1, "has dimension 8"),
        (np.zeros((1, DIMENSION), np.float32), 1, "has dimension 8"),
        (np.full(DIMENSION, np.inf, np.float32), 1, "not finite"),
        (np.ones(DIMENSION, np.float32), 0, "at least one"),
    ],
    ids=["short", "matrix", "infinite", "k"],
)
def test_a_query_that_makes_no_sense_is_refused(
    store: VectorStore, space: str, vector: np.ndarray, k: int, says: str
) -> None:
    with pytest.raises(StoreError, match=says):
        store.query(space, vector, k=k, as_of=1)


def test_a_column_that_records_do_not_have_is_refused(store: VectorStore, space: str) -> None:
    with pytest.raises(StoreError, match="no column 'colour'"):
        list(store.scan(space, columns=("colour",)))
    with pytest.raises(StoreError, match="no column 'colour'"):
        store.fetch(space, ["a.1"], columns=("colour",))


# Queries and scans


def test_a_query_ranks_by_cosine_whatever_the_lengths(store: VectorStore, space: str) -> None:
    vectors = [[9, 0], [1, 1], [0, 0.1], [-3, 0], [0, 0]]
    padded = [[*vector, *[0] * (DIMENSION - 2)] for vector in vectors]
    write(store, space, make_records(["east", "between", "north", "west", "none"], vectors=padded))
    found = store.query(space, np.float32(padded[0]), k=5, as_of=1)
    assert [(m.chunk_id, round(m.score, 6)) for m in found] == [
        ("east", 1.0),
        ("between", 0.707107),
        ("none", 0.0),
        ("north", 0.0),
        ("west", -1.0),
    ]


def test_ties_are_broken_by_record_id_wherever_the_cut_falls(store: VectorStore, space: str) -> None:
    chunks = [f"{n:02}" for n in range(40)]
    same = [[0.3, -0.7, *[0.1] * (DIMENSION - 2)]]
    for some in (chunks[20:], chunks[:20]):
        write(store, space, make_records(some[::-1], vectors=same * 20))
    for k in (1, 7, 39, 40):
        assert [m.chunk_id for m in store.query(space, np.float32(same[0]), k=k, as_of=1)] == chunks[:k]


def test_k_beyond_the_set_gives_the_whole_visible_set(store: VectorStore, space: str) -> None:
    write(store, space, make_records(["a", "b", "c"]))
    write(store, space, make_records(["d"], born=2))
    assert {m.chunk_id for m in store.query(space, vector_of("a"), k=1_000, as_of=1)} == {"a", "b", "c"}


def test_a_match_carries_the_whole_record(store: VectorStore, space: str) -> None:
    write(store, space, make_records(["a"], metadata='{"source":"guide","topic":"spot"}'))
    match = store.query(space, vector_of("a"), k=1, as_of=1)[0]
    row = make_records(["a"]).to_pylist()[0]
    for name in ("record_id", "chunk_id", "row_key", "row", "part", "parts", "question", "text"):
        assert getattr(match, name) == row[name]
    assert match.metadata == {"source": "guide", "topic": "spot"}


def test_a_scan_reads_the_columns_it_is_asked_for_in_their_order(store: VectorStore, space: str) -> None:
    write(store, space, make_records(["a", "b"]))
    for columns in (("died", "record_id"), ("vector",), ("text", "born")):
        assert everything(store, space, columns=columns).column_names == list(columns)
        assert store.fetch(space, ids(["a"]), columns=columns).column_names == list(columns)
    assert everything(store, space).schema.names == records_schema(DIMENSION).names
    vectors = everything(store, space, columns=("record_id", "vector"))["vector"].to_pylist()
    assert np.array_equal(np.float32(vectors), [vector_of("a"), vector_of("b")])


def test_a_large_scan_comes_in_batches(store: VectorStore, space: str) -> None:
    chunks = [f"{n:05}" for n in range(many(store, 20_000))]
    write(store, space, make_records(chunks, vectors=[[1.0] * DIMENSION] * len(chunks)))
    batches = list(store.scan(space, as_of=1, columns=("record_id",)))
    assert sum(batch.num_rows for batch in batches) == len(chunks)
    assert max(batch.num_rows for batch in batches) <= 10_000


# Searches for words


def make_texts(texts: dict[str, str | tuple[str, str]], **how: object) -> pa.Table:
    """One record a text, or a question and text."""
    records = make_records(list(texts), **how)
    pairs = [text if isinstance(text, tuple) else ("", text) for text in texts.values()]
    for name, column in zip(("question", "text"), zip(*pairs, strict=True), strict=True):
        records = records.set_column(records.schema.get_field_index(name), name, pa.array(column))
    return records


def found_words(store: VectorStore, space: str, text: str, *, k: int = 9, as_of: int = 1) -> list[str]:
    return [match.chunk_id for match in store.search_text(space, text, k=k, as_of=as_of)]


SHELF = {
    "spot": ("Can I use spot instances?", "Yes, all instances can train on spot capacity."),
    "zanzibar": ("Where can I train?", "In every region, zanzibar included."),
    "german": ("Wie wird verschlüsselt?", "Die Verschlüsselung übernimmt der Dienst."),
    "chinese": ("支持机密计算吗?", "支持"),
    "blank": ("", ""),
}


@pytest.mark.parametrize(
    ("text", "finds"),
    [
        ("Is training in Zanzibar possible?", ["zanzibar", "spot"]),  # the rare word weighs more
        ("instance", ["spot"]),
        ("REGIONS", ["zanzibar"]),
        ("capacity", ["spot"]),  # only in a text
        ("use verschlüsselt", ["german"]),  # only in a question
        ("密", ["chinese"]),
        ("ｓｐｏｔ", ["spot"]),  # noqa: RUF001  (compatibility forms)
    ],
)
def test_words_are_met_whatever_their_form_and_field(
    store: VectorStore, space: str, text: str, finds: list[str]
) -> None:
    write(store, space, make_texts(SHELF))
    assert found_words(store, space, text) == finds


@pytest.mark.parametrize(
    "text", ["", " \n", "unheard", "what is the", '"AND (', "'", "*", "question:", "\x00", "-", "\ud800"]
)
def test_a_text_that_shares_no_word_finds_nothing(store: VectorStore, space: str, text: str) -> None:
    assert store.search_text(space, text, k=3, as_of=1) == []
    write(store, space, make_texts(SHELF))
    assert store.search_text(space, text, k=3, as_of=1) == []


@pytest.mark.parametrize(
    "text",
    [
        '"zanzibar',
        "zanzibar AND (",
        "text:zanzibar",
        "zanzibar~2^3 NOT",
        "+zanzibar -unheard",
        "zanzibar'; DROP TABLE x; --",
        '{"match": {"text": "zanzibar"}}',
        "zanzibar\x00☃",
    ],
)
def test_nothing_in_a_text_is_syntax(store: VectorStore, space: str, text: str) -> None:
    write(store, space, make_texts(SHELF))
    assert found_words(store, space, text) == ["zanzibar"]


def test_equal_texts_come_in_the_order_of_their_record_ids_wherever_the_cut_falls(
    store: VectorStore, space: str
) -> None:
    chunks = [f"{n:02}" for n in range(40)]
    for some in (chunks[20:], chunks[:20]):
        write(store, space, make_texts(dict.fromkeys(some[::-1], "equal words")))
    write(store, space, make_texts({"other": "other words", "better": "equal words, equal words"}))
    for k in (2, 7, 40, 41):
        assert found_words(store, space, "equal", k=k) == ["better", *chunks][:k]
    scores = [match.score for match in store.search_text(space, "equal", k=99, as_of=1)]
    assert len(scores) == 41
    assert len(set(scores[1:])) == 1


def test_what_is_not_visible_is_not_found_and_weighs_nothing(store: VectorStore, space: str) -> None:
    write(store, space, make_texts(SHELF))
    before = store.search_text(space, "training in zanzibar on spot", k=9, as_of=1)
    assert [match.chunk_id for match in before] == ["spot", "zanzibar"]
    write(store, space, make_texts({f"zanzibar {n}": "zanzibar " * 9 for n in range(30)}, born=2))
    store.mark(space, ids(["zanzibar"]), 2)
    assert store.search_text(space, "training in zanzibar on spot", k=9, as_of=1) == before
    assert "zanzibar" not in found_words(store, space, "regions, zanzibar", k=99, as_of=2)
    assert len(found_words(store, space, "zanzibar", k=99, as_of=2)) == 30
    store.optimise(space)
    assert store.search_text(space, "training in zanzibar on spot", k=9, as_of=1) == before


def test_words_of_replaced_and_removed_records_are_gone(store: VectorStore, space: str) -> None:
    write(store, space, make_texts(SHELF))
    assert found_words(store, space, "zanzibar spot", k=1) == ["spot"]
    write(store, space, make_texts({"zanzibar": "nowhere"}))
    store.delete(space, ids(["spot"]))
    store.wait_visible(space, absent=ids(["spot"]))
    assert found_words(store, space, "zanzibar spot") == []
    assert found_words(store, space, "nowhere") == ["zanzibar"]
    store.mark(space, ids(["zanzibar"]), 1)
    assert found_words(store, space, "nowhere") == []
    store.mark(space, ids(["zanzibar"]), FOREVER)
    assert found_words(store, space, "nowhere") == ["zanzibar"]


def test_a_match_by_words_carries_the_whole_record(store: VectorStore, space: str) -> None:
    write(store, space, make_records(["a", "b"]))
    near = {match.record_id: match for match in store.query(space, vector_of("b"), k=2, as_of=1)}
    found = store.search_text(space, "edition of b", k=2, as_of=1)
    assert [match.chunk_id for match in found] == ["b", "a"]
    assert all(match.score > 0 for match in found)
    assert [replace(match, score=near[match.record_id].score) for match in found] == [near["b.1"], near["a.1"]]


def test_looking_for_no_words_at_all_is_refused(store: VectorStore, space: str) -> None:
    with pytest.raises(StoreError, match="at least one"):
        store.search_text(space, "text", k=0, as_of=1)


def test_words_are_found_quickly_among_many_records(store: VectorStore, space: str) -> None:
    rare = [f"{n:05}" for n in range(many(store, 20_000))]
    some = len(rare) // 3
    vectors = [[1.0] * DIMENSION] * len(rare)
    write(store, space, make_texts({n: f"All instances of kind {n} have it. " * 8 for n in rare}, vectors=vectors))
    assert found_words(store, space, f"instances of kind {rare[some]}", k=2) == [rare[some], "00000"]
    store.mark(space, ids(["00000"]), 2)
    started = time.perf_counter()
    for n in rare[some : some + 10]:
        assert found_words(store, space, f"instances of kind {n}", k=2, as_of=2) == [n, "00001"]
    assert time.perf_counter() - started < 10, "about 0.3 s where nothing else runs"


# Visibility


def test_a_record_is_visible_from_its_birth_until_before_its_death(store: VectorStore, space: str) -> None:
    write(store, space, make_records(["a"], born=3, died=6))
    seen = [generation for generation in range(9) if store.query(space, vector_of("a"), k=1, as_of=generation)]
    assert seen == [3, 4, 5]
    assert [generation for generation in range(9) if shown(store, space, as_of=generation)] == [3, 4, 5]


def test_waiting_returns_once_reads_show_the_writes(store: VectorStore, space: str) -> None:
    late = threading.Timer(0.2, lambda: store.upsert(space, make_records(["late"])))
    late.start()
    store.wait_visible(space, present=ids(["late"]), timeout=30)
    late.join()
    assert shown(store, space) == {"late.1"}


def test_waiting_in_vain_says_what_is_missing(store: VectorStore, space: str) -> None:
    write(store, space, make_records(["stays"]))
    with pytest.raises(NotVisibleYet, match=r"'never\.1'"):
        store.wait_visible(space, present=ids(["stays", "never"]), timeout=0.1)
    with pytest.raises(NotVisibleYet, match=r"'stays\.1'"):
        store.wait_visible(space, absent=ids(["stays", "never"]), timeout=0.1)


def test_several_threads_may_write_at_once(store: VectorStore, space: str) -> None:
    failures: list[BaseException] = []

    def writer(number: int) -> None:
        try:
            for turn in range(4):
                store.upsert(space, make_records([f"{number}-{turn}-{n}" for n in range(20)] + ["everyone's"]))
                store.mark(space, ids([f"{number}-{turn}-0"]), 2)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found = everything(store, space)["record_id"].to_pylist()
    assert len(found) == len(set(found)) == 4 * 4 * 20 + 1
    assert len(shown(store, space, as_of=2)) == len(found) - 16


# The algebra, against a dict

CHUNKS = st.lists(st.sampled_from("abcdef'"), max_size=4, unique=True)
GENERATIONS = st.integers(0, 5)
COORDINATES = st.sampled_from([-1.0, 0.0, 0.5, 2.0])
STEPS = st.one_of(
    st.tuples(
        st.just("upsert"),
        CHUNKS,
        GENERATIONS,
        st.sampled_from([1, 3, 5, FOREVER]),
        st.lists(st.tuples(COORDINATES, COORDINATES), min_size=4, max_size=4),
    ),
    st.tuples(st.just("mark"), CHUNKS, GENERATIONS, st.sampled_from([1, 3, 5, FOREVER])),
    st.tuples(st.just("delete"), CHUNKS, GENERATIONS),
    st.tuples(st.just("optimise")),
    st.tuples(st.just("query"), GENERATIONS, st.integers(1, 6)),
    st.tuples(st.just("search_text"), GENERATIONS, st.integers(1, 6), st.sampled_from(["edition c", "question: f d?"])),
)


def expected_ranking(model: dict[str, dict], query: np.ndarray, k: int, as_of: int) -> list[tuple[str, float]]:
    ranking = []
    for row in model.values():
        if row["born"] <= as_of < row["died"]:
            vector = np.float64(row["vector"])
            length = np.linalg.norm(vector) * np.linalg.norm(query)
            ranking.append((-round(float(vector @ query / length), 6) + 0.0 if length else 0.0, row["record_id"]))
    return [(record, -score) for score, record in sorted(ranking)[:k]]


def expected_words(model: dict[str, dict], text: str, k: int, as_of: int) -> list[tuple[str, float]]:
    """BM25 with k1 = 1.2 and b = 0.75, the slow way."""
    texts = {
        name: terms(f"{row['question']}\n{row['text']}")
        for name, row in model.items()
        if row["born"] <= as_of < row["died"]
    }
    mean = sum(map(len, texts.values())) / max(len(texts), 1)
    scores = dict.fromkeys(texts, 0.0)
    for term in set(terms(text)):
        having = [name for name, found in texts.items() if term in found]
        weight = math.log(1 + (len(texts) - len(having) + 0.5) / (len(having) + 0.5))
        for name in having:
            count = texts[name].count(term)
            scores[name] += weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(texts[name]) / mean))
    ranking = sorted((-round(score, 9), name) for name, score in scores.items() if score)
    return [(name, -score) for score, name in ranking[:k]]


def apply_step(store: VectorStore, space: str, model: dict[str, dict], step: Sequence) -> None:
    match step:
        case ("upsert", chunks, born, died, corners):
            vectors = [[*corner, *[0.0] * (DIMENSION - 2)] for corner in corners[: len(chunks)]]
            records = make_records(chunks, born=born, died=died, vectors=vectors)
            write(store, space, records)
            model |= {row["record_id"]: row for row in records.to_pylist()}
        case ("mark", chunks, born, died):
            store.mark(space, ids(chunks, born), died)
            for name in model.keys() & set(ids(chunks, born)):
                model[name] = model[name] | {"died": died}
        case ("delete", chunks, born):
            store.delete(space, ids(chunks, born))
            store.wait_visible(space, absent=ids(chunks, born))
            for name in ids(chunks, born):
                model.pop(name, None)
        case ("optimise",):
            store.optimise(space)
        case ("query", as_of, k):
            query = np.float32([1.0, 0.25, *[0.0] * (DIMENSION - 2)])
            found = [(m.record_id, round(m.score, 6)) for m in store.query(space, query, k=k, as_of=as_of)]
            assert found == expected_ranking(model, query, k, as_of)
        case ("search_text", as_of, k, text):
            found = [(m.record_id, round(m.score, 9)) for m in store.search_text(space, text, k=k, as_of=as_of)]
            assert found == expected_words(model, text, k, as_of)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=12))
def test_any_sequence_of_writes_shows_what_a_dict_would(store: VectorStore, steps: list[tuple]) -> None:
    space = "algebra"
    store.ensure_space(space, DIMENSION)
    model: dict[str, dict] = {}
    try:
        for step in steps:
            apply_step(store, space, model, step)
        assert everything(store, space).to_pylist() == [model[name] for name in sorted(model)]
        for as_of in range(6):
            visible = {name for name, row in model.items() if row["born"] <= as_of < row["died"]}
            assert shown(store, space, as_of=as_of) == visible
            apply_step(store, space, model, ("query", as_of, 4))
            apply_step(store, space, model, ("search_text", as_of, 4, "text of b or e"))
    finally:
        store.drop_space(space)
