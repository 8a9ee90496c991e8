"""Proving, of an index that is live, that source = manifest = store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.chunking import embedded_text
from ragwright.documents import chunk_id, row_hashes
from ragwright.index.attempt import Attempt, manifest_of
from ragwright.index.catalog import Catalog, Entry, folder
from ragwright.index.damage import DAMAGE, Damage
from ragwright.index.plan import Op
from ragwright.progress import Progress, silent
from ragwright.sources import Source
from ragwright.stores import VectorStore

_CONTENT = ("record_id", "chunk_id", "born", "died", "row_key", "part", "question", "text", "metadata", "vector")
_EXAMPLES = 5

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        generation: The generation that was audited.
        records: Records its manifest promises.
        damage: Where the store shows something else.
        source: Rows by what happened to them in the source since: `added`, `updated`, `removed`; None if not compared.
        repairs: What `--repair`, or a re-index, would do, as sentences.
    """

    generation: int
    records: int
    damage: Damage
    source: dict[str, int] | None
    repairs: tuple[str, ...] = field(default=())

    @property
    def true(self) -> bool:
        """Whether source, manifest and store agree."""
        return not self.damage and not any((self.source or {}).values())

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        kinds = self.damage.records["kind"].value_counts().to_pylist()
        return {
            "generation": self.generation,
            "true": self.true,
            "records": self.records,
            "damage": {item["values"]: item["counts"] for item in kinds},
            "examples": self.damage.records.slice(0, _EXAMPLES).to_pylist(),
            "source": self.source,
            "repairs": list(self.repairs),
        }


def audit(catalog: Catalog, store: VectorStore, entry: Entry, source: Source | None, *, progress: Progress) -> Audit:
    """Compare a generation's manifest with the store, record by record, and with the source if it is at hand."""
    manifest = manifest_of(catalog, entry.generation)
    damage = examine_store(store, entry.space, entry.generation, manifest, entry.fingerprint.text_format, progress)
    drift = None if source is None else compare_source(catalog, entry.generation, manifest, source)
    repairs = []
    if damage:
        rows = pc.count_distinct(damage.records["row_key"]).as_py()
        repairs.append(f"write {len(damage.records)} records of {rows} rows anew (`ragwright verify --repair`)")
    if drift and any(drift.values()):
        changes = ", ".join(f"{count} {what}" for what, count in drift.items() if count)
        repairs.append(
            f"index the source's changes: {changes} (`ragwright reindex --source {entry_source(catalog, entry)}`)"
        )
    return Audit(entry.generation, len(manifest), damage, drift, tuple(repairs))


def entry_source(catalog: Catalog, entry: Entry) -> str:
    """The source a generation was made from."""
    return catalog.begin_of(entry.generation).source


def examine_store(
    store: VectorStore,
    space: str,
    generation: int,
    manifest: pa.Table,
    text_format: str,
    progress: Progress = silent,
) -> Damage:
    """Every record of a generation that is missing, altered or not promised.

    A record is altered when its id is not the hash of what it holds, or its vector is not finite.
    """
    promised = manifest["record_id"].combine_chunks()
    shown: list[pa.Array] = []
    faults: list[dict[str, Any]] = []
    done = 0
    for batch in store.scan(space, as_of=generation, columns=_CONTENT):
        ids = batch.column("record_id").cast(pa.string())
        shown.append(ids)
        expected = pc.is_in(ids, promised).to_numpy(zero_copy_only=False)
        sound = _sound(batch, text_format)
        for at in np.flatnonzero(~expected | ~sound):
            row = batch.slice(int(at), 1).select(["record_id", "row_key", "born", "died"]).to_pylist()[0]
            faults.append(row | {"kind": "altered" if expected[at] else "unpromised"})
        done += len(batch)
        progress("records compared", done, len(manifest))
    found = pa.concat_arrays(shown) if shown else pa.array([], pa.string())
    repeated = found.value_counts().filter(pc.greater(found.value_counts().field("counts"), 1)).field("values")
    missing = manifest.filter(pc.invert(pc.is_in(manifest["record_id"], found)))
    lost = missing.select(["record_id", "row_key", "born"]).to_pylist()
    faults += [row | {"died": 0, "kind": "missing"} for row in lost]
    doubled = manifest.filter(pc.is_in(manifest["record_id"], repeated)).select(["record_id", "row_key", "born"])
    faults += [row | {"died": 0, "kind": "altered"} for row in doubled.to_pylist()]
    return Damage(pa.Table.from_pylist(faults, schema=DAMAGE))


def examine_space(attempt: Attempt, text_format: str, progress: Progress) -> pa.Table:
    """What an attempt that repairs has to mend (`DAMAGE`): the base's records, and those that no plan accounts for."""
    manifest = attempt.base_manifest
    assert manifest is not None  # noqa: S101 # asked by the caller
    damage = examine_store(attempt.store, attempt.space, attempt.begin.base, manifest, text_format, progress)
    accounted = [manifest["record_id"], *(plan.of(Op.INSERT)["record_id"] for _, plan in attempt.earlier)]
    known = pa.concat_arrays([column.combine_chunks() for column in accounted])
    strangers = []
    for batch in attempt.store.scan(
        attempt.space, as_of=attempt.generation, columns=["record_id", "row_key", "born", "died"]
    ):
        table = pa.Table.from_batches([batch])
        unknown = pc.invert(pc.is_in(table["record_id"].cast(pa.string()), known))
        strangers.append(
            table.filter(unknown).append_column("kind", pa.array(["unpromised"] * pc.sum(unknown).as_py()))
        )
    found = damage.records.filter(pc.not_equal(damage.records["kind"], "unpromised"))
    return pa.concat_tables([found, *(table.select(DAMAGE.names).cast(DAMAGE) for table in strangers)])


def compare_source(catalog: Catalog, generation: int, manifest: pa.Table, source: Source) -> dict[str, int]:
    """Rows that the source gained, changed or lost since a generation; rows that are as unfit as then do not count."""
    rows = manifest.filter(pc.equal(manifest["part"], 0))
    live = dict(zip(rows["row_key"].to_pylist(), rows["row_hash"].to_pylist(), strict=True))
    quarantine = catalog.read_table(f"{folder(generation)}/quarantine.parquet")
    unfit = (
        set()
        if quarantine is None
        else set(zip(*(quarantine[c].to_pylist() for c in ("row_key", "row_hash")), strict=True))
    )
    added = updated = 0
    seen: set[str] = set()
    for partition in source.partitions():
        keys = partition.rows["row_key"].to_pylist()
        for key, digest in zip(keys, row_hashes(partition.rows), strict=True):
            seen.add(key)
            if live.get(key) != digest and (key, digest) not in unfit:
                updated += key in live
                added += key not in live
    return {"added": added, "updated": updated, "removed": len(live.keys() - seen)}


def _sound(batch: pa.RecordBatch, text_format: str) -> Mask:
    vectors = batch.column("vector").flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
    finite: Mask = np.isfinite(vectors).all(axis=1)
    columns = ("chunk_id", "record_id", "born", "row_key", "part", "question", "text", "metadata")
    rows = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
    same = [
        record == f"{chunk}.{born}"
        and chunk
        == chunk_id(
            row_key=key,
            part=part,
            question=question,
            text=text,
            embed_text=embedded_text(question, text, text_format),
            metadata=metadata,
        )
        for chunk, record, born, key, part, question, text, metadata in rows
    ]
    sound: Mask = finite & np.array(same, bool)
    return sound
