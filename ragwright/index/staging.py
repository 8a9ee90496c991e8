"""From the source to staged rows: what changed, what is unfit, and whether it is safe to go on.

Nothing here touches the vector store. Rows that the base generation already shows are passed by after hashing them;
only the others are kept (`rows/*.parquet`), cut (`chunks/*.parquet`) and later embedded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ragwright.chunking import MAX_SECTION_BYTES, TokenCounter, chunk_rows
from ragwright.documents import QUARANTINE, ROWS, row_hashes
from ragwright.errors import GuardRefused
from ragwright.index.attempt import MANIFEST, Attempt
from ragwright.progress import Progress, silent
from ragwright.quality import QualityGate, QualityReport, write_data_docs
from ragwright.settings import ChunkingSettings, QualitySettings
from ragwright.sources import Source
from ragwright.stores import MAX_METADATA_BYTES

STAGED = ROWS.append(pa.field("row_hash", pa.string()))
SOURCE = pa.schema([("row", pa.int64()), ("row_key", pa.string()), ("row_hash", pa.string())])

# Losing a few rows of a small FAQ is an edit, not an accident.
_HANDFUL = 5
# A section's own text and the record's numbers and ids share the store's limit with the row's columns.
_MAX_ROW_BYTES = MAX_METADATA_BYTES - MAX_SECTION_BYTES - 1_024


@dataclass(frozen=True)
class Ledger:
    """Where every source row went; the counts add up or the run fails.

    `source_rows = added + updated + unchanged + quarantined + failed`, and the live generation's rows are
    `updated + unchanged + removed`. A row that was live and is quarantined now counts as both quarantined and removed.
    """

    source_rows: int
    added: int
    updated: int
    unchanged: int
    removed: int
    quarantined: int
    failed: int = 0

    def to_json(self) -> dict[str, int]:
        """JSON-ready."""
        return asdict(self)

    @property
    def adds_up(self) -> bool:
        """Whether every source row is accounted for once."""
        return self.source_rows == self.added + self.updated + self.unchanged + self.quarantined + self.failed


@dataclass(frozen=True)
class Staged:
    """What `stage` found: the ledger, how many partitions have new rows, and what a person should know."""

    ledger: Ledger
    partitions: int
    notices: tuple[str, ...]
    quality: QualityReport


def stage(
    attempt: Attempt,
    source: Source,
    gate: QualityGate,
    settings: QualitySettings,
    *,
    partition_rows: int,
    data_docs: Path | None = None,
    allow_mass_delete: bool = False,
    progress: Progress = silent,
) -> Staged:
    """Read, hash, check and stage the source.

    Raises:
        SourceError: It cannot be read.
        QualityError: Too large a share of its rows is unfit, or all of them.
        GuardRefused: It lost more than half of the live rows, and nobody said that this is meant.
    """
    good: list[pa.Table] = []
    quarantined: list[pa.Table] = []
    warnings: list[pa.Table] = []
    partitions = 0
    fresh = _Coalescer(partition_rows)
    for partition in source.partitions():
        checked = gate.check(partition.rows, partition.rejected)
        kept, oversized = _split_oversized(checked.good)
        quarantined += [checked.quarantined, oversized]
        warnings.append(checked.warnings)
        staged = kept.append_column("row_hash", pa.array(row_hashes(kept), pa.string())).cast(STAGED)
        good.append(staged.select(SOURCE.names))
        for full in fresh.add(staged.filter(pc.invert(_shown_by(attempt.base_manifest, staged)))):
            partitions = _write_rows(attempt, partitions, full)
        progress("reading rows", sum(map(len, good)), None)
    for rest in fresh.rest():
        partitions = _write_rows(attempt, partitions, rest)
    rows = pa.concat_tables(good)
    bad = pa.concat_tables(quarantined).sort_by("row")
    attempt.catalog.write_table(attempt.path("source.parquet"), rows)
    attempt.catalog.write_table(attempt.path("quarantine.parquet"), bad)
    attempt.catalog.write_table(attempt.path("warnings.parquet"), pa.concat_tables(warnings))
    quality = gate.finish()
    if data_docs is not None:
        write_data_docs(quality, data_docs, name=f"generation {attempt.generation}", keep=settings.keep_runs)
    quality.enforce(settings)
    ledger = _account(attempt, rows, source_rows=quality.records, quarantined=len(bad))
    _refuse_mass_delete(attempt, ledger, allowed=allow_mass_delete)
    return Staged(ledger, partitions, tuple(source.notices), quality)


def chunk_partition(attempt: Attempt, partition: int, counter: TokenCounter, settings: ChunkingSettings) -> int:
    """Cut one staged partition; returns the number of chunks."""
    rows = attempt.table(f"rows/{partition:05d}.parquet")
    chunks = chunk_rows(rows.select(ROWS.names), counter, settings)
    place = pc.index_in(chunks["row"], rows["row"].combine_chunks())
    chunks = chunks.append_column("row_hash", pc.take(rows["row_hash"].combine_chunks(), place))
    attempt.catalog.write_table(attempt.path(f"chunks/{partition:05d}.parquet"), chunks)
    return len(chunks)


def desired_lines(attempt: Attempt, partitions: int) -> pa.Table:
    """The new generation's manifest but for the records' ids: one line a chunk, in the source's order.

    Lines of unchanged rows come from the base's manifest, with the row's number of today.
    """
    rows = attempt.table("source.parquet")
    columns = ["row", "row_key", "row_hash", "part", "parts", "chunk_id"]
    lines = [
        attempt.table(f"chunks/{number:05d}.parquet", columns=columns).select(columns) for number in range(partitions)
    ]
    base = attempt.base_manifest
    if base is not None and len(base):
        place = pc.index_in(base["row_hash"], rows["row_hash"].combine_chunks())
        same_key = pc.equal(pc.take(rows["row_key"].combine_chunks(), place), base["row_key"])
        unchanged = base.filter(pc.fill_null(same_key, False))
        numbers = pc.take(rows["row"].combine_chunks(), pc.drop_null(place.filter(pc.fill_null(same_key, False))))
        lines.append(unchanged.set_column(0, "row", numbers).select(columns))
    schema = pa.schema([MANIFEST.field(name) for name in columns])
    table = pa.concat_tables([line.cast(schema) for line in lines]) if lines else schema.empty_table()
    return table.sort_by([("row", "ascending"), ("part", "ascending")])


def _shown_by(manifest: pa.Table | None, rows: pa.Table) -> pa.ChunkedArray:
    """Which rows a generation shows as they are: bool [len(rows)]."""
    if manifest is None:
        return pa.chunked_array([pa.array([False] * len(rows), pa.bool_())])
    place = pc.index_in(rows["row_hash"], manifest["row_hash"].combine_chunks())
    return pc.fill_null(pc.equal(pc.take(manifest["row_key"].combine_chunks(), place), rows["row_key"]), False)


def _account(attempt: Attempt, rows: pa.Table, *, source_rows: int, quarantined: int) -> Ledger:
    live = attempt.live_manifest
    if live is None:
        return Ledger(source_rows, len(rows), 0, 0, 0, quarantined)
    live_rows = live.filter(pc.equal(live["part"], 0))
    unchanged = pc.sum(_shown_by(live_rows, rows)).as_py() or 0
    known = pc.sum(pc.is_in(rows["row_key"], live_rows["row_key"].combine_chunks())).as_py() or 0
    return Ledger(
        source_rows=source_rows,
        added=len(rows) - known,
        updated=known - unchanged,
        unchanged=unchanged,
        removed=len(live_rows) - known,
        quarantined=quarantined,
    )


def _refuse_mass_delete(attempt: Attempt, ledger: Ledger, *, allowed: bool) -> None:
    before = ledger.updated + ledger.unchanged + ledger.removed
    if not allowed and ledger.removed > max(before / 2, _HANDFUL):
        raise GuardRefused(
            f"the source lost {ledger.removed} of the {before} rows that are live ({ledger.source_rows} rows read)",
            place=attempt.begin.source,
            hint="If that is meant, run again with --allow-mass-delete. Readers still see the live generation.",
        )


def _split_oversized(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rows a store can keep, and the others as quarantine: text is never trimmed to fit."""
    size = pc.add(pc.binary_length(rows["question"]), pc.binary_length(rows["metadata"]))
    fits = pc.less_equal(size, _MAX_ROW_BYTES)
    if pc.all(fits).as_py() is not False:
        return rows, QUARANTINE.empty_table()
    large = rows.filter(pc.invert(fits)).to_pylist()
    found = [
        {
            "row": row["row"],
            "row_key": row["row_key"],
            "column": "metadata",
            "rule": "metadata_bytes",
            "value": row["metadata"][:80],
            "detail": f"question and other columns take {len((row['question'] + row['metadata']).encode())} bytes; "
            f"a vector store keeps at most {_MAX_ROW_BYTES} beside a section",
        }
        for row in large
    ]
    return rows.filter(fits), pa.Table.from_pylist(found, schema=QUARANTINE)


def _write_rows(attempt: Attempt, number: int, rows: pa.Table) -> int:
    attempt.catalog.write_table(attempt.path(f"rows/{number:05d}.parquet"), rows)
    return number + 1


class _Coalescer:
    """Turns few changed rows of many partitions into full partitions, so that a small change is one stage."""

    def __init__(self, size: int) -> None:
        self._size, self._waiting, self._count = size, list[pa.Table](), 0

    def add(self, rows: pa.Table) -> Iterator[pa.Table]:
        self._waiting.append(rows)
        self._count += len(rows)
        while self._count >= self._size:
            table = pa.concat_tables(self._waiting)
            yield table.slice(0, self._size)
            self._waiting, self._count = [table.slice(self._size)], self._count - self._size

    def rest(self) -> Iterable[pa.Table]:
        return [pa.concat_tables(self._waiting)] if self._count else []
