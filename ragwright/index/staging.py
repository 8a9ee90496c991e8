"""From the source to staged rows: what changed, what is unfit, and whether it is safe to go on.

If the file's bytes are those of the live generation, or else its rows once they are read and hashed, that generation's
verdicts hold and that is all. Otherwise the rows are gone through once more: checked, their terms counted, and those
staged (`rows/*.parquet`) that the base generation does not show as they are. Nothing is sent to the vector store; what
rows said that are gone is read from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.chunking import MAX_SECTION_BYTES, TokenCounter, chunk_rows
from ragwright.documents import QUARANTINE, ROWS, Rejected
from ragwright.errors import CatalogError, GuardRefused
from ragwright.index import tables
from ragwright.index.attempt import Attempt
from ragwright.index.catalog import folder
from ragwright.index.corpus import CorpusCount, counted_rows
from ragwright.index.lines import SOURCE, ShownRows
from ragwright.index.readings import KEPT_BYTES, STAGED, Coalescer, Readings, merged
from ragwright.progress import Progress, silent
from ragwright.quality import QualityGate, write_data_docs
from ragwright.seen import NEVER
from ragwright.settings import ChunkingSettings, QualitySettings
from ragwright.sources import Source
from ragwright.sources.location import named
from ragwright.stores import MAX_METADATA_BYTES

UNFIT = QUARANTINE.append(pa.field("row_hash", pa.string()))
"""Quarantine with what the row was, so that it is known again once it is mended; null where it could not be read."""

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
    readings = Readings(source, keep_bytes=KEPT_BYTES if attempt.begin.live else 0)
    before = {} if attempt.damage else _live_source(attempt)
    if before and readings.file == before.get("file"):
        return _restage_live(attempt, readings.file, before, source)
    if before:
        for _ in readings.through(progress):
            pass
        if readings.digest == before["digest"]:
            return _restage_live(attempt, readings.file, before, source)
    staged = _Pass(attempt, source, readings, make_gate(), options).run(progress)
    _write_facts(attempt, readings.file, readings.digest, readings.records, same_as=0)
    return staged


def _write_facts(attempt: Attempt, file: str, digest: str, records: int, *, same_as: int) -> None:
    facts = {"file": file, "digest": digest, "records": records, "same_as": same_as}
    attempt.catalog.write_json(attempt.path("source.json"), facts)


def chunk_partition(attempt: Attempt, partition: int, counter: TokenCounter, settings: ChunkingSettings) -> int:
    """Cut one staged partition; returns the number of chunks."""
    rows = attempt.table(f"rows/{partition:05d}.parquet")
    chunks = chunk_rows(rows.select(ROWS.names), counter, settings)
    place = pc.index_in(chunks["row"], rows["row"].combine_chunks())
    chunks = chunks.append_column("row_hash", pc.take(rows["row_hash"].combine_chunks(), place))
    attempt.catalog.write_table(attempt.path(f"chunks/{partition:05d}.parquet"), chunks)
    return len(chunks)


class _Pass:
    """Goes through all rows: checks, counts, and stages what is new."""

    def __init__(
        self, attempt: Attempt, source: Source, readings: Readings, gate: QualityGate, options: StageOptions
    ) -> None:
        self._attempt, self._source, self._readings = attempt, source, readings
        self._gate, self._options = gate, options
        self._fresh = Coalescer(options.partition_rows)
        self._partitions = 0
        begin, catalog = attempt.begin, attempt.catalog
        # Rows that the live generation shows passed the same rules before, if it was checked by the same.
        self._trusting = bool(begin.live) and catalog.begin_of(begin.live).rules == begin.rules
        self._live = ShownRows.by(catalog, begin.live)
        self._base = self._live if begin.live == begin.base else ShownRows.by(catalog, begin.base)
        self._corpus = CorpusCount(attempt, self._live)
        self._count: Counter[str] = Counter()

    def run(self, progress: Progress) -> Staged:
        """Read, and sum up."""
        catalog, path = self._attempt.catalog, self._attempt.path("source.parquet")
        with tables.writing(catalog, path, SOURCE) as rows:
            quarantined, warnings = self._read(rows, progress)
        staged = self._conclude(quarantined, warnings)
        statistics = self._corpus.table(lambda: self._fit(quarantined))
        catalog.write_table(self._attempt.path("statistics.parquet"), statistics)
        return staged

    def _read(self, good: tables.TableWriter, progress: Progress) -> tuple[pa.Table, pa.Table]:
        quarantined, warnings, done = [], [], 0
        records = self._readings.records or None
        partitions = self._readings.through()
        # The suite takes as long over a few unknown rows as over hundreds.
        for partition in merged(partitions, _CHECKED_BYTES) if self._trusting else partitions:
            rows = partition.rows
            live = self._live.numbers(rows)
            base = live if self._base is self._live else self._base.numbers(rows)
            shown = (base != NEVER) & ~self._attempt.damage.concerns(rows).to_numpy(zero_copy_only=False)
            trusted = live != NEVER if self._trusting else np.zeros(len(rows), bool)
            for name, column in (("live", live), ("base_row", base), ("shown", shown)):
                rows = rows.append_column(name, pa.array(column))
            checked = self._gate.check(rows, partition.rejected, trusted=trusted)
            kept, oversized = _split_oversized(checked.good)
            good.write(kept.select(SOURCE.names))
            self._note(kept)
            quarantined += [_hashed(checked.quarantined, rows), _hashed(oversized, rows)]
            warnings.append(checked.warnings)
            self._stage(self._fresh.add(kept.filter(pc.invert(kept["shown"])).select(STAGED.names)))
            done += partition.records
            progress("checking rows", done, records)
        self._stage(self._fresh.rest())
        return pa.concat_tables(quarantined).sort_by("row"), pa.concat_tables(warnings)

    def _note(self, kept: pa.Table) -> None:
        """Count rows that will be shown."""
        live = kept["live"].to_numpy()
        new = kept.filter(pa.array(live == NEVER))
        unchanged = len(kept) - len(new)
        self._count.update(good=len(kept), unchanged=unchanged, known=unchanged + self._live.keys_among(new))
        self._corpus.add(kept, live)

    def _fit(self, quarantined: pa.Table) -> Iterator[pa.Table]:
        """The rows that will be shown, once more."""
        unfit = quarantined["row"].combine_chunks()
        for partition in self._readings.through():
            yield partition.rows.filter(pc.invert(pc.is_in(partition.rows["row"], unfit)))

    def _conclude(self, quarantined: pa.Table, warnings: pa.Table) -> Staged:
        attempt, options = self._attempt, self._options
        attempt.catalog.write_table(attempt.path("quarantine.parquet"), quarantined)
        attempt.catalog.write_table(attempt.path("warnings.parquet"), warnings)
        # Rows too large for a store passed the gate; for the rest they are as unfit as the others.
        quality = replace(
            self._gate.finish(),
            good=self._count["good"],
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
        ledger = self._account(source_rows=quality.records, quarantined=len(quarantined))
        _refuse_mass_delete(attempt, ledger, allowed=options.allow_mass_delete)
        notices, by_rule = tuple(self._source.notices), dict(quality.by_rule)
        return Staged(ledger, self._partitions, notices, by_rule, _by_rule(warnings))

    def _account(self, *, source_rows: int, quarantined: int) -> Ledger:
        good, known, unchanged = (self._count[name] for name in ("good", "known", "unchanged"))
        ledger = Ledger(
            source_rows=source_rows,
            added=good - known,
            updated=known - unchanged,
            unchanged=unchanged,
            removed=len(self._live) - known,
            quarantined=quarantined,
        )
        ledger.check(len(self._live))
        return ledger

    def _stage(self, full: Iterable[pa.Table]) -> None:
        for table in full:
            self._attempt.catalog.write_table(self._attempt.path(f"rows/{self._partitions:05d}.parquet"), table)
            self._partitions += 1


def _live_source(attempt: Attempt) -> dict[str, Any]:
    """What was read for the live generation, if the same rules hold and it lives in this space."""
    live = attempt.begin.live
    if not live or live != attempt.begin.base or attempt.catalog.begin_of(live).rules != attempt.begin.rules:
        return {}
    if counted_rows(attempt.catalog, live) is None:
        return {}
    return attempt.catalog.read_json(f"{folder(live)}/source.json") or {}


def _restage_live(attempt: Attempt, file: str, before: dict[str, Any], source: Source) -> Staged:
    """Take over the live generation's verdicts on the same source."""
    live, records = attempt.begin.live, before["records"]
    _write_facts(attempt, file, before["digest"], records, same_as=live)
    for name in ("quarantine.parquet", "warnings.parquet", "statistics.parquet"):
        if not attempt.catalog.copy(f"{folder(live)}/{name}", attempt.path(name)):
            raise CatalogError(f"{name!r} of generation {live} is missing", place=attempt.catalog.location)
    bad, odd = attempt.table("quarantine.parquet"), attempt.table("warnings.parquet")
    lines = tables.batches(attempt.catalog, f"{folder(live)}/manifest.parquet", ["part"])
    rows = sum(pc.sum(pc.equal(batch["part"], 0)).as_py() for batch in lines)
    ledger = Ledger(records, added=0, updated=0, unchanged=rows, removed=0, quarantined=len(bad))
    ledger.check(rows)
    return Staged(ledger, 0, tuple(source.notices), _by_rule(bad), _by_rule(odd))


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
