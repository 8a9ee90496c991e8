"""The replies of the Pinecone server for tests are those of Pinecone's published descriptions, field by field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from emulators.pinecone_server import API_KEY, OPERATIONS, READ_ONLY_KEY, PineconeServer
from jsonschema import Draft7Validator, ValidationError  # type: ignore[import-untyped]

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
IMPORTS = [
    ("POST", "/bulk/imports", {"uri": "s3://none/here", "errorMode": {"onError": "continue"}}, 200),
    ("POST", "/bulk/imports", {"uri": "gs://none/here"}, 400),
    ("GET", "/bulk/imports?limit=1", None, 200),
    ("GET", "/bulk/imports/1", None, 200),
    ("GET", "/bulk/imports/7", None, 404),
    ("DELETE", "/bulk/imports/1", None, 200),
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
        schemas = self.document["components"]["schemas"]
        for name in schemas:
            if name.endswith("Response"):
                schemas[name].setdefault("properties", {})  # one that lists no fields is of an empty reply
        _refuse_unknown_fields(schemas)
        self.checked: set[tuple[str, str]] = set()
        self.replies: list[tuple[str, dict[str, Any], Any]] = []  # what it was, its schema, what it said

    def check(self, method: str, address: str, body: Any, reply: httpx.Response) -> None:
        """Request (if it was carried out) and reply are as the file says."""
        path = address.partition("?")[0]
        template = next(t for t in sorted(self.document["paths"]) if re.fullmatch(re.sub(r"{\w+}", "[^/]+", t), path))
        operation = self.document["paths"][template][method.lower()]
        status = str(reply.status_code)
        described = operation["responses"].get(status) or operation["responses"].get(f"{status[0]}XX")
        assert described is not None, f"{method} {template} has no reply {status}"
        if reply.is_success and body is not None:
            self.validate(operation["requestBody"]["content"]["application/json"]["schema"], body)
        if "content" in described:
            assert reply.headers["content-type"] == "application/json"
            schema = described["content"]["application/json"]["schema"]
            self.validate(schema, reply.json())
            self.replies.append((f"{method} {template} {status}", schema, reply.json()))
        self.checked.add((method, template))

    def validate(self, schema: dict[str, Any], value: Any) -> None:
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


def descriptions(folder: Path, version: str) -> tuple[Description, Description]:
    """Of the control plane and of the data plane."""
    kinds = ("control", "data")
    control, data = (Description(folder / f"db_{kind}_{version}.oas.yaml") for kind in kinds)
    return control, data


def converse_about_everything(server: PineconeServer, control: Description, data: Description, version: str) -> None:
    headers = {"Api-Key": API_KEY, "X-Pinecone-Api-Version": version}
    server.imports.s3_endpoint, server.imports.seconds = "http://127.0.0.1:9", 60  # nobody is there: it goes on

    with httpx.Client(headers=headers, verify=False) as client:

        def converse(base: str, description: Description, requests: list[tuple[str, str, Any, int]]) -> None:
            for method, address, body, status in requests:
                reply = client.request(method, base + address, json=body)
                assert reply.status_code == status, (method, address, reply.text)
                description.check(method, address, body, reply)

        converse(server.url, control, BEFORE)
        converse(client.get(f"{server.url}/indexes/faq").json()["host"], data, WITHIN + IMPORTS)
        converse(server.url, control, AFTER)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_operation_answers_as_described(openapi: Path, server: PineconeServer, version: str) -> None:
    control, data = descriptions(openapi, version)
    converse_about_everything(server, control, data, version)
    assert control.checked | data.checked == {(method, _template(pattern)) for method, pattern in OPERATIONS}


def test_a_reply_with_another_field_or_kind_of_value_would_be_found_out(openapi: Path, server: PineconeServer) -> None:
    control, data = descriptions(openapi, VERSIONS[-1])
    converse_about_everything(server, control, data, VERSIONS[-1])
    unnoticed = []
    spoiled = 0
    for description in (control, data):
        for what, schema, said in {what: (what, *rest) for what, *rest in description.replies}.values():
            for where, wrong in spoilt(said):
                spoiled += 1
                with suppress(ValidationError):
                    description.validate(schema, wrong)
                    unnoticed.append(f"{what}: {where}")
    assert spoiled > 100
    assert unnoticed == []


def spoilt(said: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """The same with a field too many, or with a value of another kind, at each place in turn."""
    if isinstance(said, dict):
        yield f"{where}.surprise", said | {"surprise": True}
        for key in said.keys() - {"metadata", "details"}:  # what these hold is free
            yield from ((place, said | {key: wrong}) for place, wrong in spoilt(said[key], f"{where}.{key}"))
    elif isinstance(said, list) and said:
        yield from ((place, [wrong, *said[1:]]) for place, wrong in spoilt(said[0], f"{where}[0]"))
    else:
        yield where, {"surprise": True}


@pytest.mark.parametrize("version", VERSIONS)
def test_refusals_of_all_kinds_answer_as_described(openapi: Path, server: PineconeServer, version: str) -> None:
    control, data = descriptions(openapi, version)
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
    names = {"indexes": "{index_name}", "bulk": "{id}"}
    name = names.get(pattern.split("/")[1], "{namespace}")
    return pattern.replace("([^/]+)", name)
