"""What is particular to Pinecone, beyond the contract: the real SDK against a server on this machine."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from emulators.pinecone_server import PineconeServer
from made_records import DIMENSION, ids, make_records, vector_of
from pinecone_on_loopback import pinecone_on_loopback

from ragwright.documents import FOREVER
from ragwright.errors import (
    ConfigurationError,
    NotVisibleYet,
    StoreError,
    Throttled,
    TimedOut,
    TransientError,
    Unavailable,
)
from ragwright.retry import ONCE, RetryPolicy
from ragwright.stores import open_store
from ragwright.stores.pinecone import PineconeStore
from ragwright.stores.pinecone_index import PineconeSpec

SPEC = PineconeSpec("unit")
PATIENT = RetryPolicy(attempts=8, first_pause_seconds=0.01, longest_pause_seconds=2)


@pytest.fixture
def server() -> Iterator[PineconeServer]:
    with pinecone_on_loopback() as running:
        yield running


@pytest.fixture
def store(server: PineconeServer) -> Iterator[PineconeStore]:
    with PineconeStore(SPEC, retry=PATIENT) as opened:
        opened.ensure_space("s", DIMENSION)
        server.reset_counters()
        yield opened


def write(store: PineconeStore, records: pa.Table, *, space: str = "s") -> None:
    store.upsert(space, records)
    store.wait_visible(space, present=records["record_id"].to_pylist())


def found(store: PineconeStore, vector: np.ndarray, k: int, as_of: int = 1) -> list[tuple[str, float]]:
    return [(match.chunk_id, match.score) for match in store.query("s", vector, k=k, as_of=as_of)]


# Which index


@pytest.mark.parametrize(
    ("where", "spec"),
    [
        ("faq", PineconeSpec("faq", "aws", "us-east-1", deletion_protection=False)),
        ("faq?cloud=gcp&region=europe-west4", PineconeSpec("faq", "gcp", "europe-west4")),
        ("faq?deletion_protection=enabled", PineconeSpec("faq", deletion_protection=True)),
    ],
)
def test_a_spec_names_the_index_and_what_it_is_made_of(where: str, spec: PineconeSpec) -> None:
    assert PineconeSpec.parse(where) == spec
    assert isinstance(open_store(f"pinecone:{where}"), PineconeStore)


@pytest.mark.parametrize(
    "where",
    ["FAQ", "-faq", "f" * 46, "faq?colour=red", "faq?cloud=aws&cloud=gcp", "faq?region=", "faq?deletion_protection=on"],
)
def test_a_spec_that_makes_no_sense_is_refused_before_anything_is_connected(where: str) -> None:
    with pytest.raises(ConfigurationError):
        open_store(f"pinecone:{where}")


def test_the_index_is_created_when_it_is_needed_and_waited_for(server: PineconeServer) -> None:
    server.creation_delay = 0.3
    with PineconeStore(PineconeSpec("new", "gcp", "us-central1", deletion_protection=True)) as store:
        assert store.spaces() == []
        with pytest.raises(StoreError, match="no space 's'"):
            store.query("s", vector_of("a"), k=1, as_of=1)
        assert not server.requests["create_index"]
        store.ensure_space("s", DIMENSION)
        assert store.spaces() == ["s"]
    from pinecone import Pinecone

    with Pinecone() as client:
        index = client.indexes.describe("new")
        assert (index.dimension, index.metric, index.deletion_protection) == (DIMENSION, "cosine", "enabled")
        assert (index.deployment.cloud, index.deployment.region) == ("gcp", "us-central1")
        fields = client.index(host=index.host).describe_namespace(name="s").indexed_fields.fields
    assert set(fields) == {"born", "died", "directionless"}


def test_an_index_that_does_not_become_ready_is_reported(server: PineconeServer) -> None:
    server.creation_delay = 60
    with PineconeStore(SPEC, ready_timeout=0.1) as store, pytest.raises(TimedOut, match="not ready"):
        store.ensure_space("s", DIMENSION)


def test_an_index_that_measures_otherwise_is_refused(server: PineconeServer) -> None:
    from pinecone import Pinecone

    with Pinecone() as client:
        schema = {"fields": {"_values": {"type": "dense_vector", "dimension": DIMENSION, "metric": "dotproduct"}}}
        client.indexes.create(name="unit", schema=schema)
    with PineconeStore(SPEC) as store, pytest.raises(StoreError, match="'dotproduct', not by cosine"):
        store.ensure_space("s", DIMENSION)


def test_a_space_that_somebody_else_dropped_is_unknown(store: PineconeStore) -> None:
    write(store, make_records(["a"]))
    with PineconeStore(SPEC) as other:
        other.drop_space("s")
        with pytest.raises(StoreError, match="no space 's'"):
            store.query("s", vector_of("a"), k=1, as_of=1)
        with pytest.raises(StoreError, match="no space 's'"):
            store.upsert("s", make_records(["a"]))
        assert other.spaces() == []


# The key


def test_without_a_key_nothing_is_sent(server: PineconeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PINECONE_API_KEY")
    with PineconeStore(SPEC) as store, pytest.raises(ConfigurationError, match="PINECONE_API_KEY"):
        store.spaces()
    assert not server.requests


def test_the_key_is_in_no_error_no_log_and_no_repr(
    server: PineconeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = "pcsk_wrong_and_secret"
    monkeypatch.setenv("PINECONE_API_KEY", key)
    caplog.set_level(logging.DEBUG)
    with PineconeStore(SPEC) as store:
        with pytest.raises(StoreError, match="status 401") as raised:
            store.ensure_space("s", DIMENSION)
        shown = [repr(store), repr(vars(store)), caplog.text, *traceback.format_exception(raised.value)]
    assert not [text for text in shown if key in text]


# Writing


def test_requests_keep_to_two_megabytes_and_a_thousand_records(store: PineconeStore, server: PineconeServer) -> None:
    write(store, make_records([f"{n:04}" for n in range(1_500)], vectors=[[0.1] * DIMENSION] * 1_500))
    assert server.requests["upsert"] == 2
    write(store, make_records([f"long {n}" for n in range(120)], text="漢" * 13_000))
    assert server.requests["upsert"] == 2 + 3
    assert server.statuses.keys() == {200}


def test_the_largest_integers_survive_as_doubles(store: PineconeStore, server: PineconeServer) -> None:
    records = make_records(["a"], died=FOREVER)
    records = records.set_column(records.schema.get_field_index("row"), "row", pa.array([FOREVER]))
    write(store, records)
    assert store.fetch("s", ids(["a"]), columns=("row", "died")).to_pylist() == [{"row": FOREVER, "died": FOREVER}]
    assert found(store, vector_of("a"), 1, as_of=FOREVER - 1) == [("a", 1.0)]
    too_large = records.set_column(records.schema.get_field_index("row"), "row", pa.array([FOREVER + 2]))
    server.reset_counters()
    with pytest.raises(StoreError, match="'row' has values beyond"):
        store.upsert("s", too_large)
    assert not server.requests["upsert"]


def test_an_id_that_is_too_long_is_refused_before_anything_is_written(
    store: PineconeStore, server: PineconeServer
) -> None:
    with pytest.raises(StoreError, match="the limit is 512"):
        store.upsert("s", make_records(["a", "漢" * 60]))
    assert not server.requests["upsert"]


def test_a_busy_server_is_sent_fewer_requests_at_a_time_and_all_in_the_end(
    store: PineconeStore, server: PineconeServer
) -> None:
    chunks = [f"{n:04}" for n in range(400)]
    write(store, make_records(chunks))
    server.faults.retry_after = 0.01
    server.faults.share = {"429": 0.2}
    store.mark("s", ids(chunks), 2)
    server.faults.clear()
    assert server.faults.suffered["429"] > 20
    assert server.requests["update"] == 400 + server.faults.suffered["429"]
    assert set(store.fetch("s", ids(chunks), columns=("died",))["died"].to_pylist()) == {2}


def test_refusals_lost_replies_and_half_written_batches_are_made_good(
    store: PineconeStore, server: PineconeServer
) -> None:
    chunks = [f"{n:04}" for n in range(300)]
    server.faults.retry_after = None
    server.faults.queue("partial upsert", "reset after", "503", "reset before", "429")
    records = make_records(chunks, text="x" * 30_000)
    store.upsert("s", records)
    server.faults.clear()
    store.wait_visible("s", present=ids(chunks))
    assert sum(server.faults.suffered.values()) == 5
    assert sum(batch.num_rows for batch in store.scan("s", as_of=1, columns=("record_id",))) == 300


def test_only_one_layer_tries_again(store: PineconeStore, server: PineconeServer) -> None:
    write(store, make_records(["a"]))
    server.reset_counters()
    server.faults.share = {"503": 1.0}
    with pytest.raises(Unavailable, match="status 503"):
        store.query("s", vector_of("a"), k=1, as_of=1)
    assert server.requests["query"] == 1
    with pytest.raises(Unavailable) as raised:
        store.delete("s", ids(["a"]))
    assert server.requests["delete"] == PATIENT.attempts
    assert raised.value.tried_again
    with PineconeStore(SPEC, retry=ONCE) as other, pytest.raises(Unavailable):
        other.spaces()
    assert server.requests["describe_index"] == 1


@pytest.mark.parametrize(
    ("fault", "kind"), [("429", Throttled), ("500", Unavailable), ("reset before", Unavailable), ("slow", TimedOut)]
)
def test_what_goes_wrong_for_the_moment_is_transient(
    server: PineconeServer, fault: str, kind: type[TransientError]
) -> None:
    with PineconeStore(SPEC, timeout=0.3) as store:
        store.ensure_space("s", DIMENSION)
        server.faults.delay, server.faults.retry_after = 0.6, 7
        server.faults.queue(fault)
        with pytest.raises(kind) as raised:
            store.query("s", vector_of("a"), k=1, as_of=1)
        assert raised.value.retry_after == (7 if fault == "429" else None)
        assert store.query("s", vector_of("a"), k=1, as_of=1) == []


@pytest.mark.parametrize("operation", ["describe_index", "describe_namespace", "list_namespaces", "delete", "query"])
def test_looking_at_spaces_and_waiting_go_on_after_a_fault(
    store: PineconeStore, server: PineconeServer, operation: str
) -> None:
    with PineconeStore(SPEC, retry=PATIENT) as other:
        server.faults.operations, server.faults.retry_after = frozenset({operation}), 0.01
        server.faults.queue("429", "503", "reset before")
        store.upsert("s", make_records(["a"]))
        other.wait_visible("s", present=ids(["a"]))
        assert other.spaces() == ["s"]
    assert sum(server.faults.suffered.values()) == 3


# Visibility


def test_after_waiting_every_read_shows_what_was_written_marked_and_removed(
    store: PineconeStore, server: PineconeServer
) -> None:
    server.visibility.query, server.visibility.fetch, server.visibility.jitter = 0.3, 0.1, 0.1
    store.upsert("s", make_records(["a", "b", "c"]))
    assert store.query("s", vector_of("a"), k=3, as_of=1) == []
    store.wait_visible("s", present=ids(["a", "b", "c"]))
    assert len(found(store, vector_of("a"), 3)) == 3
    store.mark("s", ids(["a"]), 2)
    store.delete("s", ids(["b"]))
    store.wait_visible("s", present=ids(["a"]), absent=ids(["b"]))
    assert store.fetch("s", ids(["a", "b"]), columns=("died",))["died"].to_pylist() == [2]
    assert [name for name, _ in found(store, vector_of("a"), 3, as_of=2)] == ["c"]
    assert {i for batch in store.scan("s", as_of=1, columns=("record_id",)) for i in batch[0].to_pylist()} == {
        "a.1",
        "c.1",
    }


def test_waiting_covers_what_another_process_wrote(store: PineconeStore, server: PineconeServer) -> None:
    server.visibility.query = 0.3
    with PineconeStore(SPEC) as writer:
        writer.upsert("s", make_records(["a"]))
    store.wait_visible("s", present=ids(["a"]))
    assert found(store, vector_of("a"), 1) == [("a", 1.0)]


def test_a_mark_that_does_not_show_is_reported(store: PineconeStore, server: PineconeServer) -> None:
    write(store, make_records(["a"]))
    server.visibility.fetch = server.visibility.query = 60
    store.mark("s", ids(["a"]), 2)
    with pytest.raises(NotVisibleYet, match=r"'a\.1'"):
        store.wait_visible("s", present=ids(["a"]), timeout=0.1)
    server.settle()
    store.wait_visible("s", present=ids(["a"]), timeout=0.1)


# Searching


def test_ties_reaching_beyond_what_was_asked_for_are_settled_by_record_id(store: PineconeStore) -> None:
    chunks = [f"{n:03}" for n in range(150)]
    write(store, make_records(chunks[::-1], vectors=[[1.0] * DIMENSION] * 150))
    vector = np.ones(DIMENSION, np.float32)
    assert [name for name, _ in found(store, vector, 3)] == chunks[:3]
    assert [name for name, _ in found(store, vector, 120)] == chunks[:120]


def test_a_query_that_stands_out_is_one_request(store: PineconeStore, server: PineconeServer) -> None:
    write(store, make_records([f"{n:03}" for n in range(50)]))
    server.reset_counters()
    assert found(store, vector_of("007"), 3)[0] == ("007", 1.0)
    assert dict(server.requests) == {"query": 1}


def test_records_without_a_direction_score_nought_among_the_others(store: PineconeStore) -> None:
    axes = np.eye(DIMENSION)
    some = {f"near {n:02}": axes[0] + n * 0.01 * axes[1] for n in range(20)}
    far = {f"far {n:02}": -axes[0] + n * 0.01 * axes[1] for n in range(20)}
    blank = {f"blank {n:02}": 0 * axes[0] for n in range(20)}
    everything = some | far | blank
    write(store, make_records(list(everything), vectors=list(everything.values())))
    query = np.float32(axes[0])
    assert [name for name, _ in found(store, query, 5)] == sorted(some)[:5]
    best = found(store, query, 25)
    assert [name for name, _ in best[20:]] == sorted(blank)[:5]
    assert {score for _, score in best[20:]} == {0.0}
    assert [name for name, _ in found(store, query, 60)][40:] == sorted(far, reverse=True)
    assert not store.fetch("s", ids(["blank 00"]))["vector"].combine_chunks().flatten().to_numpy().any()
    zero = np.zeros(DIMENSION, np.float32)
    assert found(store, zero, 2) == [(name, 0.0) for name in sorted(everything)[:2]]


def test_words_of_a_generation_are_read_once(store: PineconeStore, server: PineconeServer) -> None:
    write(store, make_records(["a", "b"]))
    for _ in range(3):
        assert [match.chunk_id for match in store.search_text("s", "edition of b", k=1, as_of=1)] == ["b"]
    assert server.requests["fetch_by_metadata"] == 1


def test_words_of_records_that_somebody_removed_are_read_again(store: PineconeStore) -> None:
    write(store, make_records(["a", "b"]))
    assert len(store.search_text("s", "text", k=2, as_of=1)) == 2
    with PineconeStore(SPEC) as other:
        other.delete("s", ids(["a"]))
    assert [match.chunk_id for match in store.search_text("s", "text", k=2, as_of=1)] == ["b"]


def test_a_forked_process_reconnects(store: PineconeStore) -> None:
    write(store, make_records(["a"]))
    child = os.fork()
    if not child:
        status = 1
        try:
            status = int(found(store, vector_of("a"), 1) != [("a", 1.0)])
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert found(store, vector_of("a"), 1) == [("a", 1.0)]


def test_a_match_shows_the_row_it_came_from(store: PineconeStore) -> None:
    records = make_records(["a"])
    write(store, records)
    match = store.query("s", vector_of("a"), k=1, as_of=1)[0]
    row = records.drop_columns(["vector", "born", "died"]).to_pylist()[0]
    assert {**vars(replace(match, score=0.0)), "metadata": row["metadata"]} == {**row, "score": 0.0}
