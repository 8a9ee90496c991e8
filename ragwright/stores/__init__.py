"""Vector stores: the port every adapter implements, and how one is opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ragwright.documents import Match
from ragwright.errors import ConfigurationError
from ragwright.outside import SCHEME, open_outside
from ragwright.retry import RetryPolicy

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
        """Insert or replace records, laid out as `documents.records_schema`; of an id given twice the last counts."""

    def mark(self, space: str, record_ids: Sequence[str], died: int) -> None:
        """Set `died` of records: a generation to end them, `FOREVER` to revive them."""

    def delete(self, space: str, record_ids: Sequence[str]) -> None:
        """Remove records."""

    def fetch(self, space: str, record_ids: Sequence[str], *, columns: Sequence[str] = ()) -> pa.Table:
        """The records that are there, in any order; `columns` limits what is read, vectors are costly."""

    def query(self, space: str, vector: npt.NDArray[np.float32], *, k: int, as_of: int) -> list[Match]:
        """The k visible records nearest by cosine, best first (ties by record id). `vector` is float32 [dimension]."""

    def search_text(self, space: str, text: str, *, k: int, as_of: int) -> list[Match]:
        """The k visible records that share most words with a text, best first (ties by record id).

        Ranks by BM25 over question and text together, in the words of `terms.terms`; `Match.score` is that figure,
        above 0 and comparable within one call only. What is not visible counts nowhere: a generation's answer does not
        depend on what else the space holds. Nothing in the text is syntax; one without content words, or with none
        that a visible record has, finds nothing.
        """

    def scan(self, space: str, *, as_of: int | None = None, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """All records, or those visible at a generation, in batches of a few thousand, in any order.

        `columns` limits what is read, and their order; none named means all, vectors included.
        """

    def wait_visible(
        self, space: str, *, present: Sequence[str] = (), absent: Sequence[str] = (), timeout: float = 60
    ) -> None:
        """Return once reads show the given ids, and do not show the absent ones; `NotVisibleYet` after `timeout` s."""

    def optimise(self, space: str) -> None:
        """Give back the room of replaced records and killed writers, and make reads fast again.

        Changes nothing a reader could notice, beside other readers and writers; worth calling after a vacuum.
        """

    def close(self) -> None:
        """Give back connections."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class BulkLoad:
    """How far a store has got with loading a folder of files.

    Attributes:
        id: The store's name for it.
        state: `done` means that all of it was loaded; the others may have left some records.
        percent: Of the work, 0 to 100.
        records: Loaded so far.
        error: Why it failed.
    """

    id: str
    state: Literal["running", "done", "failed", "cancelled"]
    percent: float = 0.0
    records: int = 0
    error: str = ""


@runtime_checkable
class BulkLoader(Protocol):
    """What some stores can do besides: fill a space from files on S3 by themselves, long after the call has returned.

    For first loads so large that `upsert` would take too long or cost too much. The files of a space are all those
    below `<url>/<space>/`. Reads may lag behind a load as behind any write.
    """

    def load_file(self, space: str, records: pa.Table) -> bytes:
        """The records, laid out as `documents.records_schema`, as a file to load; refused as `upsert` refuses them."""

    def file_records(self, data: bytes) -> pa.Table:
        """The records that a file to load was made of."""

    def start_load(self, space: str, url: str, *, access: str = "") -> BulkLoad:
        """Start to make and fill a space that is not there (`drop_space`); `access` lets the store read the files."""

    def loads(self, url: str) -> list[BulkLoad]:
        """The loads from a place that the store remembers, the newest first."""

    def load(self, load_id: str) -> BulkLoad:
        """How far one has got."""

    def cancel_load(self, load_id: str) -> None:
        """Stop one; what it has loaded may stay, and one that has ended is left alone."""


@runtime_checkable
class BatchSearcher(Protocol):
    """What some stores can do besides: answer many searches with one reading of a space too large to hold in memory."""

    def query_many(self, space: str, vectors: npt.NDArray[np.float32], *, k: int, as_of: int) -> list[list[Match]]:
        """For each row of `vectors`, float32 [n, dimension], what `query` gives."""

    def search_text_many(self, space: str, texts: Sequence[str], *, k: int, as_of: int) -> list[list[Match]]:
        """For each text what `search_text` gives."""


@runtime_checkable
class Holder(Protocol):
    """What some stores can do besides: keep a generation at hand, so that a long-lived reader's searches are fast."""

    def hold(self, space: str, as_of: int) -> None:
        """Read ahead what searches of a published generation need.

        What such a generation shows never changes, so from now on searches of it may rest on what was read, whatever is
        written to the space. Searches of the one that was held before need not wait. One generation a space is held.
        """


@runtime_checkable
class Indexer(Protocol):
    """What some stores can do besides: keep an index of their own that makes searches of a large space fast."""

    def index(self, space: str) -> None:
        """Make the index or bring it up to date, if that pays. For the space's one writer; readers need not wait."""


def open_store(spec: str, *, retry: RetryPolicy | None = None, memory_mb: int | None = None) -> VectorStore:
    """The store that a spec names; nothing is connected yet.

    Args:
        spec: `lancedb:FOLDER` (relative to the working directory), `memory:NAME` (shared in this process) or
            `pinecone:INDEX?cloud=aws&region=us-east-1&deletion_protection=enabled` (the parameters, which may be left
            out, are for an index that is not there yet). `python:MODULE:FACTORY:WHERE` is another package's: its
            factory is called with WHERE, which may be left out.
        retry: How requests to a service are tried again; by default as `RetryPolicy` says. A store on this machine
            leaves that to its caller.
        memory_mb: What a store on disk may hold in memory for searches, in MiB; by default as its adapter says.

    Raises:
        ConfigurationError: The spec names no store.
    """
    kind, colon, where = spec.partition(":")
    match kind:
        case "lancedb" if where:
            from ragwright.stores.lancedb import LanceDBStore

            return LanceDBStore(where) if memory_mb is None else LanceDBStore(where, snapshot_bytes=memory_mb * 2**20)
        case "memory" if where:
            from ragwright.stores.memory import MemoryStore

            return MemoryStore.shared(where)
        case "pinecone" if where:
            from ragwright.stores.pinecone import PineconeStore
            from ragwright.stores.pinecone_index import PineconeSpec

            return PineconeStore(PineconeSpec.parse(where), retry=retry)
        case "python" if where:
            module, _, rest = where.partition(":")
            factory, _, place = rest.partition(":")
            return open_outside(f"{SCHEME}{module}:{factory}", VectorStore, place)  # type: ignore[type-abstract]
    raise ConfigurationError(
        f"{spec!r} names no vector store{'' if colon else ' (it has no colon)'}.",
        hint="Use lancedb:FOLDER, memory:NAME, pinecone:INDEX, or python:MODULE:FACTORY:WHERE for one of your own.",
    )
