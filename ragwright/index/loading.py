"""A first load so large that the store fetches it by itself, from Parquet files in the catalog's bucket.

The files are written while the run embeds, one a batch, and a note of its ids beside each: whatever has a note need not
be embedded again, by this attempt or the next, whether or not the load it was made for ever ended. Once all are there
the store is told to load them, and the run waits. A load goes on when the run that started it dies; the next run waits
for it and keeps what it brought.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.embedding import Vectors
from ragwright.errors import ConfigurationError, StoreError
from ragwright.index.attempt import Attempt
from ragwright.index.catalog import Catalog, folder
from ragwright.index.plan import Op
from ragwright.progress import Progress, silent
from ragwright.stores import BulkLoad, BulkLoader, VectorStore, nearest

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 10.0  # seconds between two looks at a load
_WANTED_AS_IT_IS = (Op.KEEP, Op.REVIVE, Op.REWRITE, Op.MARK, Op.LOST)


def in_bulk(attempt: Attempt) -> bool:
    """Whether the attempt's records go by way of files: it is told to, the store can, and nothing else is in the space.

    To load replaces all that a space holds, so it is for spaces that no reader has ever seen and of which the plan
    wants nothing as it is.
    """
    rows = attempt.bulk.bulk_import_rows
    if rows is None or attempt.begin.base or attempt.succeeds_abandoned or _loader(attempt) is None:
        return False
    counts = attempt.outline.counts
    return counts[Op.INSERT] > rows and not any(counts[op] for op in _WANTED_AS_IT_IS)


def note_folder(attempt: Attempt) -> str:
    """Where the notes of a load's files are, beside these."""
    return f"import/{attempt.space}"


def write_file(attempt: Attempt, records: pa.Table, name: str) -> None:
    """Put a batch where the store will find it."""
    attempt.guard()
    data = _needed(attempt.store).load_file(attempt.space, records)
    attempt.catalog.write(attempt.path(f"{note_folder(attempt)}/{name}.parquet"), data)


def load(attempt: Attempt, progress: Progress = silent) -> None:
    """Let the store load what was written, and wait; repeating it goes on waiting.

    Raises:
        StoreError: The load failed, was cancelled, or brought another number of records than were written.
        LeaseLost: Others may be writing; the load goes on, and the next run will wait for it.
    """
    url, space = _url(attempt.catalog, attempt.generation), attempt.space
    expected = attempt.outline.counts[Op.INSERT]

    def under_way(store: VectorStore) -> BulkLoad | None:
        return next((found for found in _needed(store).loads(url) if found.state in ("running", "done")), None)

    def join_or_start(store: VectorStore) -> BulkLoad:
        # A start whose acknowledgement was lost is among those under way.
        access = attempt.bulk.bulk_import_integration
        return under_way(store) or _needed(store).start_load(space, url, access=access)

    if under_way(attempt.store) is None:
        attempt.send(lambda store: store.drop_space(space))
    ended = _await(
        attempt,
        attempt.send(join_or_start),
        lambda found: progress("records imported", _records_so_far(found, expected), expected),
    )
    if ended.state != "done" or ended.records != expected:
        raise StoreError(
            f"load {ended.id!r} of {url} is {ended.state}: {ended.records} of {expected} records"
            + (f", {ended.error}." if ended.error else "."),
            place=f"space {attempt.space!r}",
            hint="Nothing was published. Mend the cause and run again: nothing is embedded a second time.",
        )


def settle(attempt: Attempt) -> None:
    """Wait until no load of an earlier attempt is under way in the space, so that none changes it any more."""
    if _loader(attempt) is None:
        return
    for number, _ in attempt.earlier:
        for found in _loads(attempt, number):
            if found.state == "running":
                log.info("waiting for load %s, which generation %d started", found.id, number)
                _await(attempt, found, _log)


def loaded(attempt: Attempt, number: int) -> list[str]:
    """Ids of the records that a load of an earlier attempt brought; none if it did not bring them all."""
    brought = max((found.records for found in _loads(attempt, number) if found.state == "done"), default=0)
    if not brought:
        return []
    place = f"{folder(number)}/{note_folder(attempt)}"
    notes = (attempt.catalog.read(f"{place}/{name}") for name in attempt.catalog.names(place) if name.endswith(".txt"))
    ids = [record_id for note in notes for record_id in (note or b"").decode().splitlines()]
    return ids if len(ids) == brought else []


class EarlierVectors:
    """What earlier attempts embedded for a load that brought nothing, for the sections of one partition.

    Looked for in the files of the same partition and its neighbours: where rows came or went, partitions have shifted.

    Args:
        attempt: Planned.
        partition: Its number.
        wanted: Chunk ids.

    Attributes:
        ids: Chunk ids of those that need not be embedded.
    """

    def __init__(self, attempt: Attempt, partition: int, wanted: pa.ChunkedArray) -> None:
        self._found: dict[str, Vectors] = {}
        self._look(attempt, partition, wanted)
        self.ids = pa.array(list(self._found), pa.string())

    def unknown(self, chunks: pa.Table) -> pa.Table:
        """Those sections that are to be embedded."""
        return chunks.filter(pc.invert(pc.is_in(chunks["chunk_id"], self.ids)))

    def joined(self, chunks: pa.Table, embedded: Vectors) -> Vectors:
        """The vectors of sections, in their order, float32 [n, dimension], given those of the unknown among them."""
        if len(embedded) == len(chunks):
            return embedded
        new = iter(embedded)
        return np.stack(
            [self._found[one] if one in self._found else next(new) for one in chunks["chunk_id"].to_pylist()]
        )

    def _look(self, attempt: Attempt, partition: int, wanted: pa.ChunkedArray) -> None:
        loader = _loader(attempt)
        if loader is None:
            return
        missing = set(wanted.to_pylist())
        for path in _notes_near(attempt, partition):
            if not missing:
                return
            note = (attempt.catalog.read(path) or b"").decode().splitlines()
            if missing.isdisjoint(record_id.rpartition(".")[0] for record_id in note):
                continue
            data = attempt.catalog.read(path.removesuffix(".txt") + ".parquet")
            if data is None:
                continue
            records = loader.file_records(data)
            vectors = nearest.matrix(records["vector"], records.schema.field("vector").type.list_size)
            for chunk_id, vector in zip(records["chunk_id"].to_pylist(), vectors, strict=True):
                if chunk_id in missing:
                    self._found[chunk_id] = vector
                    missing.discard(chunk_id)


def _loader(attempt: Attempt) -> BulkLoader | None:
    """The store, if it can load and the files are where it can get at them."""
    on_s3 = attempt.catalog.location.startswith("s3://")
    return attempt.store if on_s3 and isinstance(attempt.store, BulkLoader) else None


def _needed(store: VectorStore) -> BulkLoader:
    if not isinstance(store, BulkLoader):
        raise ConfigurationError(f"{store!r} cannot load files by itself.", hint="Unset pinecone.bulk_import_rows.")
    return store


def _url(catalog: Catalog, generation: int) -> str:
    return f"{catalog.location.rstrip('/')}/{catalog.index}/{folder(generation)}/import"


def _loads(attempt: Attempt, number: int) -> list[BulkLoad]:
    """The loads of an earlier attempt's files, the newest first."""
    loader = _loader(attempt)
    if loader is None or not attempt.catalog.names(f"{folder(number)}/{note_folder(attempt)}"):
        return []
    return loader.loads(_url(attempt.catalog, number))


def _notes_near(attempt: Attempt, partition: int) -> Iterator[str]:
    """Notes of earlier attempts' files, the newest attempt and the partition itself first."""
    for number, _ in reversed(attempt.earlier):
        place = f"{folder(number)}/{note_folder(attempt)}"
        names = [name for name in attempt.catalog.names(place) if name.endswith(".txt")]
        for near in (partition, partition - 1, partition + 1):
            yield from (f"{place}/{name}" for name in names if name.startswith(f"{near:05d}-"))


def _await(attempt: Attempt, found: BulkLoad, tell: Callable[[BulkLoad], None]) -> BulkLoad:
    """How a load ended; tells of every look at it."""
    loader, pause = _needed(attempt.store), _FIRST_PAUSE
    while found.state == "running":
        tell(found)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        attempt.guard()
        found = loader.load(found.id)
    tell(found)
    return found


def _records_so_far(found: BulkLoad, expected: int) -> int:
    """What is imported; by the store's percentage while it counts no records yet."""
    if found.state != "running":
        return found.records
    return min(expected, max(found.records, int(expected * found.percent / 100)))


def _log(found: BulkLoad) -> None:
    log.info("load %s is %s: %.0f %%, %d records", found.id, found.state, found.percent, found.records)
