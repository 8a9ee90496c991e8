"""Pinecone's data plane over one index: what each operation does, refuses and costs.

Limits: https://docs.pinecone.io/reference/api/database-limits
Units: https://docs.pinecone.io/guides/manage-cost/understanding-cost
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .filters import Condition, check_size, parse, stored
from .namespaces import Namespace, Stored, Visibility
from .refusals import Refused

MAX_VECTORS = 1_000
MAX_IDS = 1_000
MAX_TOP_K = 10_000
MAX_REPLY_BYTES = 4 * 1024 * 1024
DEFAULT_NAMESPACE = "__default__"
_LONGEST_NAME = 512
_MIN_WRITE_UNITS = 5.0
_MIN_QUERY_UNITS = 0.25

Body = Mapping[str, Any]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Done:
    """What an operation answers, and what it would be billed."""

    body: dict[str, Any]
    read_units: float = 0.0
    write_units: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


@dataclass
class VectorIndex:
    """The namespaces of one index. Not thread-safe: the server holds a lock around every call.

    A namespace that was made by writing is gone with its last record; one created by name stays.
    """

    dimension: int
    metric: str
    visibility: Visibility
    namespaces: dict[str, Namespace] = field(default_factory=dict)

    def upsert(self, body: Body, *, part: float = 1.0) -> Done:
        """Write whole records. `part` below 1 writes that share of them, as a server that fails in the middle does."""
        given = _listed(body, "vectors")
        if not 0 < len(given) <= MAX_VECTORS:
            raise Refused(f"Upsert takes 1 to {MAX_VECTORS} vectors a request, got {len(given)}")
        records = [self._record(vector) for vector in given]
        if len({record.id for record in records}) < len(records):
            raise Refused("Cannot upsert the same vector id more than once in a request")
        changes = [(record.id, record) for record in records[: math.ceil(len(records) * part)]]
        lsn = self._to_write(body).commit(changes) if changes else 0
        units = max(_MIN_WRITE_UNITS, _kilobytes(sum(record.size() for record in records)))
        return Done({"upsertedCount": len(changes)}, write_units=units, headers=_committed(lsn))

    def load(self, namespace: str, vectors: Sequence[object], *, skip_bad: bool) -> int:
        """Write the records of an import, or none if one is wrong and none may be skipped; how many were written."""
        records: list[Stored] = []
        for vector in vectors:
            try:
                records.append(self._record(vector))
            except Refused:
                if not skip_bad:
                    raise
        self._to_write({"namespace": namespace}).commit([(record.id, record) for record in records])
        return len(records)

    def query(self, body: Body) -> Done:
        """The records nearest to a vector, or to a record."""
        top_k = body.get("topK")
        if not isinstance(top_k, int) or not 1 <= top_k <= MAX_TOP_K:
            raise Refused(f"topK must be between 1 and {MAX_TOP_K}, got {top_k!r}")
        if "vector" in body and "id" in body:
            raise Refused("Cannot provide both 'ID' and 'vector' at the same time")
        condition = _condition(body)
        name, namespace = self._to_read(body)
        vector: npt.NDArray[np.float32] | None
        if "vector" in body:
            vector = self._values(body["vector"], "Query vector")
        elif "id" in body:
            found = namespace.seen_one(_checked_id(body["id"]), "query")
            vector = found.values if found else None
        else:
            raise Refused("Query needs either 'vector' or 'id'")
        best = namespace.nearest(vector, top_k, self.metric, condition) if vector is not None else []
        matches = []
        for record, score in best:
            match: dict[str, Any] = {"id": record.id, "score": score, "values": []}
            if body.get("includeValues"):
                match["values"] = record.values
            if body.get("includeMetadata"):
                match["metadata"] = record.metadata
            matches.append(match)
        if sum(record.size() for record, _ in best) > MAX_REPLY_BYTES and (
            body.get("includeValues") or body.get("includeMetadata")
        ):
            raise Refused(f"Query result is over the limit of {MAX_REPLY_BYTES} bytes; lower topK")
        units = max(_MIN_QUERY_UNITS, namespace.size() / 1e9)
        reply = {"matches": matches, "namespace": name, "usage": {"readUnits": math.ceil(units)}}
        # Among reads only queries say how far the index has caught up.
        return Done(reply, read_units=units, headers={"x-pinecone-max-indexed-lsn": str(namespace.indexed_lsn())})

    def fetch(self, ids: Sequence[str], namespace: str) -> Done:
        """Records by id; those that are not there are left out."""
        if not 0 < len(ids) <= MAX_IDS:
            raise Refused(f"Fetch takes 1 to {MAX_IDS} ids a request, got {len(ids)}")
        name, records = self._to_read({"namespace": namespace})
        found = [record for i in dict.fromkeys(ids) if (record := records.seen_one(_checked_id(i), "fetch"))]
        units = max(1, math.ceil(len(found) / 10))
        return Done(
            {"vectors": {r.id: _full(r) for r in found}, "namespace": name, "usage": {"readUnits": units}},
            read_units=units,
        )

    def fetch_by_metadata(self, body: Body) -> Done:
        """Records that satisfy a filter, in pages."""
        if not body.get("filter"):
            raise Refused("Empty filter provided for fetch by metadata request")
        limit = page_size(body.get("limit", 100), 10_000)
        condition = _condition(body)
        name, namespace = self._to_read(body)
        found = sorted((r for r in namespace.seen("query") if condition(r.metadata)), key=lambda record: record.id)
        page, pagination = page_of(found, limit, body.get("paginationToken"), key=lambda record: record.id)
        units = max(1, math.ceil(len(page) / 10))
        reply = {"vectors": {r.id: _full(r) for r in page}, "namespace": name, "usage": {"readUnits": units}}
        return Done(reply | pagination, read_units=units)

    def list_ids(self, *, prefix: str, limit: str, token: str, namespace: str) -> Done:
        """Ids that start with a prefix, in order and in pages."""
        name, records = self._to_read({"namespace": namespace})
        ids = sorted(record.id for record in records.seen("query") if record.id.startswith(prefix))
        page, pagination = page_of(ids, page_size(limit or 100, 100), token, key=str)
        reply = {"vectors": [{"id": i} for i in page], "namespace": name, "usage": {"readUnits": 1}}
        return Done(reply | pagination, read_units=1)

    def update(self, body: Body) -> Done:
        """Change a record, or the metadata of all that satisfy a filter; a missing id changes nothing."""
        if ("id" in body) == ("filter" in body):
            raise Refused("Exactly one of 'id' and 'filter' must be given to update")
        if "sparseValues" in body:
            raise Refused("Sparse values are not supported by a dense index")
        if "filter" in body and not body["filter"]:
            raise Refused("Update with empty metadata filter is not allowed")
        if "filter" in body and "values" in body:
            raise Refused("Update by metadata request does not support updating vector values.")
        fields = stored(body.get("setMetadata"))
        values = self._values(body["values"], "Vector") if "values" in body else None
        condition = _condition(body)
        namespace = self._existing(body)
        if "id" in body:
            found = namespace.latest(_checked_id(body["id"]))
            targets = [found] if found else []
        else:
            targets = [record for record in namespace.all_latest() if condition(record.metadata)]
        changes, touched = [], 0
        for record in targets:
            changed = replace(record, metadata=record.metadata | fields)
            if values is not None:
                changed = replace(changed, values=values)
            check_size(changed.metadata, whose=record.id)
            changes.append((record.id, changed))
            touched += record.size() + changed.size()
        reply = {"matchedRecords": len(targets)} if "filter" in body else {}
        if body.get("dryRun"):
            return Done(reply)
        lsn = namespace.commit(changes)
        units = max(_MIN_WRITE_UNITS, _kilobytes(touched))
        return Done(reply, write_units=units, headers=_committed(lsn))

    def delete(self, body: Body) -> Done:
        """Remove records by ids, by filter, or all of a namespace; missing ids are fine."""
        ids, everything, has_filter = body.get("ids"), body.get("deleteAll", False), "filter" in body
        if everything and ids:
            raise Refused("No explicit IDs allowed when delete_all=true")
        if everything and has_filter:
            raise Refused("No filter allowed when delete_all=true")
        if not everything and not has_filter and not ids:
            raise Refused("Delete needs ids, a filter or deleteAll")
        if has_filter and not body["filter"]:
            raise Refused("Delete with empty metadata filter is not allowed")
        if ids is not None and (not isinstance(ids, list) or len(ids) > MAX_IDS):
            raise Refused(f"Delete takes a list of at most {MAX_IDS} ids a request")
        namespace = self._existing(body)
        if everything or has_filter:
            # A filter makes the server overlook ids that come along with it.
            condition = _condition(body)
            gone = [record for record in namespace.all_latest() if condition(record.metadata)]
        else:
            gone = [record for i in dict.fromkeys(ids or []) if (record := namespace.latest(_checked_id(i)))]
        lsn = namespace.commit([(record.id, None) for record in gone])
        units = _MIN_WRITE_UNITS if everything else max(_MIN_WRITE_UNITS, _kilobytes(sum(r.size() for r in gone)))
        return Done({}, write_units=units, headers=_committed(lsn))

    def stats(self, body: Body) -> Done:
        """Counts by namespace, which lag behind as much as the visibility of counts says."""
        if body.get("filter"):
            raise Refused(
                "Serverless and Starter indexes do not support describing index stats with metadata filtering"
            )
        counts = {name: len(ns.seen("counts")) for name, ns in self.namespaces.items()}
        shown = {name: n for name, n in counts.items() if n or self.namespaces[name].named}
        return Done(
            {
                "namespaces": {name: {"vectorCount": n} for name, n in shown.items()},
                "dimension": self.dimension,
                "indexFullness": 0,
                "totalVectorCount": sum(shown.values()),
                "metric": self.metric,
                "vectorType": "dense",
            }
        )

    def create_namespace(self, body: Body) -> Done:
        """Make a namespace that is there without records."""
        name = _checked_namespace(body.get("name"))
        if name == "":
            raise Refused(f"Namespace name {DEFAULT_NAMESPACE!r} is reserved")
        if name in self.namespaces and self.namespaces[name].exists():
            raise Refused(f"Namespace {name!r} already exists", status=409)
        schema = body.get("schema")
        for label, options in ((schema or {}).get("fields") or {}).items():
            if options.get("filterable") is not True:
                raise Refused(f"Field {label!r} is set to filterable: false. Only filterable: true is supported.")
        # Of a namespace deleted a moment ago reads may still show records.
        namespace = self.namespaces.setdefault(name, Namespace(self.visibility))
        namespace.named, namespace.schema = True, schema
        return Done(self._description(name), write_units=_MIN_WRITE_UNITS)

    def list_namespaces(self, *, prefix: str, limit: str, token: str) -> Done:
        """Descriptions of namespaces whose name starts with a prefix, in pages."""
        names = sorted(name for name in self.namespaces if self._is_shown(name))
        names = [name for name in names if (name or DEFAULT_NAMESPACE).startswith(prefix)]
        page, pagination = page_of(names, page_size(limit or 100, 100), token, key=str)
        found = {"namespaces": [self._description(name) for name in page], "total_count": len(names)}
        return Done(found | pagination, read_units=1)

    def describe_namespace(self, name: str) -> Done:
        """One namespace; 404 if it is not there, or does not show yet."""
        name = _checked_namespace(name)
        if not self._is_shown(name):
            raise Refused(f"Namespace {name!r} not found", status=404)
        return Done(self._description(name), read_units=1)

    def delete_namespace(self, name: str) -> Done:
        """Remove a namespace with all its records."""
        name = _checked_namespace(name)
        namespace = self._existing({"namespace": name})
        namespace.named = False
        lsn = namespace.commit([(record.id, None) for record in namespace.all_latest()])
        return Done({}, write_units=_MIN_WRITE_UNITS, headers=_committed(lsn))

    def _description(self, name: str) -> dict[str, Any]:
        namespace = self.namespaces[name]
        records = namespace.seen("counts")
        # The service writes record_count as a string in JSON; this keeps to the published description.
        told = {"name": name or DEFAULT_NAMESPACE, "record_count": len(records)}
        if namespace.schema:
            told |= {"schema": namespace.schema, "indexed_fields": {"fields": sorted(namespace.schema["fields"])}}
        return told

    def _is_shown(self, name: str) -> bool:
        namespace = self.namespaces.get(name)
        return namespace is not None and (namespace.named or bool(namespace.seen("counts")))

    def _to_write(self, body: Body) -> Namespace:
        return self.namespaces.setdefault(_checked_namespace(body.get("namespace")), Namespace(self.visibility))

    def _to_read(self, body: Body) -> tuple[str, Namespace]:
        name = _checked_namespace(body.get("namespace"))
        return name, self.namespaces.get(name) or Namespace(self.visibility)

    def _existing(self, body: Body) -> Namespace:
        namespace = self.namespaces.get(_checked_namespace(body.get("namespace")))
        if namespace is None or not namespace.exists():
            raise Refused("Namespace not found", status=404)
        return namespace

    def _record(self, vector: object) -> Stored:
        if not isinstance(vector, Mapping):
            raise Refused("vectors must be objects")
        record_id = _checked_id(vector.get("id"))
        if "sparseValues" in vector:
            raise Refused("Sparse values are not supported by a dense index")
        metadata = stored(vector.get("metadata"), whose=record_id)
        return Stored(record_id, self._values(vector.get("values"), "Vector"), metadata)

    def _values(self, values: object, what: str) -> npt.NDArray[np.float32]:
        if not isinstance(values, list):
            raise Refused(f"{what} must be a list of numbers")
        if len(values) != self.dimension:
            raise Refused(f"{what} dimension {len(values)} does not match the dimension of the index {self.dimension}")
        if not all(type(value) in (int, float) for value in values):
            raise Refused(f"{what} must be a list of numbers")
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=np.float32)
        if not np.isfinite(array).all():
            raise Refused(f"{what} has values that are not finite")
        if self.metric == "cosine" and not array.any():
            raise Refused("Dense vectors must contain at least one non-zero value.")
        return array


def _full(record: Stored) -> dict[str, Any]:
    return {"id": record.id, "values": record.values} | ({"metadata": record.metadata} if record.metadata else {})


def _committed(lsn: int) -> dict[str, str]:
    return {"x-pinecone-request-lsn": str(lsn)}


def _kilobytes(size: int) -> float:
    return float(math.ceil(size / 1000))


def _condition(body: Body) -> Condition:
    expression = body.get("filter")
    return parse(expression) if expression is not None else lambda metadata: True


def _listed(body: Body, name: str) -> list[Any]:
    value = body.get(name)
    if not isinstance(value, list):
        raise Refused(f"{name} must be a list")
    return value


def page_size(value: object, most: int) -> int:
    """The records of a page, as a request asks for them."""
    try:
        limit = int(str(value))
    except ValueError:
        limit = 0
    if not 1 <= limit <= most:
        raise Refused(f"limit must be between 1 and {most}, got {value!r}")
    return limit


def page_of(
    items: Sequence[Item], limit: int, token: object, key: Callable[[Item], str]
) -> tuple[list[Item], dict[str, Any]]:
    """The items after the one that a token names, and how to ask for those after them."""
    if token:
        try:
            after = json.loads(base64.b64decode(str(token), validate=True))["skip_past"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"Invalid pagination token {token!r}") from error
        items = [item for item in items if key(item) > after]
    page = list(items[:limit])
    if len(items) <= limit:
        return page, {}
    following = base64.b64encode(json.dumps({"skip_past": key(page[-1])}).encode()).decode()
    return page, {"pagination": {"next": following}}


def _checked_id(record_id: object) -> str:
    if not isinstance(record_id, str) or not 1 <= len(record_id) <= _LONGEST_NAME:
        raise Refused(f"Vector ID must be a string of 1 to {_LONGEST_NAME} characters")
    if not record_id.isascii() or "\0" in record_id:
        raise Refused(f"Vector ID must be ASCII, but is {record_id!r}")
    return record_id


def _checked_namespace(name: object) -> str:
    name = "" if name in (None, DEFAULT_NAMESPACE) else name
    if not isinstance(name, str) or len(name) > _LONGEST_NAME or not name.isascii() or "\0" in name:
        raise Refused(f"Namespace must be ASCII of at most {_LONGEST_NAME} characters, got {name!r}")
    return name
