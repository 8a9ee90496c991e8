"""The replies of the Pinecone server for tests are those of Pinecone's published descriptions, field by field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from emulators.pinecone_server import API_KEY, OPERATIONS, READ_ONLY_KEY, PineconeServer
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

VERSIONS = ("2025-10", "2026-04")
VECTORS = [{"id": f"r{i}", "values": [1, i, 0], "metadata": {"born": i, "tags": ["a"]}} for i in range(5)]
SPEC = {"serverless": {"cloud": "aws", "region": "us-east-1"}}
SCHEMA = {"fields": {"born": {"filterable": True}}}
LATER = {"filter": {"born": {"$gt": 1}}}
NEAR = {"vector": [1, 0, 0], "topK": 3, "namespace": "s"}

# What is asked of the control plane, of the index, and of the control plane again: method, address, body, status.
BEFORE = [
    ("POST", "/indexes", {"name": "faq", "dimension": 3, "spec": SPEC, "tags": {"run": "7"}}, 201),
    ("POST", "/indexes", {"name": "faq", "dimension": 3, "spec": SPEC}, 409),
    ("POST", "/indexes", {"name": "FAQ", "dimension": 3, "spec": SPEC}, 400),
    ("GET", "/indexes", None, 200),
    ("GET", "/indexes/faq", None, 200),
    ("GET", "/indexes/absent", None, 404),
    ("PATCH", "/indexes/faq", {"deletion_protection": "enabled"}, 202),
    ("DELETE", "/indexes/faq", None, 403),
    ("PATCH", "/indexes/faq", {"deletion_protection": "disabled"}, 202),
]
WITHIN = [
    ("GET", "/vectors/list", None, 200),
    ("POST", "/query", NEAR, 200),
    ("POST", "/vectors/upsert", {"vectors": VECTORS, "namespace": "s"}, 200),
    ("POST", "/vectors/upsert", {"vectors": [{"id": "r", "values": [1]}]}, 400),
    ("POST", "/query", NEAR | {"includeValues": True, "includeMetadata": True}, 200),
    ("POST", "/query", {"id": "r1", "topK": 1, "namespace": "s"}, 200),
    ("GET", "/vectors/fetch?ids=r1&ids=absent&namespace=s", None, 200),
    ("POST", "/vectors/fetch_by_metadata", LATER | {"namespace": "s", "limit": 1}, 200),
    ("GET", "/vectors/list?namespace=s&limit=2&prefix=r", None, 200),
    ("POST", "/vectors/update", {"id": "r1", "setMetadata": {"died": 3}, "namespace": "s"}, 200),
    ("POST", "/vectors/update", LATER | {"setMetadata": {"died": 3}, "namespace": "s", "dryRun": True}, 200),
    ("POST", "/describe_index_stats", {}, 200),
    ("POST", "/namespaces", {"name": "made", "schema": SCHEMA}, 200),
    ("POST", "/namespaces", {"name": "made", "schema": SCHEMA}, 409),
    ("GET", "/namespaces?limit=1", None, 200),
    ("GET", "/namespaces/made", None, 200),
    ("GET", "/namespaces/absent", None, 404),
    ("DELETE", "/namespaces/made", None, 200),
    ("POST", "/vectors/delete", {"ids": ["r1"], "namespace": "s"}, 200),
    ("POST", "/vectors/delete", {"deleteAll": True, "namespace": "absent"}, 404),
]
AFTER = [("DELETE", "/indexes/faq", None, 202), ("DELETE", "/indexes/faq", None, 404)]


@pytest.fixture(scope="module")
def openapi() -> Path:
    """Pinecone's published descriptions, which lie beside the checkout on some machines."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "openapi" / "pinecone"
    if not folder.is_dir():
        pytest.skip("there are no published OpenAPI files of Pinecone beside the checkout")
    return folder


@pytest.fixture
def server() -> Iterator[PineconeServer]:
    with PineconeServer() as server:
        yield server


class Description:
    """One published file; remembers which of its operations were checked."""

    def __init__(self, path: Path) -> None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self.document = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
        _refuse_unknown_fields(self.document["components"]["schemas"])
        self.checked: set[tuple[str, str]] = set()

    def check(self, method: str, address: str, body: Any, reply: httpx.Response) -> None:
        """Request (if it was carried out) and reply are as the file says."""
        path = address.partition("?")[0]
        template = next(t for t in sorted(self.document["paths"]) if re.fullmatch(re.sub(r"{\w+}", "[^/]+", t), path))
        operation = self.document["paths"][template][method.lower()]
        status = str(reply.status_code)
        described = operation["responses"].get(status) or operation["responses"].get(f"{status[0]}XX")
        assert described is not None, f"{method} {template} has no reply {status}"
        if reply.is_success and body is not None:
            self._validate(operation["requestBody"]["content"]["application/json"]["schema"], body)
        if "content" in described:
            assert reply.headers["content-type"] == "application/json"
            self._validate(described["content"]["application/json"]["schema"], reply.json())
        self.checked.add((method, template))

    def _validate(self, schema: dict[str, Any], value: Any) -> None:
        root = {"allOf": [schema], "components": self.document["components"]}
        Draft7Validator(root).validate(value)


def _refuse_unknown_fields(node: Any) -> None:
    """Make every object whose fields are listed closed: a misspelt field is a mistake here, not an extension."""
    if isinstance(node, list):
        for child in node:
            _refuse_unknown_fields(child)
    elif isinstance(node, dict):
        if isinstance(node.get("properties"), dict) and node.get("type") == "object":
            node.setdefault("additionalProperties", False)
        if not isinstance(node.get("required", []), list) or node.get("type") == "array":
            node.pop("required", None)
        for child in node.values():
            _refuse_unknown_fields(child)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_operation_answers_as_described(openapi: Path, server: PineconeServer, version: str) -> None:
    control = Description(openapi / f"db_control_{version}.oas.yaml")
    data = Description(openapi / f"db_data_{version}.oas.yaml")
    headers = {"Api-Key": API_KEY, "X-Pinecone-Api-Version": version}

    with httpx.Client(headers=headers, verify=False) as client:

        def converse(base: str, description: Description, requests: list[tuple[str, str, Any, int]]) -> None:
            for method, address, body, status in requests:
                reply = client.request(method, base + address, json=body)
                assert reply.status_code == status, (method, address, reply.text)
                description.check(method, address, body, reply)

        converse(server.url, control, BEFORE)
        converse(client.get(f"{server.url}/indexes/faq").json()["host"], data, WITHIN)
        converse(server.url, control, AFTER)
    assert control.checked | data.checked == {(method, _template(pattern)) for method, pattern in OPERATIONS}


@pytest.mark.parametrize("version", VERSIONS)
def test_refusals_of_all_kinds_answer_as_described(openapi: Path, server: PineconeServer, version: str) -> None:
    control = Description(openapi / f"db_control_{version}.oas.yaml")
    data = Description(openapi / f"db_data_{version}.oas.yaml")
    with httpx.Client(headers={"Api-Key": API_KEY, "X-Pinecone-Api-Version": version}, verify=False) as client:
        host = client.post(f"{server.url}/indexes", json=BEFORE[0][2]).json()["host"]
        server.faults.queue("429", "500", "503")
        expected = [429, 500, 503, 401, 403, 413]
        keys = [API_KEY, API_KEY, API_KEY, "wrong", READ_ONLY_KEY, API_KEY]
        for status, key in zip(expected, keys, strict=True):
            body = {"vectors": VECTORS} if status != 413 else {"vectors": VECTORS * 25_000}
            reply = client.post(f"{host}/vectors/upsert", json=body, headers={"Api-Key": key})
            assert reply.status_code == status
            data.check("POST", "/vectors/upsert", body, reply)
        reply = client.get(f"{server.url}/indexes", headers={"Api-Key": "wrong"})
        assert reply.status_code == 401
        control.check("GET", "/indexes", None, reply)


def _template(pattern: str) -> str:
    """The address of an operation as the files write it."""
    name = "{index_name}" if pattern.startswith("/indexes") else "{namespace}"
    return pattern.replace("([^/]+)", name)
