"""Carrying out a plan: embed and insert, then end, revive and delete; each batch noted once the store has taken it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import FOREVER, records_schema
from ragwright.embedding import Embedder, Vectors, embed_each
from ragwright.index import loading
from ragwright.index.attempt import Attempt
from ragwright.index.catalog import HEAD_TTL, Catalog, folder
from ragwright.index.plan import Op, Plan
from ragwright.progress import Progress, silent
from ragwright.stores import VectorStore
from ragwright.stores.limits import id_batches

_SLICE = 500
"""Records that one call ends, revives or removes. A store may need a request for each, and the call as a whole must
not outlast a third of the writer's lease (`lease.longest_request`): the lease is looked at between calls."""


@dataclass(frozen=True)
class Written:
    """What a stage did, its earlier tries included: texts embedded and their tokens, records written."""

    embedded: int = 0
    written: int = 0
    tokens: int = 0

    def __add__(self, other: Written) -> Written:
        """Sum of two stages."""
        return Written(self.embedded + other.embedded, self.written + other.written, self.tokens + other.tokens)


def write_partition(
    attempt: Attempt, partition: int, embedder: Embedder, *, batch: int, progress: Progress = silent
) -> Written:
    """Embed and insert what the plan takes from one staged partition.

    Embedding and writing overlap, and a batch's texts are on their way before the vectors of the last one are there, so
    that the encoder need not wait for us. A batch is begun when the last but one has been written: two are in memory at
    most. What an earlier try of this stage saw acknowledged is not sent again. A large first load is not sent but put
    into files (`loading`).

    Args:
        attempt: Planned.
        partition: Its number.
        embedder: Made the space's other vectors.
        batch: Chunks embedded and written together: what a kill can lose, and what memory holds, twice.
        progress: Told the chunks embedded.
    """
    chunks = attempt.table(f"chunks/{partition:05d}.parquet")
    inserts = attempt.inserts(partition)
    if len(inserts) < len(chunks):
        chunks = chunks.filter(pc.is_in(chunks["chunk_id"], inserts))
    whole = Written(len(chunks), len(chunks), pc.sum(chunks["tokens"]).as_py() or 0)
    bulk = loading.in_bulk(attempt)
    place = attempt.path(loading.note_folder(attempt) if bulk else "written")
    notes = [name for name in attempt.catalog.names(place) if re.fullmatch(rf"{partition:05d}-\d+\.txt", name)]
    if notes:
        ids = pc.binary_join_element_wise(chunks["chunk_id"], str(attempt.generation), ".")
        written = pa.array(_read_notes(attempt.catalog, place, notes), pa.string())
        chunks = chunks.filter(pc.invert(pc.is_in(ids, written)))
    earlier = loading.EarlierVectors(attempt, partition, chunks["chunk_id"])
    reused = chunks.filter(pc.is_in(chunks["chunk_id"], earlier.ids))
    whole = Written(whole.embedded - len(reused), whole.written, whole.tokens - (pc.sum(reused["tokens"]).as_py() or 0))
    done = whole.written - len(chunks)
    batches = [chunks.slice(offset, batch) for offset in range(0, len(chunks), batch)]
    with ThreadPoolExecutor(1, thread_name_prefix="store-writer") as executor:
        writes: list[Future[None]] = []

        def await_writes(count: int) -> None:
            for write in writes[:count]:
                write.result()

        def unknown_texts() -> Iterator[list[str]]:
            for number, taken in enumerate(batches):
                await_writes(max(0, number - 1))
                yield earlier.unknown(taken)["embed_text"].to_pylist()

        try:
            with closing(embed_each(embedder, unknown_texts(), kind="document")) as embedded:
                for taken, vectors in zip(batches, embedded, strict=True):
                    # By place among all of the partition's notes: none is written over, whatever size batches had.
                    name = f"{partition:05d}-{len(notes) + len(writes):05d}"
                    joined = earlier.joined(taken, vectors)
                    await_writes(len(writes))
                    writes.append(executor.submit(_insert, attempt, taken, joined, name, bulk=bulk))
                    done += len(taken)
                    progress("embedding", done, whole.written)
        finally:
            # Also when embedding failed: what is on its way must be known to have ended before the stage does.
            await_writes(len(writes))
    return whole


def _insert(attempt: Attempt, chunks: pa.Table, vectors: Vectors, name: str, *, bulk: bool) -> None:
    count, dimension = len(vectors), vectors.shape[1]
    generation = attempt.generation
    ids = pc.binary_join_element_wise(chunks["chunk_id"].combine_chunks(), str(generation), ".")
    columns = {name: chunks[name] for name in ("chunk_id", "row_key", "row", "part", "parts", "question", "text")}
    records = pa.table(
        {
            **columns,
            "record_id": ids,
            "born": pa.array(np.full(count, generation)),
            "died": pa.array(np.full(count, FOREVER)),
            "metadata": chunks["metadata"],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dimension),
        }
    )
    records = records.select(records_schema(dimension).names).cast(records_schema(dimension))
    if bulk:
        loading.write_file(attempt, records, name)
    else:
        attempt.send(lambda store: store.upsert(attempt.space, records))
    place = loading.note_folder(attempt) if bulk else "written"
    attempt.catalog.write(attempt.path(f"{place}/{name}.txt"), "\n".join(ids.to_pylist()).encode())


def acknowledged(catalog: Catalog, generation: int) -> list[str]:
    """Ids of the records that the store acknowledged to an attempt."""
    place = f"{folder(generation)}/written"
    return _read_notes(catalog, place, catalog.names(place))


def _read_notes(catalog: Catalog, place: str, names: Sequence[str]) -> list[str]:
    notes = (catalog.read(f"{place}/{name}") or b"" for name in names)
    return [line for note in notes for line in note.decode().splitlines()]


def retire(attempt: Attempt, progress: Progress = silent) -> Written:
    """Load what was put into files; end, revive, rewrite and delete records as planned. It may be repeated."""
    if loading.in_bulk(attempt):
        loading.load(attempt, progress)
        return Written()  # what else the space held is gone with it
    plan, space = Plan(attempt.planned(Op.REVIVE, Op.REWRITE, Op.MARK, Op.DELETE)), attempt.space
    if attempt.succeeds_abandoned and len(plan.operations):
        # A reader that saw the log just before the rollback may still be at the generation that was given up. To mark
        # again what that one had ended would show it there, too.
        time.sleep(HEAD_TTL + 1)
    written, total = 0, len(plan.operations)
    for ids in id_batches(plan.ids(Op.REWRITE), _SLICE):
        written += attempt.send(partial(_rewrite, space=space, ids=ids))
        progress("records ended", written, total)
    for op, died in ((Op.REVIVE, FOREVER), (Op.MARK, attempt.generation)):
        for ids in id_batches(plan.ids(op), _SLICE):
            attempt.send(partial(_mark, space=space, ids=ids, died=died))
            written += len(ids)
            progress("records ended", written, total)
    for ids in id_batches(plan.ids(Op.DELETE), _SLICE):
        attempt.send(partial(_delete, space=space, ids=ids))
        written += len(ids)
        progress("records ended", written, total)
    return Written(written=written)


def _rewrite(store: VectorStore, *, space: str, ids: Sequence[str]) -> int:
    records = store.fetch(space, ids)
    current = pa.array(np.full(len(records), FOREVER))
    store.upsert(space, records.set_column(records.schema.get_field_index("died"), "died", current))
    return len(records)


def _mark(store: VectorStore, *, space: str, ids: Sequence[str], died: int) -> None:
    store.mark(space, ids, died)


def _delete(store: VectorStore, *, space: str, ids: Sequence[str]) -> None:
    store.delete(space, ids)
