"""Pinecone's control plane: indexes that become ready after a while, described as each API version does."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from .namespaces import Visibility
from .refusals import Refused
from .vectors import VectorIndex

SCHEMA_SINCE = "2026-07"
"""From this version on an index is described by `schema` and `deployment`, before by `dimension`, `metric`, `spec`."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?")
_METRICS = ("cosine", "dotproduct", "euclidean")
_CLOUDS = ("aws", "gcp", "azure")
_VECTORS = "_values"  # the field under which the vector operations find their vectors
_MAX_DIMENSION = 20_000


@dataclass
class Index:
    """One index: `data` is what it holds; times are `time.monotonic` seconds."""

    name: str
    data: VectorIndex
    host: str
    cloud: str
    region: str
    ready_at: float
    tags: dict[str, str] = field(default_factory=dict)
    protected: bool = False
    gone_at: float | None = None

    def is_ready(self) -> bool:
        return self.gone_at is None and time.monotonic() >= self.ready_at

    def model(self, version: str) -> dict[str, Any]:
        """The reply that describes the index in an API version."""
        ready = self.is_ready()
        state = "Ready" if ready else "Initializing" if self.gone_at is None else "Terminating"
        capacity = {"mode": "OnDemand", "status": {"state": "Ready"}}
        vector = {"dimension": self.data.dimension, "metric": self.data.metric}
        place = {"cloud": self.cloud, "region": self.region}
        told: dict[str, Any] = {
            "name": self.name,
            "status": {"ready": ready, "state": state},
            "deletion_protection": "enabled" if self.protected else "disabled",
        }
        if version >= SCHEMA_SINCE:
            # The host is not known until the index is ready.
            return told | {
                "host": self.host if ready else None,
                "schema": {"fields": {_VECTORS: {"type": "dense_vector", **vector}}},
                "deployment": {"deployment_type": "managed", **place, "environment": f"{self.cloud}-{self.region}"},
                "read_capacity": capacity,
                "tags": self.tags or None,
            }
        told |= {"host": self.host, "vector_type": "dense", **vector}
        told["spec"] = {"serverless": {**place, "read_capacity": capacity}}
        return told | ({"tags": self.tags} if self.tags else {})


def parse_index(body: Mapping[str, Any], version: str, *, url: str, ready_at: float, visibility: Visibility) -> Index:
    """The index that a create request asks for, in either form.

    Raises:
        Refused: The request is wrong, or asks for an index that is not one of dense vectors.
    """
    name = body.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refused(
            "Name must consist of lower case alphanumeric characters or '-', "
            f"and must start and end with an alphanumeric character, at most 45 of them: got {name!r}"
        )
    vector = _vector_of_schema(body) if version >= SCHEMA_SINCE else _vector_of_body(body)
    dimension, metric = vector.get("dimension"), vector.get("metric") or "cosine"
    if not isinstance(dimension, int) or not 1 <= dimension <= _MAX_DIMENSION:
        raise Refused(f"dimension must be between 1 and {_MAX_DIMENSION}, got {dimension!r}")
    if metric not in _METRICS:
        raise Refused(f"metric must be one of {_METRICS}, got {metric!r}")
    place = _place_of_deployment(body) if version >= SCHEMA_SINCE else _place_of_spec(body)
    cloud, region = place.get("cloud"), place.get("region")
    if cloud not in _CLOUDS or not isinstance(region, str) or not region:
        raise Refused(f"there is no cloud {cloud!r} with a region {region!r}", status=404)
    index = Index(
        name,
        VectorIndex(dimension, metric, visibility),
        host=f"{url}/-/{name}-{uuid4().hex[:7]}",
        cloud=cloud,
        region=region,
        ready_at=ready_at,
    )
    configure(index, {key: body[key] for key in ("tags", "deletion_protection") if body.get(key) is not None})
    return index


def configure(index: Index, body: Mapping[str, Any]) -> None:
    """Change tags and deletion protection; an empty tag is removed."""
    fixed = set(body) - {"tags", "deletion_protection", "spec", "read_capacity"}
    if fixed:
        raise Refused(f"{sorted(fixed)} of an index cannot be changed")
    protection = body.get("deletion_protection", "enabled" if index.protected else "disabled")
    if protection not in ("enabled", "disabled"):
        raise Refused(f"deletion_protection must be 'enabled' or 'disabled', got {protection!r}")
    tags = body.get("tags") or {}
    for key, value in tags.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key) or not isinstance(value, str) or len(value) > 120:
            raise Refused(f"tag {key!r}: {value!r} is not valid")
    merged = {key: value for key, value in (index.tags | tags).items() if value}
    if len(merged) > 20:
        raise Refused("an index has at most 20 tags")
    index.tags, index.protected = merged, protection == "enabled"


def _vector_of_schema(body: Mapping[str, Any]) -> Mapping[str, Any]:
    fields = (body.get("schema") or {}).get("fields")
    if not isinstance(fields, dict) or not fields:
        raise Refused("schema.fields must name at least one field")
    if set(fields) != {_VECTORS} or fields[_VECTORS].get("type") != "dense_vector":
        raise Refused(f"only indexes of dense vectors are emulated, not one with fields {sorted(fields)}", status=501)
    return dict(fields[_VECTORS])


def _vector_of_body(body: Mapping[str, Any]) -> Mapping[str, Any]:
    if body.get("vector_type", "dense") != "dense":
        raise Refused("only indexes of dense vectors are emulated", status=501)
    return body


def _place_of_deployment(body: Mapping[str, Any]) -> Mapping[str, Any]:
    deployment = body.get("deployment") or {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"}
    if deployment.get("deployment_type") != "managed":
        raise Refused("only managed indexes are emulated", status=501)
    return dict(deployment)


def _place_of_spec(body: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = body.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("serverless"), dict):
        raise Refused("only serverless indexes are emulated; spec.serverless is missing", status=501)
    return dict(spec["serverless"])
