"""From the source to staged rows: what changed, what is unfit, and whether it is safe to go on.

Nothing here touches the vector store. If the file's bytes are those of the live generation, or else its rows once they
are read and hashed, that generation's verdicts hold and that is all. Otherwise a second reading checks the rows, counts
their terms, and stages (`rows/*.parquet`) those that the base generation does not show as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ragwright.chunking import MAX_SECTION_BYTES, TokenCounter, chunk_rows
from ragwright.documents import QUARANTINE, ROWS, Rejected, row_hashes
from ragwright.errors import CatalogError, GuardRefused, SourceError
from ragwright.index.attempt import MANIFEST, Attempt, manifest_of
from ragwright.index.catalog import folder
from ragwright.index.corpus import TermCounter
from ragwright.progress import Progress, silent
from ragwright.quality import QualityGate, write_data_docs
from ragwright.settings import ChunkingSettings, QualitySettings
from ragwright.sources import Partition, Source
from ragwright.sources.location import named
from ragwright.stores import MAX_METADATA_BYTES

STAGED = ROWS.append(pa.field("row_hash", pa.string()))
UNFIT = QUARANTINE.append(pa.field("row_hash", pa.string()))
"""Quarantine with what the row was, so that it is known again once it is mended; null where it could not be read."""
SOURCE = pa.schema([("row", pa.int64()), ("row_key", pa.string()), ("row_hash", pa.string())])

# Losing a few rows of a small FAQ is an edit, not an accident.
_HANDFUL = 5
# Rows that are known are checked in larger partitions, of this much text.
_CHECKED_BYTES = 2**25
# A section's own text and the record's numbers and ids share the store's limit with the row's columns.
_MAX_ROW_BYTES = MAX_METADATA_BYTES - MAX_SECTION_BYTES - 1_024


@dataclass(frozen=True)
class Ledger:
    """Where every source row went; the counts add up or the run fails.

    `source_rows = added + updated + unchanged + quarantined + failed`, and the live generation's rows are
    `updated + unchanged + removed`. A row that was live and is quarantined now counts as quarantined and as removed.
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

    def check(self, live_rows: int) -> None:
        """Refuse counts that do not add up.

        Raises:
            CatalogError: A row was lost or counted twice, which is a defect of ragwright.
        """
        accounted = self.added + self.updated + self.unchanged + self.quarantined + self.failed
        before = self.updated + self.unchanged + self.removed
        if accounted != self.source_rows or before != live_rows:
            raise CatalogError(
                f"the ledger does not add up: {self.source_rows} source rows, {accounted} accounted for; "
                f"{live_rows} live rows, {before} accounted for",
                hint="Nothing was published. This is a defect of ragwright; please report it with the source's shape.",
            )


@dataclass(frozen=True)
class Staged:
    """What `stage` found.

    Attributes:
        ledger: Every source row.
        partitions: How many partitions of new rows were staged.
        notices: What a person should know of how the source was read.
        quarantined: Quarantined rows by rule.
        warnings: Warnings by rule.
    """

    ledger: Ledger
    partitions: int
    notices: tuple[str, ...]
    quarantined: dict[str, int]
    warnings: dict[str, int]


@dataclass(frozen=True)
class StageOptions:
    """How a source is staged: thresholds, size of a partition, where Data Docs go (None: nowhere), the guard."""

    quality: QualitySettings
    partition_rows: int
    data_docs: Path | None = None
    allow_mass_delete: bool = False


def stage(
    attempt: Attempt,
    source: Source,
    make_gate: Callable[[], QualityGate],
    options: StageOptions,
    *,
    progress: Progress = silent,
) -> Staged:
    """Read, hash, check and stage the source.

    Raises:
        SourceError: It cannot be read, or changes meanwhile.
        QualityError: Too large a share of its rows is unfit, or all of them.
        GuardRefused: It lost more than half of the live rows, and nobody said that this is meant.
    """
    before = {} if attempt.damage else _live_source(attempt)
    facts: dict[str, Any] = {"file": source.digest()}
    if facts["file"] == before.get("file"):
        facts = before
    else:
        facts["digest"], facts["records"] = _fingerprint(source, progress)
        # Or a later run would take these rows for those of the file's other bytes.
        if source.digest() != facts["file"]:
            raise _changed(source)
    same = facts["digest"] == before.get("digest")
    facts["same_as"] = attempt.begin.live if same else 0
    attempt.catalog.write_json(attempt.path("source.json"), facts)
    if same:
        return _restage_live(attempt, facts["records"], source)
    return _Pass(attempt, source, make_gate(), options).run(facts["digest"], facts["records"], progress)


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
    columns = ["row", "row_key", "row_hash", "part", "parts", "chunk_id"]
    if attempt.same_as:
        return manifest_of(attempt.catalog, attempt.same_as).select(columns)
    rows = attempt.table("source.parquet")
    lines = [
        attempt.table(f"chunks/{number:05d}.parquet", columns=columns).select(columns) for number in range(partitions)
    ]
    base = attempt.base_manifest
    if base is not None and len(base):
        place = pc.index_in(base["row_hash"], rows["row_hash"].combine_chunks())
        same = pc.fill_null(pc.equal(pc.take(rows["row_key"].combine_chunks(), place), base["row_key"]), False)
        same = pc.and_(same, pc.invert(attempt.damage.concerns(base)))
        numbers = pc.take(rows["row"].combine_chunks(), place.filter(same))
        lines.append(base.filter(same).set_column(0, "row", numbers).select(columns))
    schema = pa.schema([MANIFEST.field(name) for name in columns])
    table = pa.concat_tables([line.cast(schema) for line in lines]) if lines else schema.empty_table()
    return table.sort_by([("row", "ascending"), ("part", "ascending")])


class _Pass:
    """The second reading: check, count, and stage what is new."""

    def __init__(self, attempt: Attempt, source: Source, gate: QualityGate, options: StageOptions) -> None:
        self._attempt, self._source, self._gate, self._options = attempt, source, gate, options
        self._fresh = _Coalescer(options.partition_rows)
        self._terms = TermCounter()
        self._partitions = 0
        begin, catalog = attempt.begin, attempt.catalog
        # Rows that the live generation shows passed the same rules before, if it was checked by the same.
        self._trusting = bool(begin.live) and catalog.begin_of(begin.live).rules == begin.rules
        self._live = _rows_of(attempt.live_manifest if self._trusting else None)
        self._base = self._live if self._trusting and begin.live == begin.base else _rows_of(attempt.base_manifest)

    def run(self, expected: str, records: int, progress: Progress) -> Staged:
        good, quarantined, warnings = [], [], []
        digest = _Digest()
        partitions = self._source.partitions()
        for partition in _merged(partitions) if self._trusting else partitions:
            hashes = row_hashes(partition.rows)
            digest.add(partition, hashes)
            rows = partition.rows.append_column("row_hash", pa.array(hashes, pa.string())).cast(STAGED)
            trusted = _shown_by(self._live, rows)
            shown = trusted if self._base is self._live else _shown_by(self._base, rows)
            rows = rows.append_column("shown", pc.and_(shown, pc.invert(self._attempt.damage.concerns(rows))))
            checked = self._gate.check(
                partition.rows, partition.rejected, trusted=trusted.to_numpy(zero_copy_only=False)
            )
            kept, oversized = _split_oversized(rows.filter(pc.is_in(rows["row"], checked.good["row"].combine_chunks())))
            good.append(kept.select(SOURCE.names))
            quarantined += [_hashed(checked.quarantined, rows), _hashed(oversized, rows)]
            warnings.append(checked.warnings)
            self._terms.add(kept)
            self._stage(self._fresh.add(kept.filter(pc.invert(kept["shown"])).select(STAGED.names)))
            progress("checking rows", digest.records, records)
        self._stage(self._fresh.rest())
        if digest.value != expected:
            raise _changed(self._source)
        bad = pa.concat_tables(quarantined).sort_by("row")
        return self._conclude(pa.concat_tables(good), bad, pa.concat_tables(warnings))

    def _conclude(self, rows: pa.Table, quarantined: pa.Table, warnings: pa.Table) -> Staged:
        attempt, options = self._attempt, self._options
        attempt.catalog.write_table(attempt.path("source.parquet"), rows)
        attempt.catalog.write_table(attempt.path("quarantine.parquet"), quarantined)
        attempt.catalog.write_table(attempt.path("warnings.parquet"), warnings)
        attempt.catalog.write_table(attempt.path("statistics.parquet"), self._terms.statistics().to_table())
        # Rows too large for a store passed the gate; for the rest they are as unfit as the others.
        quality = replace(
            self._gate.finish(),
            good=len(rows),
            quarantined=len(quarantined),
            by_rule=_by_rule(quarantined),
            examples=tuple(Rejected(**bad) for bad in quarantined.select(QUARANTINE.names).slice(0, 20).to_pylist()),
        )
        if options.data_docs is not None:
            write_data_docs(
                quality,
                options.data_docs,
                name=f"generation {attempt.generation}",
                keep=options.quality.keep_runs,
                copy=lambda page: attempt.catalog.write(attempt.path("quality.html"), page),
            )
        quality.enforce(options.quality, place=self._source.place)
        ledger = _account(attempt, rows, source_rows=quality.records, quarantined=len(quarantined))
        _refuse_mass_delete(attempt, ledger, allowed=options.allow_mass_delete)
        notices, by_rule = tuple(self._source.notices), dict(quality.by_rule)
        return Staged(ledger, self._partitions, notices, by_rule, _by_rule(warnings))

    def _stage(self, tables: Iterable[pa.Table]) -> None:
        for table in tables:
            self._attempt.catalog.write_table(self._attempt.path(f"rows/{self._partitions:05d}.parquet"), table)
            self._partitions += 1


class _Digest:
    """Stands for every record of a source, in order: two readings with the same one have read the same."""

    def __init__(self) -> None:
        # Two, because a partition has its rows and its rejected records apart, and its bounds must not matter.
        self._rows, self._rejected = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
        self.records = 0

    def add(self, partition: Partition, hashes: Sequence[str]) -> None:
        """Take in a partition and the hashes of its rows."""
        keys = zip(hashes, partition.rows["row_key"].to_pylist(), strict=True)
        self._rows.update("".join([f"{one}{len(key)}:{key}" for one, key in keys]).encode())
        rejected = [f"{bad.row} {bad.rule} {bad.value}\n" for bad in partition.rejected]
        self._rejected.update("".join(rejected).encode("utf-8", "surrogatepass"))
        self.records += partition.records

    @property
    def value(self) -> str:
        return self._rows.hexdigest() + self._rejected.hexdigest()


def _fingerprint(source: Source, progress: Progress) -> tuple[str, int]:
    """A digest of every record in order, and the number of records."""
    digest = _Digest()
    for partition in source.partitions():
        digest.add(partition, row_hashes(partition.rows))
        progress("reading rows", digest.records, None)
    return digest.value, digest.records


def _changed(source: Source) -> SourceError:
    return SourceError(
        "the source changed while it was read",
        place=source.place,
        hint="Run again once nobody writes it; replace a file by renaming a finished one to its name.",
    )


def _live_source(attempt: Attempt) -> dict[str, Any]:
    """What was read for the live generation, if it was checked by the same rules and lives in this space."""
    live = attempt.begin.live
    if not live or live != attempt.begin.base or attempt.catalog.begin_of(live).rules != attempt.begin.rules:
        return {}
    return attempt.catalog.read_json(f"{folder(live)}/source.json") or {}


def _restage_live(attempt: Attempt, records: int, source: Source) -> Staged:
    """Take over the live generation's verdicts on the same source."""
    live = attempt.begin.live
    for name in ("quarantine.parquet", "warnings.parquet", "statistics.parquet"):
        if not attempt.catalog.copy(f"{folder(live)}/{name}", attempt.path(name)):
            raise CatalogError(f"{name!r} of generation {live} is missing", place=attempt.catalog.location)
    bad, odd = attempt.table("quarantine.parquet"), attempt.table("warnings.parquet")
    parts = attempt.catalog.read_table(f"{folder(live)}/manifest.parquet", columns=["part"])
    rows = 0 if parts is None else pc.sum(pc.equal(parts["part"], 0)).as_py()
    ledger = Ledger(records, added=0, updated=0, unchanged=rows, removed=0, quarantined=len(bad))
    ledger.check(rows)
    return Staged(ledger, 0, tuple(source.notices), _by_rule(bad), _by_rule(odd))


def _rows_of(manifest: pa.Table | None) -> pa.Table:
    """Key and hash (`row_key`, `row_hash`) of each row that a generation shows."""
    table = MANIFEST.empty_table() if manifest is None else manifest
    return table.filter(pc.equal(table["part"], 0)).select(["row_key", "row_hash"]).combine_chunks()


def _shown_by(shown: pa.Table, rows: pa.Table) -> pa.Array:
    """Which rows a generation (`_rows_of`) shows as they are: bool [len(rows)]."""
    place = pc.index_in(rows["row_hash"].combine_chunks(), shown["row_hash"].combine_chunks())
    key = pc.take(shown["row_key"].combine_chunks(), place)
    return pc.fill_null(pc.equal(key, rows["row_key"].combine_chunks()), False)


def _merged(partitions: Iterable[Partition]) -> Iterator[Partition]:
    """Fewer and larger partitions: the suite takes as long over a few unknown rows as over hundreds."""
    waiting: list[Partition] = []
    for partition in partitions:
        waiting.append(partition)
        if sum(one.rows.nbytes for one in waiting) >= _CHECKED_BYTES:
            yield _together(waiting)
            waiting = []
    if waiting:
        yield _together(waiting)


def _together(partitions: Sequence[Partition]) -> Partition:
    rows = pa.concat_tables([one.rows for one in partitions]).combine_chunks()
    return Partition(rows, tuple(bad for one in partitions for bad in one.rejected))


def _account(attempt: Attempt, rows: pa.Table, *, source_rows: int, quarantined: int) -> Ledger:
    live_rows = _rows_of(attempt.live_manifest)
    unchanged = pc.sum(_shown_by(live_rows, rows)).as_py() or 0
    known = pc.sum(pc.is_in(rows["row_key"], live_rows["row_key"].combine_chunks())).as_py() or 0
    ledger = Ledger(
        source_rows=source_rows,
        added=len(rows) - known,
        updated=known - unchanged,
        unchanged=unchanged,
        removed=len(live_rows) - known,
        quarantined=quarantined,
    )
    ledger.check(len(live_rows))
    return ledger


def _refuse_mass_delete(attempt: Attempt, ledger: Ledger, *, allowed: bool) -> None:
    before = ledger.updated + ledger.unchanged + ledger.removed
    if not allowed and ledger.removed > max(before / 2, _HANDFUL):
        raise GuardRefused(
            f"the source lost {ledger.removed} of the {before} rows that are live ({ledger.source_rows} rows read)",
            place=named(attempt.begin.source),
            hint="If that is meant, run again with --allow-mass-delete. Readers still see the live generation.",
        )


def _split_oversized(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rows a store can keep, and the others as quarantine: text is never trimmed to fit."""
    size = pc.add(pc.binary_length(rows["question"]), pc.binary_length(rows["metadata"]))
    fits = pc.less_equal(size, _MAX_ROW_BYTES)
    if pc.all(fits).as_py() is not False:
        return rows, QUARANTINE.empty_table()
    found = [
        {
            "row": row["row"],
            "row_key": row["row_key"],
            "column": "metadata",
            "rule": "metadata-bytes",
            "value": row["metadata"][:80],
            "detail": f"question and other columns take {len((row['question'] + row['metadata']).encode())} bytes; "
            f"a vector store keeps at most {_MAX_ROW_BYTES} beside a section",
        }
        for row in rows.filter(pc.invert(fits)).to_pylist()
    ]
    return rows.filter(fits), pa.Table.from_pylist(found, schema=QUARANTINE)


def _hashed(faults: pa.Table, rows: pa.Table) -> pa.Table:
    """Faults with the hashes of their rows (`UNFIT`)."""
    place = pc.index_in(faults["row"], rows["row"].combine_chunks())
    return faults.append_column("row_hash", pc.take(rows["row_hash"].combine_chunks(), place)).cast(UNFIT)


def _by_rule(faults: pa.Table) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in faults["rule"].value_counts().to_pylist()}


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
