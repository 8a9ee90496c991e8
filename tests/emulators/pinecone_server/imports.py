"""Bulk imports: Parquet files on S3 that the server fetches by itself, as long after the call as a test wants.

Layout and limits: https://docs.pinecone.io/guides/index-data/import-data
"""

from __future__ import annotations

import io
import json
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from .refusals import Refused
from .vectors import Body, Done, VectorIndex, page_of, page_size

REQUIRED = {"id": (pa.string(),), "values": (pa.list_(pa.float32()), pa.list_(pa.float64()))}
_ENDED = ("Completed", "Failed", "Cancelled")
_INTEGRATION = "integration-for-tests"


@dataclass
class ImportSettings:
    """How imports behave. May be changed at any time.

    Attributes:
        s3_endpoint: Where S3 is; empty: imports are refused.
        seconds: How long one takes before its records are there.
        drop: Records that get lost although the import says that it is complete.
        integrations: Ids that let Pinecone read a bucket; a request that names none reads what is public.
    """

    s3_endpoint: str = ""
    seconds: float = 0.0
    drop: int = 0
    integrations: frozenset[str] = frozenset({_INTEGRATION})


@dataclass
class _Import:
    id: str
    uri: str
    on_error: str
    created_at: str
    status: str = "Pending"
    finished_at: str = ""
    percent: float = 0.0
    records: int = 0
    error: str = ""

    def model(self) -> dict[str, Any]:
        told = {
            "id": self.id,
            "uri": self.uri,
            "status": self.status,
            "createdAt": self.created_at,
            "percentComplete": self.percent,
            "recordsImported": self.records,
        }
        return told | ({"finishedAt": self.finished_at} if self.finished_at else {}) | self._failure()

    def _failure(self) -> dict[str, str]:
        return {"error": self.error} if self.error else {}

    def end(self, status: str, error: str = "") -> None:
        self.status, self.error, self.finished_at = status, error, _now()


class Imports:
    """The imports of one index.

    Args:
        index: Where the records go.
        settings: How imports behave.
        lock: Held by the server around every request, and here around every change.
    """

    def __init__(self, index: VectorIndex, settings: ImportSettings, lock: AbstractContextManager[Any]) -> None:
        self._index, self._settings, self._lock = index, settings, lock
        self._known: dict[str, _Import] = {}

    def start(self, body: Body) -> Done:
        """Accept an import; the rest happens by itself."""
        uri = body.get("uri")
        if not isinstance(uri, str) or not uri.startswith("s3://") or not urlsplit(uri).netloc:
            raise Refused(f"uri must be s3://BUCKET/IMPORT_DIR for an index on AWS, got {uri!r}")
        if not self._settings.s3_endpoint:
            raise Refused("this server was not told where S3 is", status=501)
        integration = body.get("integrationId", "")
        if integration and integration not in self._settings.integrations:
            raise Refused(f"Storage integration {integration!r} not found")
        on_error = (body.get("errorMode") or {}).get("onError", "abort")
        if on_error not in ("abort", "continue"):
            raise Refused(f"errorMode.onError must be 'abort' or 'continue', got {on_error!r}")
        made = _Import(str(len(self._known) + 1), uri.rstrip("/"), on_error, _now())
        self._known[made.id] = made
        threading.Thread(target=self._carry_out, args=(made,), daemon=True).start()
        return Done({"id": made.id})

    def describe(self, import_id: str) -> Done:
        """One import."""
        return Done(self._find(import_id).model())

    def cancel(self, import_id: str) -> Done:
        """Stop one; no effect on one that has ended."""
        found = self._find(import_id)
        if found.status not in _ENDED:
            found.end("Cancelled")
        return Done({})

    def some(self, *, limit: str, token: str) -> Done:
        """Imports, in pages."""
        page, pagination = page_of(list(self._known.values()), page_size(limit or 100, 100), token, lambda i: i.id)
        return Done({"data": [found.model() for found in page]} | pagination)

    def _find(self, import_id: str) -> _Import:
        if import_id not in self._known:
            raise Refused(f"Import {import_id!r} not found", status=404)
        return self._known[import_id]

    def _carry_out(self, job: _Import) -> None:
        ends = time.monotonic() + self._settings.seconds
        while (left := ends - time.monotonic()) > 0 and job.status not in _ENDED:
            with self._lock:
                job.status = "InProgress" if job.status == "Pending" else job.status
                job.percent = max(0.0, 100 * (1 - left / self._settings.seconds) / 2)
            time.sleep(min(0.02, left))
        if job.status in _ENDED:
            return
        try:
            files = self._files(job.uri)
            rows = {space: _rows(tables) for space, tables in files.items()}
            with self._lock:
                if job.status not in _ENDED:
                    self._write(job, rows)
        except Refused as refused:
            with self._lock:
                job.end("Failed", refused.message)

    def _write(self, job: _Import, rows: dict[str, list[dict[str, Any]]]) -> None:
        for space in rows:
            if space in self._index.namespaces and self._index.namespaces[space].exists():
                raise Refused(f"Namespace {space!r} already exists")
        for space, vectors in rows.items():
            kept = vectors[: len(vectors) - self._settings.drop]
            job.records += self._index.load(space, kept, skip_bad=job.on_error == "continue")
        job.percent = 100.0
        job.end("Completed")

    def _files(self, uri: str) -> dict[str, list[pa.Table]]:
        """The Parquet files below an address, by the folder they are in."""
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        address = urlsplit(uri)
        prefix = address.path.strip("/") + "/"
        once = Config(retries={"total_max_attempts": 1}, connect_timeout=5)
        s3 = boto3.client("s3", endpoint_url=self._settings.s3_endpoint, region_name="us-east-1", config=once)
        found: dict[str, list[pa.Table]] = {}
        try:
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=address.netloc, Prefix=prefix):
                for item in page.get("Contents", []):
                    space, _, name = item["Key"].removeprefix(prefix).rpartition("/")
                    if space and name.endswith(".parquet"):
                        raw = s3.get_object(Bucket=address.netloc, Key=item["Key"])["Body"].read()
                        found.setdefault(space, []).append(pq.read_table(io.BytesIO(raw)))
        except (BotoCoreError, ClientError) as error:
            raise Refused(f"{uri} cannot be read: {error}") from error
        if not found:
            raise Refused(f"there are no Parquet files below {uri}")
        return found


def _rows(tables: list[pa.Table]) -> list[dict[str, Any]]:
    """The records of the files of a namespace, as an upsert would give them."""
    rows = []
    for table in tables:
        for name, types in REQUIRED.items():
            if name not in table.column_names or table.schema.field(name).type not in types:
                raise Refused(f"column {name!r} is missing or not of type {types[0]}")
        for row in table.to_pylist():
            metadata = row.get("metadata")
            rows.append(
                {"id": row["id"], "values": row["values"]} | ({"metadata": json.loads(metadata)} if metadata else {})
            )
    return rows


def _now() -> str:
    return datetime.now(UTC).isoformat()
