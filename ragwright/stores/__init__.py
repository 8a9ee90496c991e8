"""Vector stores: the port every adapter implements, and how one is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ragwright.documents import Match

# Pinecone's limits hold for every adapter, so that an index built on a laptop can move to the cloud.
MAX_METADATA_BYTES = 40 * 1024
MAX_REQUEST_BYTES = 2 * 1024 * 1024
MAX_IDS_PER_REQUEST = 1_000


@runtime_checkable
class VectorStore(Protocol):
    """Keeps records; knows nothing of publishing. A context manager with a cheap constructor and lazy connections.

    A *space* is a place for vectors of one fingerprint. A record is visible at generation g when `born <= g < died`.

    - Writes are idempotent: `upsert` replaces by `record_id`, `mark` and `delete` ignore ids that are not there.
    - A record is written whole or not at all; a batch may be written in part when a call fails, and repeating the call
      completes it.
    - A record whose metadata (everything but id and vector, as UTF-8 JSON) is over `MAX_METADATA_BYTES` is refused with
      `StoreError` naming it, before anything of the call is written. Adapters split calls to stay within
      `MAX_REQUEST_BYTES` and `MAX_IDS_PER_REQUEST` by themselves.
    - Reads may lag behind writes until `wait_visible` has returned.
    - Unknown spaces are `StoreError`; `Unavailable`, `Throttled`, `TimedOut` are the other side's troubles;
      `StorageFull` when the disk is.
    """

    def ensure_space(self, space: str, dimension: int) -> None:
        """Create the space if it is not there; another dimension than it has is a `StoreError`."""

    def spaces(self) -> list[str]:
        """Names of all spaces."""

    def drop_space(self, space: str) -> None:
        """Remove a space with all its records; a missing one is fine."""

    def upsert(self, space: str, records: pa.Table) -> None:
        """Insert or replace records, laid out as `documents.records_schema`."""

    def mark(self, space: str, record_ids: Sequence[str], died: int) -> None:
        """Set `died` of records: a generation to end them, `FOREVER` to revive them."""

    def delete(self, space: str, record_ids: Sequence[str]) -> None:
        """Remove records."""

    def fetch(self, space: str, record_ids: Sequence[str]) -> pa.Table:
        """The records that are there, vectors included, in any order."""

    def query(self, space: str, vector: npt.NDArray[np.float32], *, k: int, as_of: int) -> list[Match]:
        """The k visible records nearest by cosine, best first (ties by record id). `vector` is float32 [dimension]."""

    def scan(self, space: str, *, as_of: int | None = None, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """All records, or those visible at a generation, in batches; `columns` limits what is read."""

    def wait_visible(
        self, space: str, *, present: Sequence[str] = (), absent: Sequence[str] = (), timeout: float = 60
    ) -> None:
        """Return once reads show the given ids, and do not show the absent ones; `NotVisibleYet` after `timeout` s."""

    def close(self) -> None:
        """Give back connections."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
