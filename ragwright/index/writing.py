"""Carrying out a plan: embed and insert, then end, revive and delete; each batch noted once the store has taken it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import FOREVER, records_schema
from ragwright.embedding import Embedder, Vectors
from ragwright.index.attempt import Attempt
from ragwright.index.catalog import HEAD_TTL, Catalog, folder
from ragwright.index.plan import Op
from ragwright.progress import Progress, silent

BATCH = 1_000
"""Chunks embedded and written together: what a kill can lose, and what memory holds twice."""


@dataclass(frozen=True)
class Written:
    """What a stage did: texts embedded and their tokens, records written."""

    embedded: int = 0
    written: int = 0
    tokens: int = 0

    def __add__(self, other: Written) -> Written:
        """Sum of two stages."""
        return Written(self.embedded + other.embedded, self.written + other.written, self.tokens + other.tokens)


def write_partition(attempt: Attempt, partition: int, embedder: Embedder, *, progress: Progress = silent) -> Written:
    """Embed and insert what the plan takes from one staged partition.

    Embedding the next batch and writing the last one overlap; two batches are in memory at most. Batches that an
    earlier try of this stage saw acknowledged are not sent again.
    """
    done = set(attempt.catalog.names(f"{folder(attempt.generation)}/written"))
    inserts = attempt.plan.of(Op.INSERT)["chunk_id"].combine_chunks()
    chunks = attempt.table(f"chunks/{partition:05d}.parquet")
    chunks = chunks.filter(pc.is_in(chunks["chunk_id"], inserts))
    total, embedded, written, tokens = len(chunks), 0, 0, 0
    with ThreadPoolExecutor(1, thread_name_prefix="store-writer") as executor:
        under_way: Future[int] | None = None
        try:
            for number, batch in enumerate(_batches(chunks)):
                note = f"{partition:05d}-{number:05d}.txt"
                if note in done:
                    continue
                vectors = embedder.embed(batch["embed_text"].to_pylist(), kind="document")
                embedded += len(batch)
                tokens += pc.sum(batch["tokens"]).as_py()
                if under_way:
                    written += under_way.result()
                under_way = executor.submit(_insert, attempt, batch, vectors, note)
                progress("embedding", embedded, total)
        finally:
            # Also when embedding failed: what is on its way must be known to have ended before the stage does.
            if under_way:
                written += under_way.result()
    return Written(embedded, written, tokens)


def _batches(chunks: pa.Table) -> Iterator[pa.Table]:
    for offset in range(0, len(chunks), BATCH):
        yield chunks.slice(offset, BATCH)


def _insert(attempt: Attempt, chunks: pa.Table, vectors: Vectors, note: str) -> int:
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
    attempt.guard()
    attempt.store.upsert(attempt.space, records.select(records_schema(dimension).names).cast(records_schema(dimension)))
    attempt.catalog.write(attempt.path(f"written/{note}"), "\n".join(ids.to_pylist()).encode())
    return count


def acknowledged(catalog: Catalog, generation: int) -> list[str]:
    """Ids of the records that the store acknowledged to an attempt."""
    place = f"{folder(generation)}/written"
    notes = (catalog.read(f"{place}/{name}") or b"" for name in catalog.names(place))
    return [line for note in notes for line in note.decode().splitlines()]


def retire(attempt: Attempt) -> Written:
    """End, revive, rewrite and delete records as planned; repeating it changes nothing."""
    plan, store, space = attempt.plan, attempt.store, attempt.space
    if attempt.follows_rollback and plan.ids(Op.REVIVE, Op.REWRITE, Op.DELETE):
        # A reader that saw the log just before the rollback may still read what these records showed then.
        time.sleep(HEAD_TTL + 1)
    written = 0
    rewrites = plan.ids(Op.REWRITE)
    if rewrites:
        records = store.fetch(space, rewrites)
        current = pa.array(np.full(len(records), FOREVER))
        attempt.guard()
        store.upsert(space, records.set_column(records.schema.get_field_index("died"), "died", current))
        written += len(records)
    for ids, died in ((plan.ids(Op.REVIVE), FOREVER), (plan.ids(Op.MARK), attempt.generation)):
        if ids:
            attempt.guard()
            store.mark(space, ids, died)
            written += len(ids)
    doomed = plan.ids(Op.DELETE)
    if doomed:
        attempt.guard()
        store.delete(space, doomed)
        written += len(doomed)
    return Written(written=written)
