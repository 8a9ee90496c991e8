"""Vectors in a Pinecone index, through its vector API over HTTP: one namespace a space.

docs/decisions/0015 says why the vector API and not the document API. An index has one dimension, and so have all of its
spaces: vectors of another length need another index.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ragwright.documents import Match
from ragwright.errors import StoreError
from ragwright.retry import RetryPolicy
from ragwright.stores import BulkLoad, limits, pinecone_import, pinecone_scan, pinecone_search, visibility, words
from ragwright.stores import pinecone_records as wire
from ragwright.stores.generation_words import GenerationWords
from ragwright.stores.pinecone_errors import translated
from ragwright.stores.pinecone_index import PineconeIndex, PineconeSpec
from ragwright.stores.pinecone_requests import Lanes

if TYPE_CHECKING:
    from pinecone import Index

LANES = 8
_SCHEMA = {"fields": {name: {"filterable": True} for name in wire.FILTERED}}


class PineconeStore:
    """A `VectorStore` and `BulkLoader` in one serverless Pinecone index.

    Threads may share one; a forked process reconnects by itself.
    Reads lag behind writes until `wait_visible` has returned. Words are searched for in this process: the first search
    at a generation reads its records, and the words of the two generations searched last are kept (`GenerationWords`).
    Words of a generation that is still written are found through the store that writes it.

    Args:
        spec: Which index.
        timeout: Seconds that a request may be silent.
        retry: How each request is tried again; a `query` is the caller's to repeat, as are making and dropping spaces.
        lanes: Requests under way at a time, at most; fewer while Pinecone throttles.
        ready_timeout: Seconds to wait for an index that was made just now, or for a space to come or go.
    """

    def __init__(
        self,
        spec: PineconeSpec,
        *,
        timeout: float = 10,
        retry: RetryPolicy | None = None,
        lanes: int = LANES,
        ready_timeout: float = 300,
    ) -> None:
        self._spec = spec
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._most = lanes
        self._ready_timeout = ready_timeout
        self._forget()

    def __repr__(self) -> str:
        return f"PineconeStore({str(self._spec)!r})"

    def ensure_space(self, space: str, dimension: int) -> None:
        """See `VectorStore`. Creates the index, too, and waits until it is ready."""
        from pinecone.errors.exceptions import ConflictError

        limits.check_space_name(space)
        self._reconnect_after_fork()
        index, has = self._index.create(dimension)
        if has != dimension:
            raise limits.dimension_conflict(space, has, dimension, place=str(self._spec))
        if space in self._known:
            return
        with translated(self._place(space)), suppress(ConflictError):  # then it is there, which was asked for
            index.create_namespace(name=space, schema=_SCHEMA)
        self._await(lambda: self._is_there(index, space), f"space {space!r} is not there")
        self._known.add(space)

    def spaces(self) -> list[str]:
        """See `VectorStore`."""
        opened = self._opened()
        if opened is None:
            return []
        index = opened[0]

        def ask() -> list[str]:
            with translated(str(self._spec)):
                return [found.name for page in index.list_namespaces() for found in page.namespaces]

        names = self._retry.call(ask)
        return sorted(name for name in names if limits.SPACE_NAME.fullmatch(name))

    def drop_space(self, space: str) -> None:
        """See `VectorStore`. Returns once Pinecone says that it is gone."""
        from pinecone.errors.exceptions import NotFoundError

        limits.check_space_name(space)
        opened = self._opened()
        self._words.forget(space)
        self._known.discard(space)
        self._marked.pop(space, None)
        if opened is None:
            return
        with translated(self._place(space)):
            try:
                opened[0].delete_namespace(name=space)
            except NotFoundError:
                return
        self._await(lambda: not self._is_there(opened[0], space), f"space {space!r} is still there")

    def upsert(self, space: str, records: pa.Table) -> None:
        """See `VectorStore`. Batches go side by side, in any order."""
        index, dimension = self._space(space)
        records = limits.check_records(records, dimension, place=self._place(space))
        wire.check_fits(records, place=self._place(space))
        with self._lock:
            marked = self._marked.get(space, {})
            for record_id, died in zip(records["record_id"].to_pylist(), records["died"].to_pylist(), strict=True):
                if record_id in marked:
                    marked[record_id] = died

        def send(batch: list[dict[str, Any]]) -> None:
            with translated(self._place(space)):
                index.upsert(vectors=batch, namespace=space, show_progress=False)

        self._write(space, send, wire.requests(records, dimension))

    def mark(self, space: str, record_ids: Sequence[str], died: int) -> None:
        """See `VectorStore`. One request a record: an update by filter passes over what is not indexed yet."""
        from pinecone.errors.exceptions import NotFoundError

        index, _ = self._space(space)
        ids = list(dict.fromkeys(record_ids))
        with self._lock:
            self._marked.setdefault(space, {}).update(dict.fromkeys(ids, int(died)))

        def send(record_id: str) -> None:
            with translated(self._place(space)):
                try:
                    index.update(id=wire.wire_id(record_id), set_metadata={"died": int(died)}, namespace=space)
                except NotFoundError:
                    return

        self._write(space, send, ids)

    def delete(self, space: str, record_ids: Sequence[str]) -> None:
        """See `VectorStore`."""
        from pinecone.errors.exceptions import NotFoundError

        index, _ = self._space(space)
        with self._lock:
            for record_id in record_ids:
                self._marked.get(space, {}).pop(record_id, None)

        def send(ids: list[str]) -> None:
            with translated(self._place(space)):
                try:
                    index.delete(ids=list(map(wire.wire_id, ids)), namespace=space)
                except NotFoundError:
                    return

        self._write(space, send, limits.id_batches(record_ids))

    def fetch(self, space: str, record_ids: Sequence[str], *, columns: Sequence[str] = ()) -> pa.Table:
        """See `VectorStore`. Pinecone sends vectors along, whatever `columns` says."""
        _, dimension = self._space(space)
        layout = limits.check_columns(columns, dimension, place=self._place(space))
        found = self._fetch(space, record_ids)
        return wire.table(((r.id, r.metadata, r.values) for r in found), layout, place=self._place(space))

    def query(self, space: str, vector: npt.NDArray[np.float32], *, k: int, as_of: int) -> list[Match]:
        """See `VectorStore`. Pinecone finds approximately; scores are single precision, rounded to six decimals."""
        _, dimension = self._space(space)
        query = limits.check_query(vector, k, dimension, place=self._place(space))
        search = partial(self._query, space)
        if not query.any():
            ids = [i for batch in self.scan(space, as_of=as_of, columns=("record_id",)) for i in batch[0].to_pylist()]
            found = pinecone_search.records(self.fetch(space, sorted(ids)[:k]), {})
        else:
            found = pinecone_search.nearest_records(search, partial(self.fetch, space), query, k=k, as_of=as_of)
        if not found:
            self._confirm(space)
        return found

    def search_text(self, space: str, text: str, *, k: int, as_of: int) -> list[Match]:
        """See `VectorStore`. The first search at a generation, and after a write of this store, reads it whole."""
        self._space(space)
        limits.check_count(k, place=self._place(space))
        wanted = words.asked(text)
        if not wanted:
            return []
        return self._words.search(
            (space, as_of),
            wanted,
            k,
            read=lambda: self.scan(space, as_of=as_of, columns=("record_id", *words.FIELDS)),
            fetch=lambda ids: self.fetch(space, ids, columns=pinecone_search.SHOWN),
        )

    def scan(self, space: str, *, as_of: int | None = None, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """See `VectorStore`. Pages follow each other; what is written meanwhile may or may not be among them."""
        index, dimension = self._space(space)
        layout = limits.check_columns(columns, dimension, place=self._place(space))
        place = self._place(space)
        if as_of is None and layout.names == ["record_id"]:
            return pinecone_scan.ids(index, space, layout, self._retry, place=place)
        return pinecone_scan.records(index, space, layout, dimension, as_of, self._retry, place=place)

    def wait_visible(
        self, space: str, *, present: Sequence[str] = (), absent: Sequence[str] = (), timeout: float = 60
    ) -> None:
        """See `VectorStore`. Queries then show every write that came before, whoever sent it, if Pinecone numbers them.

        Fetches are looked at record by record; what this store marked counts as shown once its `died` is as written.
        """
        index, dimension = self._space(space)
        gone = frozenset(absent)
        with self._lock:
            marked = dict(self._marked.get(space, {}))
        if not present and not absent:
            return
        place = self._place(space)
        caught_up = self._retry.call(lambda: pinecone_search.CaughtUp(index, space, dimension, place=place))

        def seen(ids: Sequence[str]) -> set[str]:
            found = {wire.plain_id(r.id): (r.metadata or {}).get("died") for r in self._fetch(space, ids)}
            shown = {i for i, died in found.items() if i in gone or marked.get(i, died) == died}
            # Until then no record counts as written, and none as removed.
            return shown if self._retry.call(caught_up) else {record_id for record_id in ids if record_id in gone}

        visibility.wait_until(seen, present=present, absent=absent, timeout=timeout, place=place)
        with self._lock:
            for record_id in present:
                if self._marked.get(space, {}).get(record_id) == marked.get(record_id):
                    self._marked.get(space, {}).pop(record_id, None)

    def load_file(self, space: str, records: pa.Table) -> bytes:
        """See `BulkLoader`."""
        _, dimension = self._needed()
        records = limits.check_records(records, dimension, place=self._place(space))
        wire.check_fits(records, place=self._place(space))
        return pinecone_import.file_of(records, dimension)

    def file_records(self, data: bytes) -> pa.Table:
        """See `BulkLoader`."""
        _, dimension = self._needed()
        return pinecone_import.records_of(data, dimension, place=str(self._spec))

    def start_load(self, space: str, url: str, *, access: str = "") -> BulkLoad:
        """See `BulkLoader`. `access` is the id of a storage integration; Pinecone makes the namespace itself."""
        index, _ = self._needed()
        limits.check_space_name(space)
        place = self._place(space)
        # Not tried again here: an import whose acknowledgement was lost is under way.
        return pinecone_import.describe(index, pinecone_import.start(index, url, access, place=place), place=place)

    def loads(self, url: str) -> list[BulkLoad]:
        """See `BulkLoader`."""
        index, _ = self._needed()
        return self._retry.call(lambda: pinecone_import.imports(index, url, place=str(self._spec)))

    def load(self, load_id: str) -> BulkLoad:
        """See `BulkLoader`."""
        index, _ = self._needed()
        return self._retry.call(lambda: pinecone_import.describe(index, load_id, place=str(self._spec)))

    def cancel_load(self, load_id: str) -> None:
        """See `BulkLoader`."""
        index, _ = self._needed()
        self._retry.call(lambda: pinecone_import.cancel(index, load_id, place=str(self._spec)))

    def optimise(self, space: str) -> None:
        """See `VectorStore`. Nothing to do: Pinecone looks after its storage itself."""
        self._space(space)
        self._confirm(space)

    def close(self) -> None:
        """See `VectorStore`."""
        if self._pid == os.getpid():
            self._lanes.close()
            self._index.close()
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Connections

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._index = PineconeIndex(self._spec, timeout=self._timeout, ready_timeout=self._ready_timeout)
        self._lanes = Lanes(self._most, self._retry)
        self._words = GenerationWords()
        self._known: set[str] = set()
        self._marked: dict[str, dict[str, int]] = {}  # what was marked and not yet waited for: record id to `died`

    def _reconnect_after_fork(self) -> None:
        # Sockets are shared with the parent, threads are not there, and a lock may be held by one of them.
        if self._pid != os.getpid():
            self._forget()

    def _place(self, space: str) -> str:
        return f"{self._spec}/{space}"

    def _opened(self) -> tuple[Index, int] | None:
        self._reconnect_after_fork()
        return self._retry.call(self._index.open)

    def _needed(self) -> tuple[Index, int]:
        """The index, which must be there."""
        opened = self._opened()
        if opened is None:
            raise StoreError("there is no such index.", place=str(self._spec), hint="`ensure_space` makes it.")
        return opened

    def _space(self, space: str) -> tuple[Index, int]:
        """The index, in which the space is known to be, and its dimension."""
        limits.check_space_name(space)
        opened = self._opened()
        if opened is None or not (space in self._known or self._is_there(opened[0], space)):
            raise limits.unknown_space(space, place=str(self._spec))
        self._known.add(space)
        return opened

    def _confirm(self, space: str) -> None:
        """After an answer without records: a space that somebody dropped looks the same as one without any."""
        self._known.discard(space)
        self._space(space)

    def _is_there(self, index: Index, space: str) -> bool:
        from pinecone.errors.exceptions import NotFoundError

        def ask() -> bool:
            with translated(self._place(space)):
                try:
                    index.describe_namespace(name=space)
                except NotFoundError:
                    return False
            return True

        return self._retry.call(ask)

    def _await(self, done: Callable[[], bool], what: str) -> None:
        visibility.wait_until(
            lambda ids: set(ids) if done() else set(),
            present=[what],
            absent=(),
            timeout=self._ready_timeout,
            place=str(self._spec),
        )

    # Reading and writing

    def _write(self, space: str, send: Callable[[Any], None], parts: Iterable[Any]) -> None:
        # Words are forgotten before, for those who read meanwhile, and after, for what these have read too early.
        self._words.forget(space)
        try:
            self._lanes.each(send, parts)
        finally:
            self._words.forget(space)

    def _fetch(self, space: str, record_ids: Iterable[str]) -> list[Any]:
        """The SDK's records, of the ids that are there."""
        index, _ = self._index.open() or self._space(space)

        def get(ids: list[str]) -> list[Any]:
            with translated(self._place(space)):
                return list(index.fetch(ids=ids, namespace=space).vectors.values())

        batches = wire.addressable(list(dict.fromkeys(record_ids)))
        return [record for found in self._lanes.each(get, batches) for record in found]

    def _query(
        self, space: str, vector: list[float], *, condition: dict[str, Any], top_k: int, shown: bool
    ) -> list[Any]:
        index, _ = self._space(space)
        with translated(self._place(space)):
            answer = index.query(vector=vector, top_k=top_k, namespace=space, filter=condition, include_metadata=shown)
        return list(answer.matches)
