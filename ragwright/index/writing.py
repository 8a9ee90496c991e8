"""Carrying out a plan: embed and insert, then end, revive and delete; each batch noted once the store has taken it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import FOREVER, records_schema
from ragwright.embedding import Embedder, Vectors
from ragwright.index.attempt import Attempt
from ragwright.index.catalog import HEAD_TTL, Catalog, folder
from ragwright.index.plan import Op
from ragwright.progress import Progress, silent
from ragwright.stores import VectorStore


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

    Embedding the next batch and writing the last one overlap; two batches are in memory at most. What an earlier try of
    this stage saw acknowledged is not sent again.

    Args:
        attempt: Planned.
        partition: Its number.
        embedder: Made the space's other vectors.
        batch: Chunks embedded and written together: what a kill can lose, and what memory holds, twice.
        progress: Told the chunks embedded.
    """
    chunks = attempt.table(f"chunks/{partition:05d}.parquet")
    chunks = chunks.filter(pc.is_in(chunks["chunk_id"], attempt.plan.of(Op.INSERT)["chunk_id"].combine_chunks()))
    whole = Written(len(chunks), len(chunks), pc.sum(chunks["tokens"]).as_py() or 0)
    notes = [name for name in _notes(attempt.catalog, attempt.generation) if name.startswith(f"{partition:05d}-")]
    if notes:
        ids = pc.binary_join_element_wise(chunks["chunk_id"], str(attempt.generation), ".")
        written = pa.array(_read_notes(attempt.catalog, attempt.generation, notes), pa.string())
        chunks = chunks.filter(pc.invert(pc.is_in(ids, written)))
    done = whole.embedded - len(chunks)
    with ThreadPoolExecutor(1, thread_name_prefix="store-writer") as executor:
        under_way: Future[None] | None = None
        try:
            for offset in range(0, len(chunks), batch):
                taken = chunks.slice(offset, batch)
                vectors = embedder.embed(taken["embed_text"].to_pylist(), kind="document")
                done += len(taken)
                if under_way:
                    under_way.result()
                # Named by place among all of the partition's notes: none is written over, whatever size batches had.
                note = f"{partition:05d}-{len(notes) + offset // batch:05d}.txt"
                under_way = executor.submit(_insert, attempt, taken, vectors, note)
                progress("embedding", done, whole.embedded)
        finally:
            # Also when embedding failed: what is on its way must be known to have ended before the stage does.
            if under_way:
                under_way.result()
    return whole


def _insert(attempt: Attempt, chunks: pa.Table, vectors: Vectors, note: str) -> None:
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
    attempt.send(lambda store: store.upsert(attempt.space, records))
    attempt.catalog.write(attempt.path(f"written/{note}"), "\n".join(ids.to_pylist()).encode())


def acknowledged(catalog: Catalog, generation: int) -> list[str]:
    """Ids of the records that the store acknowledged to an attempt."""
    return _read_notes(catalog, generation, _notes(catalog, generation))


def _notes(catalog: Catalog, generation: int) -> list[str]:
    return catalog.names(f"{folder(generation)}/written")


def _read_notes(catalog: Catalog, generation: int, names: Sequence[str]) -> list[str]:
    notes = (catalog.read(f"{folder(generation)}/written/{name}") or b"" for name in names)
    return [line for note in notes for line in note.decode().splitlines()]


def retire(attempt: Attempt) -> Written:
    """End, revive, rewrite and delete records as planned; repeating it changes nothing."""
    plan, space = attempt.plan, attempt.space
    if attempt.succeeds_abandoned and plan.ids(Op.REVIVE, Op.REWRITE, Op.MARK, Op.DELETE):
        # A reader that saw the log just before the rollback may still be at the generation that was given up. To mark
        # again what that one had ended would show it there, too.
        time.sleep(HEAD_TTL + 1)
    written = 0
    rewrites = plan.ids(Op.REWRITE)
    if rewrites:
        records = attempt.store.fetch(space, rewrites)
        current = pa.array(np.full(len(records), FOREVER))
        revived = records.set_column(records.schema.get_field_index("died"), "died", current)
        attempt.send(lambda store: store.upsert(space, revived))
        written += len(records)
    for ids, died in ((plan.ids(Op.REVIVE), FOREVER), (plan.ids(Op.MARK), attempt.generation)):
        if ids:
            attempt.send(partial(_mark, space=space, ids=ids, died=died))
            written += len(ids)
    doomed = plan.ids(Op.DELETE)
    if doomed:
        attempt.send(lambda store: store.delete(space, doomed))
        written += len(doomed)
    return Written(written=written)


def _mark(store: VectorStore, *, space: str, ids: Sequence[str], died: int) -> None:
    store.mark(space, ids, died)
