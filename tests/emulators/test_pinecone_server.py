"""The Pinecone server for tests does what Pinecone's documentation says, as its SDK and plain requests see it."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from emulators.pinecone_server import (
    API_KEY,
    READ_ONLY_KEY,
    Faults,
    PineconeServer,
    Refused,
    Visibility,
    parse,
    stored,
)
from hypothesis import given
from hypothesis import strategies as st
from pinecone import Pinecone, RetryConfig, ServerlessSpec
from pinecone._internal.constants import DATA_PLANE_API_VERSION
from pinecone._internal.http_client import HTTPClient
from pinecone.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    PayloadTooLargeError,
    PineconeConnectionError,
    RateLimitError,
    ServiceError,
    UnauthorizedError,
)

AWS = ServerlessSpec(cloud="aws", region="us-east-1")
SPACE = "space"


@pytest.fixture(scope="module")
def running() -> Iterator[PineconeServer]:
    with PineconeServer() as server:
        _client(server).indexes.create(name="faq", dimension=3, metric="cosine", spec=AWS)
        yield server


@pytest.fixture(scope="module")
def opened(running: PineconeServer) -> Iterator[Any]:
    with _index(running) as index:
        yield index


@pytest.fixture(scope="module")
def connected(opened: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=opened.host, timeout=5, verify=False) as client:
        yield client


@pytest.fixture
def server(running: PineconeServer) -> Iterator[PineconeServer]:
    """A server with an empty index `faq` of three dimensions, and every switch off."""
    running.index("faq").namespaces.clear()
    running.reset_counters()
    yield running
    running.faults = Faults()
    running.too_large_status = 413
    running.creation_delay = running.deletion_delay = 0.0
    for name in ("query", "fetch", "counts", "jitter"):
        setattr(running.visibility, name, 0.0)


@pytest.fixture
def index(server: PineconeServer, opened: Any) -> Any:
    server.reset_counters()
    return opened


@pytest.fixture
def http(server: PineconeServer, connected: httpx.Client) -> httpx.Client:
    connected.headers.update({"Api-Key": API_KEY, "X-Pinecone-Api-Version": "2026-04"})
    return connected


def _client(server: PineconeServer, key: str = API_KEY) -> Pinecone:
    # Reading the machine's certificates, which plain HTTP needs none of, takes longer than a test.
    return Pinecone(api_key=key, host=server.url, retry_config=RetryConfig(max_retries=0), ssl_verify=False)


def _index(server: PineconeServer, key: str = API_KEY, host: str | None = "") -> Any:
    index = _client(server, key).index(name="faq", host=host or "")
    # The SDK does not hand its client's retries on to an index, which would sit out every refusal here.
    config = dataclasses.replace(index._config, retry_config=RetryConfig(max_retries=0))
    index._http = HTTPClient(config, DATA_PLANE_API_VERSION)
    return index


def _records(count: int = 5, **metadata: Any) -> list[dict[str, Any]]:
    return [{"id": f"r{i}", "values": [1, i, 0], "metadata": {"number": i, **metadata}} for i in range(count)]


def _found(index: Any, **parameters: Any) -> list[str]:
    return [match.id for match in index.query(vector=[1, 0, 0], top_k=100, namespace=SPACE, **parameters).matches]


def _status(call: Any) -> int:
    with pytest.raises(ApiError) as caught:
        call()
    return int(caught.value.status_code)


def test_an_index_becomes_ready_after_a_while(server: PineconeServer) -> None:
    server.creation_delay, server.deletion_delay = 0.15, 0.1
    indexes = _client(server).indexes
    made = indexes.create(name="slow", dimension=8, metric="dotproduct", spec=AWS, tags={"owner": "me"}, timeout=-1)
    assert (made.status.ready, made.status.state, made.host) == (False, "Initializing", None)
    with pytest.raises(ConflictError):
        indexes.create(name="slow", dimension=8, spec=AWS, timeout=-1)
    time.sleep(0.2)
    ready = indexes.describe("slow")
    assert (ready.status.ready, ready.dimension, ready.metric, ready.tags) == (True, 8, "dotproduct", {"owner": "me"})
    assert {index.name for index in indexes.list()} == {"faq", "slow"}
    indexes.configure("slow", deletion_protection="enabled", tags={"owner": "", "run": "7"})
    assert indexes.describe("slow").tags == {"run": "7"}
    with pytest.raises(ForbiddenError):
        indexes.delete("slow", timeout=-1)
    indexes.configure("slow", deletion_protection="disabled")
    indexes.delete("slow", timeout=-1)
    assert indexes.describe("slow").status.state == "Terminating"
    assert _status(lambda: _index(server, host=ready.host).describe_index_stats()) == 404
    time.sleep(0.15)
    with pytest.raises(NotFoundError):
        indexes.describe("slow")


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"name": "-faq"}, 400),
        ({"dimension": 20_001}, 400),
        ({"metric": "hamming"}, 400),
        ({"spec": {"serverless": {"cloud": "moon", "region": "crater-1"}}}, 404),
        ({"vector_type": "sparse"}, 501),
    ],
)
def test_an_index_that_cannot_be_is_refused(
    http: httpx.Client, server: PineconeServer, wrong: Any, status: int
) -> None:
    body = {"name": "another", "dimension": 3, "spec": {"serverless": {"cloud": "aws", "region": "us-east-1"}}}
    assert http.post(f"{server.url}/indexes", json=body | wrong).status_code == status


def test_records_are_found_fetched_and_listed(index: Any) -> None:
    assert index.upsert(vectors=_records(), namespace=SPACE).upserted_count == 5
    answer = index.query(vector=[2, 0, 0], top_k=2, namespace=SPACE, include_metadata=True, include_values=True)
    assert [(m.id, m.values, m.metadata) for m in answer.matches] == [
        ("r0", [1, 0, 0], {"number": 0.0}),
        ("r1", [1, 1, 0], {"number": 1.0}),
    ]
    assert [m.score for m in answer.matches] == pytest.approx([1, math.sqrt(0.5)])
    assert [m.id for m in index.query(id="r3", top_k=1, namespace=SPACE).matches] == ["r3"]
    assert set(index.fetch(ids=["r1", "absent"], namespace=SPACE).vectors) == {"r1"}
    pages = list(index.list(prefix="r", limit=2, namespace=SPACE))
    assert [[item.id for item in page.vectors] for page in pages] == [["r0", "r1"], ["r2", "r3"], ["r4"]]
    assert _found(index) == ["r0", "r1", "r2", "r3", "r4"]
    assert index.query(vector=[1, 0, 0], top_k=3, namespace="elsewhere").matches == []


@pytest.mark.parametrize("metric", ["cosine", "dotproduct", "euclidean"])
def test_scores_are_those_of_the_metric(server: PineconeServer, metric: str) -> None:
    client = _client(server)
    client.indexes.create(name="scores", dimension=6, metric=metric, spec=AWS)
    rows, query = np.random.default_rng(1).normal(size=(2, 40, 6)).astype(np.float32)
    index = _index(server, host=client.indexes.describe("scores").host)
    index.upsert(vectors=[(str(i), row.tolist()) for i, row in enumerate(rows)])
    matches = index.query(vector=query[0].tolist(), top_k=40).matches
    client.indexes.delete("scores")
    wanted = {
        "cosine": rows @ query[0] / np.linalg.norm(rows, axis=1) / np.linalg.norm(query[0]),
        "dotproduct": rows @ query[0],
        "euclidean": ((rows - query[0]) ** 2).sum(axis=1),
    }[metric]
    order = np.argsort(wanted if metric == "euclidean" else -wanted)
    assert [int(match.id) for match in matches] == order.tolist()
    assert [match.score for match in matches] == pytest.approx(wanted[order].tolist(), abs=1e-5)


def test_numbers_come_back_as_doubles(index: Any) -> None:
    index.upsert(vectors=[("a", [1, 0, 0], {"small": 7, "large": 2**53 + 1, "yes": True, "tags": ["x", "y"]})])
    kept = index.fetch(ids=["a"]).vectors["a"].metadata
    assert kept == {"small": 7.0, "large": float(2**53), "yes": True, "tags": ["x", "y"]}
    assert isinstance(kept["small"], float)


@pytest.mark.parametrize("metadata", [{"a": None}, {"a": [1, 2]}, {"a": {"b": 1}}, {"a": ["x", None]}, {"$a": 1}])
def test_metadata_that_cannot_be_kept_is_refused(http: httpx.Client, metadata: Any) -> None:
    vector = {"id": "a", "values": [1, 0, 0], "metadata": metadata}
    assert http.post("/vectors/upsert", json={"vectors": [vector]}).status_code == 400
    update = {"id": "a", "setMetadata": metadata}
    assert http.post("/vectors/update", json=update).status_code == 400


@pytest.mark.parametrize(
    "vector",
    [
        {"id": "a", "values": [1, 0]},
        {"id": "a", "values": [0, 0, 0]},
        {"id": "a", "values": [1, "0", 0]},
        {"id": "a", "values": [1e39, 0, 0]},
        {"id": "a"},
        {"id": "", "values": [1, 0, 0]},
        {"id": "ä", "values": [1, 0, 0]},
        {"id": "a" * 513, "values": [1, 0, 0]},
        {"id": "a", "values": [1, 0, 0], "metadata": {"text": "x" * 40_961}},
    ],
)
def test_a_record_that_cannot_be_kept_is_refused_with_its_batch(http: httpx.Client, vector: Any) -> None:
    good = {"id": "good", "values": [1, 0, 0]}
    assert http.post("/vectors/upsert", json={"vectors": [good, vector]}).status_code == 400
    assert http.get("/vectors/fetch", params={"ids": "good"}).json()["vectors"] == {}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/vectors/upsert", {"vectors": [{"id": str(i), "values": [1, 0, 0]} for i in range(1001)]}),
        ("/vectors/upsert", {"vectors": []}),
        ("/vectors/upsert", {"vectors": [{"id": "a", "values": [1, 0, 0]}] * 2}),
        ("/query", {"vector": [1, 0, 0], "topK": 10_001}),
        ("/query", {"vector": [1, 0, 0], "topK": 0}),
        ("/query", {"vector": [1, 0], "topK": 1}),
        ("/query", {"vector": [1, 0, 0], "id": "a", "topK": 1}),
        ("/query", {"topK": 1}),
        ("/query", {"vector": [1, 0, 0], "topK": 1, "filter": {"a": {"$near": 1}}}),
        ("/vectors/delete", {"ids": [str(i) for i in range(1001)]}),
        ("/vectors/delete", {}),
        ("/vectors/delete", {"filter": {}}),
        ("/vectors/delete", {"ids": ["a"], "deleteAll": True}),
        ("/vectors/update", {"setMetadata": {"a": 1}}),
        ("/vectors/update", {"filter": {"a": 1}, "values": [1, 0, 0]}),
        ("/vectors/fetch_by_metadata", {"filter": {}}),
        ("/describe_index_stats", {"filter": {"a": 1}}),
    ],
)
def test_requests_outside_the_limits_are_refused(http: httpx.Client, path: str, body: Any) -> None:
    reply = http.post(path, json=body)
    assert (reply.status_code, reply.json()["code"]) == (400, 3)


@pytest.mark.parametrize("status", [413, 400])
def test_a_request_over_two_megabytes_is_refused(index: Any, server: PineconeServer, status: int) -> None:
    server.too_large_status = status
    records = [(str(i), [1, 0, 0], {"text": "x" * 40_000}) for i in range(53)]
    index.upsert(vectors=records[:50])
    assert _status(lambda: index.upsert(vectors=records)) == status
    if status == 413:
        with pytest.raises(PayloadTooLargeError):
            index.upsert(vectors=records)


def test_updates_merge_metadata_and_pass_over_what_is_missing(index: Any) -> None:
    index.upsert(vectors=_records(4, text="t"), namespace=SPACE)
    index.update(id="r1", set_metadata={"number": 9, "died": 4}, namespace=SPACE)
    index.update(id="r2", values=[0, 0, 1], namespace=SPACE)
    index.update(id="absent", set_metadata={"died": 4}, namespace=SPACE)
    kept = index.fetch(ids=["r1", "r2", "absent"], namespace=SPACE).vectors
    assert kept["r1"].metadata == {"number": 9.0, "text": "t", "died": 4.0}
    assert (kept["r2"].values, kept["r2"].metadata) == ([0, 0, 1], {"number": 2.0, "text": "t"})
    assert "absent" not in kept
    old = {"number": {"$gte": 2}}
    dry = index.update(filter=old, set_metadata={"died": 5}, namespace=SPACE, dry_run=True)
    assert (dry.matched_records, _found(index, filter={"died": 5})) == (3, [])
    assert index.update(filter=old, set_metadata={"died": 5}, namespace=SPACE).matched_records == 3
    assert set(_found(index, filter={"died": 5})) == {"r1", "r2", "r3"}
    page = index.fetch_by_metadata(filter={"died": 5}, namespace=SPACE, limit=2)
    rest = index.fetch_by_metadata(filter={"died": 5}, namespace=SPACE, pagination_token=page.pagination.next)
    assert ([*page.vectors], [*rest.vectors], rest.pagination) == (["r1", "r2"], ["r3"], None)


def test_an_update_may_not_make_metadata_too_large(index: Any) -> None:
    index.upsert(vectors=_records(1, text="x" * 30_000))
    assert _status(lambda: index.update(id="r0", set_metadata={"more": "x" * 12_000})) == 400


def test_records_are_deleted_by_id_by_filter_and_all_at_once(index: Any) -> None:
    index.upsert(vectors=_records(6), namespace=SPACE)
    index.delete(ids=["r0", "absent"], namespace=SPACE)
    index.delete(filter={"number": {"$in": [1, 2]}}, namespace=SPACE)
    assert _found(index) == ["r3", "r4", "r5"]
    index.delete(delete_all=True, namespace=SPACE)
    assert _found(index) == []
    assert _status(lambda: index.delete(ids=["r3"], namespace=SPACE)) == 404


def test_a_namespace_without_records_is_not_there_unless_it_was_created_by_name(index: Any) -> None:
    index.upsert(vectors=_records(2), namespace=SPACE)
    index.upsert(vectors=_records(1))
    index.create_namespace(name="made", schema={"fields": {"number": {"filterable": True}}})
    assert _status(lambda: index.create_namespace(name="made")) == 409
    assert {ns.name: ns.record_count for ns in _all_namespaces(index)} == {"__default__": 1, "made": 0, SPACE: 2}
    assert index.describe_namespace(name="made").indexed_fields.fields == ["number"]
    counts = {name: summary.vector_count for name, summary in index.describe_index_stats().namespaces.items()}
    assert counts == {"": 1, "made": 0, SPACE: 2}
    index.delete(ids=["r0", "r1"], namespace=SPACE)
    index.delete_namespace(name="made")
    for name in (SPACE, "made"):
        assert _status(lambda name=name: index.describe_namespace(name=name)) == 404
    assert [ns.name for ns in _all_namespaces(index)] == ["__default__"]


def _all_namespaces(index: Any) -> list[Any]:
    return [namespace for page in index.list_namespaces(limit=2) for namespace in page.namespaces]


def test_the_default_namespace_has_two_names(index: Any) -> None:
    index.upsert(vectors=_records(1), namespace="__default__")
    assert set(index.fetch(ids=["r0"]).vectors) == {"r0"}


RECORDS = {
    "plain": {"genre": "drama", "year": 2020, "seen": True},
    "listed": {"genre": ["drama", "comedy"], "year": 2019},
    "bare": {"one": 1},
}


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ({}, {"plain", "listed", "bare"}),
        ({"genre": "drama"}, {"plain", "listed"}),
        ({"genre": {"$eq": "comedy"}}, {"listed"}),
        ({"genre": {"$ne": "comedy"}}, {"plain", "bare"}),
        ({"genre": {"$in": ["comedy", "horror"]}}, {"listed"}),
        ({"genre": {"$nin": ["comedy", "horror"]}}, {"plain", "bare"}),
        ({"year": {"$gt": 2019}}, {"plain"}),
        ({"year": {"$gte": 2019, "$lt": 2020}}, {"listed"}),
        ({"year": {"$lte": 2019.5}}, {"listed"}),
        ({"genre": {"$exists": True}}, {"plain", "listed"}),
        ({"genre": {"$exists": False}}, {"bare"}),
        ({"genre": "drama", "year": 2020}, {"plain"}),
        ({"$and": [{"genre": "drama"}, {"$or": [{"year": 2020}, {"one": 1}]}]}, {"plain"}),
        ({"$or": [{"one": 1}, {"year": 2019}]}, {"listed", "bare"}),
        ({"seen": True}, {"plain"}),
        ({"one": True}, set()),
        ({"genre": {"$eq": 1}}, set()),
    ],
)
def test_filters_choose_as_documented(expression: Any, wanted: set[str]) -> None:
    condition = parse(expression)
    assert {name for name, metadata in RECORDS.items() if condition(stored(metadata))} == wanted


@pytest.mark.parametrize(
    "expression",
    [
        {"a": {"$gt": "1"}},
        {"a": {"$gt": True}},
        {"a": {"$in": 1}},
        {"a": {"$in": []}},
        {"a": {"$eq": None}},
        {"a": ["x"]},
        {"a": {"$exists": 1}},
        {"a": {"$like": "x"}},
        {"a": {}},
        {"$and": []},
        {"$not": {"a": 1}},
        ["a"],
    ],
)
def test_filters_that_mean_nothing_are_refused(expression: Any) -> None:
    with pytest.raises(Refused):
        parse(expression)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_a_filter_for_a_generation_is_the_visibility_rule(born: int, died: int, generation: int) -> None:
    condition = parse({"$and": [{"born": {"$lte": generation}}, {"died": {"$gt": generation}}]})
    assert condition(stored({"born": born, "died": died})) is (born <= generation < died)


def test_keys_are_checked(server: PineconeServer, index: Any) -> None:
    with pytest.raises(UnauthorizedError):
        _client(server, "wrong").indexes.list().to_list()
    reader = _client(server, READ_ONLY_KEY)
    index.upsert(vectors=_records(2), namespace=SPACE)
    readable = _index(server, READ_ONLY_KEY)
    assert _found(readable) == ["r0", "r1"]
    for change in (
        lambda: readable.upsert(vectors=_records(1)),
        lambda: readable.delete(ids=["r0"], namespace=SPACE),
        lambda: readable.update(id="r0", set_metadata={"a": 1}, namespace=SPACE),
        lambda: readable.delete_namespace(name=SPACE),
        lambda: reader.indexes.delete("faq"),
    ):
        with pytest.raises(ForbiddenError):
            change()
    assert _found(index) == ["r0", "r1"]


@pytest.mark.parametrize("version", ["", "soon", "2024-07"])
def test_a_request_names_the_version_that_it_speaks(http: httpx.Client, server: PineconeServer, version: str) -> None:
    del http.headers["X-Pinecone-Api-Version"]
    headers = {"X-Pinecone-Api-Version": version} if version else {}
    assert http.get("/vectors/list", headers=headers).status_code == 400
    assert http.get(f"{server.url}/indexes", headers=headers).status_code == 400


def test_what_is_not_there_is_404_and_what_is_not_json_is_400(http: httpx.Client, server: PineconeServer) -> None:
    assert http.get(f"{server.url}/indexes/absent").json()["error"]["code"] == "NOT_FOUND"
    assert http.get(f"{server.url}/-/absent-1234567/vectors/list").status_code == 404
    assert http.get("/vectors/nonsense").status_code == 404
    assert http.post("/query", content=b"{").status_code == 400
    assert http.get("/vectors/fetch", params={"ids": "x" * 65_500}).status_code == 414


def test_writes_show_after_a_lag_and_the_sequence_numbers_say_when(server: PineconeServer, index: Any) -> None:
    server.visibility.query = server.visibility.counts = 0.2
    written = index.upsert(vectors=_records(3), namespace=SPACE).response_info
    early = index.query(vector=[1, 0, 0], top_k=5, namespace=SPACE)
    assert (early.matches, early.response_info.is_reconciled(written.lsn_committed)) == ([], False)
    assert set(index.fetch(ids=["r0"], namespace=SPACE).vectors) == {"r0"}
    assert index.describe_index_stats().total_vector_count == 0
    time.sleep(0.25)
    late = index.query(vector=[1, 0, 0], top_k=5, namespace=SPACE)
    assert (len(late.matches), late.response_info.is_reconciled(written.lsn_committed)) == (3, True)
    server.visibility.query = math.inf
    index.update(id="r0", set_metadata={"number": 7}, namespace=SPACE)
    index.delete(ids=["r1"], namespace=SPACE)
    assert _found(index, filter={"number": {"$lt": 2}}) == ["r0", "r1"]
    server.settle()
    assert (_found(index), _found(index, filter={"number": 7})) == (["r0", "r2"], ["r0"])


def test_records_of_one_write_may_show_one_by_one_and_never_go_back(server: PineconeServer, index: Any) -> None:
    server.visibility.jitter = 0.25
    index.upsert(vectors=_records(30), namespace=SPACE)
    index.update(filter={"number": {"$gte": 0}}, set_metadata={"edition": 2}, namespace=SPACE)
    seen, before, partial, deadline = set[str](), set[str](), False, time.monotonic() + 5
    while len(before) < 30 and time.monotonic() < deadline:
        shown = set(_found(index))
        newest = set(_found(index, filter={"edition": 2}))
        assert seen <= shown
        assert before <= newest
        seen, before, partial = shown, newest, partial or 0 < len(shown) < 30
    assert (len(before), partial) == (30, True)


def test_an_update_works_on_what_was_written_not_on_what_shows(server: PineconeServer, index: Any) -> None:
    server.visibility.query = server.visibility.fetch = math.inf
    index.upsert(vectors=_records(1), namespace=SPACE)
    index.update(id="r0", set_metadata={"died": 3}, namespace=SPACE)
    server.settle()
    assert index.fetch(ids=["r0"], namespace=SPACE).vectors["r0"].metadata == {"number": 0.0, "died": 3.0}


def test_refusals_on_purpose_carry_what_a_client_needs(server: PineconeServer, index: Any) -> None:
    server.faults.retry_after = 0.7
    server.faults.queue("429", "500", "503", "", "429")
    with pytest.raises(RateLimitError) as caught:
        index.upsert(vectors=_records(1))
    assert caught.value.retry_after == 0.7
    for status in (500, 503):
        with pytest.raises(ServiceError) as failed:
            index.upsert(vectors=_records(1))
        assert failed.value.status_code == status
    index.upsert(vectors=_records(1))
    server.faults.retry_after = None
    with pytest.raises(RateLimitError) as silent:
        index.upsert(vectors=_records(1))
    assert silent.value.retry_after is None
    assert (server.requests["upsert"], server.statuses[429]) == (5, 2)


def test_a_reset_connection_leaves_open_whether_the_write_was_done(server: PineconeServer, index: Any) -> None:
    server.faults.operations = frozenset({"upsert"})
    server.faults.queue("reset before", "reset after")
    for done in (set[str](), {"r0"}):
        with pytest.raises(PineconeConnectionError):
            index.upsert(vectors=_records(1))
        assert set(index.fetch(ids=["r0"]).vectors) == done


def test_a_part_of_an_upsert_may_be_written_before_it_fails(server: PineconeServer, index: Any) -> None:
    server.faults.queue("partial upsert")
    with pytest.raises(ServiceError):
        index.upsert(vectors=_records(10), namespace=SPACE)
    assert len(_found(index)) == 5
    index.upsert(vectors=_records(10), namespace=SPACE)
    assert len(_found(index)) == 10


def test_a_slow_reply_outlasts_the_client_and_the_write_is_done(server: PineconeServer, index: Any) -> None:
    server.faults.delay = 0.25
    server.faults.queue("slow")
    with pytest.raises((TimeoutError, PineconeConnectionError)):
        index.upsert(vectors=_records(1), timeout=0.05)
    time.sleep(0.3)
    assert set(index.fetch(ids=["r0"]).vectors) == {"r0"}


def test_a_share_of_some_operations_fails_alike_for_the_same_seed(server: PineconeServer, http: httpx.Client) -> None:
    def statuses() -> list[int]:
        server.faults = Faults(share={"503": 0.2, "429": 0.2}, operations=frozenset({"list"}), seed=3)
        return [http.get("/vectors/list").status_code for _ in range(60)]

    first = statuses()
    assert 10 < 60 - first.count(200) < 40
    assert first == statuses()
    assert server.faults.suffered["503"] == first.count(503)
    assert all(http.post("/describe_index_stats").status_code == 200 for _ in range(10))
    server.faults.clear()
    assert http.get("/vectors/list").status_code == 200


def test_an_unknown_fault_is_a_mistake_of_the_test() -> None:
    with pytest.raises(ValueError, match="504"):
        Faults().queue("504")


def test_requests_and_units_are_counted(server: PineconeServer, index: Any) -> None:
    index.upsert(vectors=_records(20, text="x" * 981))  # 981 and 6 characters, ids, 12 bytes of vector, a double
    assert server.write_units == 21
    index.update(id="r0", set_metadata={"number": 1})
    index.delete(ids=["r1"])
    index.delete(delete_all=True)
    assert server.write_units == 21 + 5 + 5 + 5
    index.query(vector=[1, 0, 0], top_k=1)
    list(index.list())
    index.upsert(vectors=_records(20))
    index.fetch(ids=[f"r{i}" for i in range(11)])
    assert server.read_units == 0.25 + 1 + 2
    assert server.requests == {"upsert": 2, "update": 1, "delete": 2, "query": 1, "list": 1, "fetch": 1}


def test_many_clients_at_once_lose_nothing(server: PineconeServer, index: Any) -> None:
    def write(worker: int) -> None:
        for batch in range(5):
            index.upsert(vectors=[(f"{worker}-{batch}-{i}", [1, i, 0]) for i in range(10)], namespace=SPACE)
            index.query(vector=[1, 0, 0], top_k=3, namespace=SPACE)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert index.describe_index_stats().total_vector_count == 300
    assert (server.requests["upsert"], server.requests["query"]) == (30, 30)


def test_a_server_that_is_gone_answers_no_more() -> None:
    with PineconeServer() as server:
        indexes = _client(server).indexes
        assert indexes.list().to_list() == []
    with pytest.raises(PineconeConnectionError):
        indexes.list().to_list()


def test_it_runs_by_itself_and_says_where() -> None:
    command = [sys.executable, "-m", "emulators.pinecone_server", "--lag", "0.1"]
    folder = str(Path(__file__).parents[1])
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": folder}, cwd=folder
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().strip() for _ in range(2)]
            exported = dict(line.removeprefix("export ").split("=", 1) for line in lines)
            client = Pinecone(api_key=exported["PINECONE_API_KEY"], host=exported["PINECONE_CONTROLLER_HOST"])
            assert client.indexes.list().to_list() == []
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


def test_seeds_decide_when_records_show() -> None:
    first, second = Visibility(jitter=1, seed=5), Visibility(jitter=1, seed=5)
    gaps = [abs(first.moments()["query"] - second.moments()["query"]) for _ in range(20)]
    assert max(gaps) < 0.05
