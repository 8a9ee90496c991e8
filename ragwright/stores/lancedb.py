"""Vectors in a folder, kept by LanceDB: one table a space."""

from __future__ import annotations

import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import Match, records_schema
from ragwright.errors import RagwrightError, StorageFull, StoreError, Unavailable, is_disk_full
from ragwright.folders import files_under
from ragwright.stores import limits, vector_index, visibility, words
from ragwright.stores.commits import despite_conflicts, exclusive
from ragwright.stores.known_ids import KnownIds
from ragwright.stores.snapshot import RowsMoved
from ragwright.stores.views import INCARNATION, View, Views

SNAPSHOT_BYTES = 300 * 2**20
"""Vectors that a store keeps in memory for queries; a space larger than that is searched on disk."""

_SCAN_ROWS = 8_192
_IDS_PER_STATEMENT = 20_000  # one commit each; the time of a longer list grows with it all the same
_SCAN_INSTEAD_OF_FILTER = 5_000  # from here on reading the table once beats looking ids up
_READ_ATTEMPTS = 3
_VERSIONS_BYTES = 2**26  # memory for what is known of past versions; by default a load of many batches fills 1 GB
_KEEP_VERSIONS = timedelta(minutes=10)  # longer than a read takes: readers may be streaming an older version

# What LanceDB raises: it has no exceptions of its own.
_LANCE_ERRORS = (OSError, RuntimeError, ValueError, pa.ArrowException)
_T = TypeVar("_T")


class LanceDBStore:
    """A `VectorStore` in a local folder. Threads may share one; a forked process reconnects by itself.

    Writers take turns: LanceDB's `merge_insert` lets two at once insert the same new id twice
    (https://github.com/lance-format/lance/issues/4585), so a lock file a space stands in front of it.

    Args:
        folder: Where the tables live; made by the first `ensure_space`.
        snapshot_bytes: Memory for vectors and, of a generation that is held, texts, over all spaces; where words are
            searched for, about a third comes on top. While a generation that shares little with the one before it is
            read ahead, both are there.
        lock_timeout: Seconds to wait for another writer before `Unavailable`.
    """

    def __init__(self, folder: str | Path, *, snapshot_bytes: int = SNAPSHOT_BYTES, lock_timeout: float = 60) -> None:
        self._folder = Path(folder)
        self._snapshot_bytes = snapshot_bytes
        self._lock_timeout = lock_timeout
        self._forget()

    def ensure_space(self, space: str, dimension: int) -> None:
        """See `VectorStore`."""
        limits.check_space_name(space)
        if not self._exists(space):
            with self._errors(space, may_lack=True), self._turn(space):
                layout = records_schema(dimension).with_metadata({INCARNATION: uuid.uuid4().hex})
                self._connection().create_table(space, schema=layout, exist_ok=True)
        has = self._dimension(self._latest(space))
        if has != dimension:
            raise limits.dimension_conflict(space, has, dimension, place=str(self._folder))

    def spaces(self) -> list[str]:
        """See `VectorStore`."""
        with self._errors(""):
            names = [path.stem for path in self._folder.glob("*.lance") if limits.SPACE_NAME.fullmatch(path.stem)]
            return sorted(name for name in names if self._exists(name))

    def drop_space(self, space: str) -> None:
        """See `VectorStore`."""
        limits.check_space_name(space)
        folder = self._table_folder(space)
        if not folder.is_dir():
            return
        with self._errors(space, may_lack=True), self._turn(space):
            if folder.is_dir():
                # Renamed first: a kill in the middle of removing files must not leave half a table.
                folder.rename(self._folder / f".dropped-{uuid.uuid4().hex}")
            self._sweep_dropped()
        with self._lock:
            self._tables.pop(space, None)
            self._known.pop(space, None)
        self._views.forget(space)

    def upsert(self, space: str, records: pa.Table) -> None:
        """See `VectorStore`. The whole call is one commit."""
        records = limits.check_records(records, self._dimension(self._latest(space)), place=self._place(space))
        if not records.num_rows:
            return
        self._write(space, partial(_put, records=records, known=self._known_ids(space)))

    def mark(self, space: str, record_ids: Sequence[str], died: int) -> None:
        """See `VectorStore`."""
        self._latest(space)
        for ids in limits.id_batches(record_ids, _IDS_PER_STATEMENT):
            # Records that are marked already stay as they are: a repeated call writes nothing.
            where = f"{_one_of(ids)} AND died <> {int(died)}"
            self._write(space, partial(_update_died, where=where, died=int(died)))

    def delete(self, space: str, record_ids: Sequence[str]) -> None:
        """See `VectorStore`."""
        self._latest(space)
        for ids in limits.id_batches(record_ids, _IDS_PER_STATEMENT):
            self._write(space, partial(_delete, where=_one_of(ids)))

    def fetch(self, space: str, record_ids: Sequence[str], *, columns: Sequence[str] = ()) -> pa.Table:
        """See `VectorStore`."""
        return self._read(space, lambda table: self._select(space, table, record_ids, columns))

    def query(self, space: str, vector: npt.NDArray[np.float32], *, k: int, as_of: int) -> list[Match]:
        """See `VectorStore`."""
        return self.query_many(space, np.asarray(vector)[np.newaxis], k=k, as_of=as_of)[0]

    def search_text(self, space: str, text: str, *, k: int, as_of: int) -> list[Match]:
        """See `VectorStore`. The first search reads the words of the whole space."""
        return self.search_text_many(space, [text], k=k, as_of=as_of)[0]

    def query_many(self, space: str, vectors: npt.NDArray[np.float32], *, k: int, as_of: int) -> list[list[Match]]:
        """See `BatchSearcher`."""

        def search(view: View) -> list[list[Match]]:
            queries = [limits.check_query(one, k, view.dimension, place=self._place(space)) for one in vectors]
            return view.query_many(np.stack(queries), k=k, as_of=as_of) if queries else []

        return self._search(space, as_of, search)

    def search_text_many(self, space: str, texts: Sequence[str], *, k: int, as_of: int) -> list[list[Match]]:
        """See `BatchSearcher`."""
        limits.check_count(k, place=self._place(space))
        wanted = [words.asked(text) for text in texts]
        if not any(wanted):
            self._latest(space)
            return [[] for _ in texts]
        return self._search(space, as_of, lambda view: view.search_text_many(wanted, k=k, as_of=as_of))

    def hold(self, space: str, as_of: int) -> None:
        """See `Holder`."""
        self._read(space, lambda table: self._views.hold(space, table, as_of))

    def index(self, space: str) -> None:
        """See `Indexer`. A space that is searched in memory needs no index."""
        table = self._latest(space)
        if self._views.fits(table):
            return
        with self._errors(space):
            due = vector_index.due(table)
        if due == "build":
            self._write(space, vector_index.build)
        elif due == "extend":
            self.optimise(space)

    def scan(self, space: str, *, as_of: int | None = None, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """See `VectorStore`. All batches are of one version of the table, whatever is written meanwhile."""
        table = self._latest(space)
        layout = limits.check_columns(columns, self._dimension(table), place=self._place(space))
        return self._stream(space, table, layout, None if as_of is None else visibility.condition(as_of))

    def wait_visible(
        self, space: str, *, present: Sequence[str] = (), absent: Sequence[str] = (), timeout: float = 60
    ) -> None:
        """See `VectorStore`. Every read looks for the latest version, so what this process wrote is seen at once."""
        self._latest(space)

        def seen(ids: Sequence[str]) -> set[str]:
            found = self._read(space, lambda table: self._select(space, table, ids, ("record_id",)))
            return set(found["record_id"].to_pylist())

        visibility.wait_until(seen, present=present, absent=absent, timeout=timeout, place=self._place(space))

    def optimise(self, space: str) -> None:
        """See `VectorStore`. Merges small files, and removes old versions and what killed writers left."""

        def compact(table: Any) -> None:
            # The version that is the latest now outlives this call however old it is: compaction begins with a commit
            # that only reserves places, and that young version still names all of its files.
            # Files of unfinished commits may go because the lock says that no commit is under way.
            table.optimize(cleanup_older_than=_KEEP_VERSIONS, delete_unverified=True)
            # It passes over files that a killed writer had not given their name yet.
            for file in files_under(self._table_folder(space)):
                if file.name.startswith(".tmp"):
                    file.unlink(missing_ok=True)
            self._sweep_dropped()

        self._write(space, compact)

    def close(self) -> None:
        """See `VectorStore`."""
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Connections and handles

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._database: Any = None
        self._tables: dict[str, Any] = {}
        self._known: dict[str, tuple[bytes, KnownIds]] = {}
        self._views = Views(self._snapshot_bytes, self._pinned)

    def _reconnect_after_fork(self) -> None:
        # Handles belong to the runtime of the process that opened them, and a lock may be held by a thread left behind.
        if self._pid != os.getpid():
            self._forget()

    def _connection(self) -> Any:
        # Connecting makes the folder: only a writer of a new space may come here before a table is known to be there.
        self._reconnect_after_fork()
        with self._lock:
            if self._database is None:
                import lancedb

                session = lancedb.Session(metadata_cache_size_bytes=_VERSIONS_BYTES)
                self._database = lancedb.connect(self._folder, session=session)
            return self._database

    def _latest(self, space: str) -> Any:
        """A handle at the newest version; `StoreError` if there is no such space."""
        with self._errors(space):
            self._reconnect_after_fork()
            with self._lock:
                if space not in self._tables:
                    if not self._exists(space):
                        raise limits.unknown_space(space, place=str(self._folder))
                    opened = self._connection().open_table(space)
                    if INCARNATION not in (opened.schema.metadata or {}):
                        raise StoreError(
                            "this table was not made by ragwright.",
                            place=self._place(space),
                            hint="Give the store a folder of its own.",
                        )
                    self._tables[space] = opened
                table = self._tables[space]
                table.checkout_latest()
                return table

    def _table_folder(self, space: str) -> Path:
        return self._folder / f"{space}.lance"

    def _exists(self, space: str) -> bool:
        # A table is there from its first commit on; a writer killed before leaves a folder without one.
        limits.check_space_name(space)
        return any((self._table_folder(space) / "_versions").glob("*.manifest"))

    def _place(self, space: str) -> str:
        return f"{self._folder}/{space}"

    @staticmethod
    def _dimension(table: Any) -> int:
        return int(table.schema.field("vector").type.list_size)

    # Reading

    def _search(self, space: str, as_of: int, action: Callable[[View], _T]) -> _T:
        self._reconnect_after_fork()
        view = self._views.settled(space, as_of)
        if view is not None:
            try:
                return action(view)
            except (RowsMoved, *_LANCE_ERRORS):
                # Its version was vacuumed; what the generation shows is still there.
                self._views.forget(space)
        return self._read(space, lambda table: action(self._views.at(space, table)))

    def _read(self, space: str, action: Callable[[Any], _T]) -> _T:
        for _ in range(_READ_ATTEMPTS):
            table = self._latest(space)
            try:
                with self._errors(space):
                    return action(table)
            except RowsMoved:
                self._views.forget(space)
        raise Unavailable(
            f"the table was reorganised {_READ_ATTEMPTS} times during one read.",
            place=self._place(space),
            hint="Try again.",
        )

    def _pinned(self, space: str, version: int) -> Any:
        table = self._connection().open_table(space)
        table.checkout(version)
        return table

    def _select(self, space: str, table: Any, record_ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        layout = limits.check_columns(columns, self._dimension(table), place=self._place(space))
        ids = list(dict.fromkeys(record_ids))
        if not ids:
            return layout.empty_table()
        if len(ids) < _SCAN_INSTEAD_OF_FILTER:
            return table.search().where(_one_of(ids)).select(layout.names).to_arrow().cast(layout)
        wanted = pa.array(ids, pa.string())
        # `record_id` is read in any case; it is what the others are chosen by.
        reader = table.search().select(list({"record_id": None, **dict.fromkeys(layout.names)}))
        found = [
            batch.filter(pc.is_in(batch["record_id"], value_set=wanted)).select(layout.names)
            for batch in reader.to_batches(batch_size=_SCAN_ROWS)
        ]
        return pa.Table.from_batches([batch for batch in found if batch.num_rows], layout)

    def _stream(self, space: str, table: Any, layout: pa.Schema, where: str | None) -> Iterator[pa.RecordBatch]:
        with self._errors(space):
            reading = table.search().select(layout.names)
            if where:
                reading = reading.where(where)
            for batch in reading.to_batches(batch_size=_SCAN_ROWS):
                yield batch.select(layout.names).cast(layout)

    # Writing

    def _write(self, space: str, action: Callable[[Any], object]) -> None:
        self._latest(space)
        with self._errors(space), self._turn(space):
            despite_conflicts(lambda: action(self._latest(space)), place=self._place(space))

    def _known_ids(self, space: str) -> KnownIds:
        incarnation = self._latest(space).schema.metadata[INCARNATION]
        with self._lock:
            held = self._known.get(space)
            if held is None or held[0] != incarnation:
                held = self._known[space] = incarnation, KnownIds.of(incarnation)
            return held[1]

    def _turn(self, space: str) -> Any:
        return exclusive(self._folder / ".locks" / space, timeout=self._lock_timeout)

    def _sweep_dropped(self) -> None:
        for left in self._folder.glob(".dropped-*"):
            shutil.rmtree(left, ignore_errors=True)  # another sweep may be at it, too

    @contextmanager
    def _errors(self, space: str, *, may_lack: bool = False) -> Iterator[None]:
        place = self._place(space) if space else str(self._folder)
        try:
            yield
        except (RagwrightError, RowsMoved):
            raise
        except _LANCE_ERRORS as error:
            said = _said(error)
            if space and not may_lack and not self._exists(space):
                with self._lock:
                    self._tables.pop(space, None)
                raise limits.unknown_space(space, place=str(self._folder)) from error
            if is_disk_full(error) or "os error 122" in said:
                raise StorageFull(
                    f"no room left: {said}.", place=place, hint="Free some space and repeat the call."
                ) from error
            raise StoreError(
                f"LanceDB says: {said}.",
                place=place,
                hint="Check the folder and its permissions; ragwright reindex --full rebuilds a damaged space.",
            ) from error


def _put(table: Any, *, records: pa.Table, known: KnownIds) -> None:
    try:
        if known.lacks(table, records["record_id"]):
            table.add(records)
        else:
            merging = table.merge_insert("record_id").when_matched_update_all().when_not_matched_insert_all()
            merging.execute(records)
        known.took(table, records["record_id"])
    except BaseException:
        known.forget()
        raise


def _update_died(table: Any, *, where: str, died: int) -> None:
    table.update(where=where, values={"died": died})


def _delete(table: Any, *, where: str) -> None:
    table.delete(where)


def _one_of(record_ids: Sequence[str]) -> str:
    # In SQL a quote inside quotes is doubled, and nothing else is special.
    quoted = ",".join("'" + record_id.replace("'", "''") + "'" for record_id in record_ids)
    return f"record_id IN ({quoted})"


def _said(error: BaseException) -> str:
    """What LanceDB said, without the places in its own source."""
    return re.sub(r",? ?/[^\s,]+\.rs:\d+:\d+", "", str(error)).strip().rstrip(".")
