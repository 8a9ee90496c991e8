"""Who says that he takes arrays gets token states as one; whoever does not gets the original's JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from ragwright.endpoints.arrays import ACCEPT, read_array
from ragwright.models import get_model
from ragwright.serving.app import ModelServer
from ragwright.serving.contracts import open_service

PAYLOAD = {"inputs": ["one two", "three", "four, five six!"]}


@pytest.fixture(scope="module")
def caller() -> Iterator[TestClient]:
    server = ModelServer("hashing", "tei", "token")
    server.open(open_service("tei", get_model("hashing-16"), cache=Path("unused")))
    with TestClient(server.app, headers={"Authorization": "Bearer token"}) as client:
        yield client


def test_token_states_come_as_an_array_or_as_json(caller: TestClient) -> None:
    array = caller.post("/embed_all", json=PAYLOAD, headers={"Accept": ACCEPT})
    listed = caller.post("/embed_all", json=PAYLOAD)
    assert array.headers["Content-Type"] == "application/x-npy"
    assert listed.headers["Content-Type"] == "application/json"
    rows = read_array(array.content, place="here")
    assert rows.dtype == np.float16
    assert [len(text) for text in listed.json()] == [2, 1, 5]
    np.testing.assert_allclose(rows, np.concatenate(listed.json()), atol=1e-4)


def test_what_is_no_array_comes_as_json_to_everybody(caller: TestClient) -> None:
    for path, payload, status in (("/invocations", PAYLOAD, 200), ("/embed_all", {"inputs": []}, 400)):
        reply = caller.post(path, json=payload, headers={"Accept": ACCEPT})
        assert (reply.status_code, reply.headers["Content-Type"]) == (status, "application/json")
        assert reply.json()
