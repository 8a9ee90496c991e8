"""What must be written so that a new generation shows exactly the wanted chunks: a pure function over Arrow tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import FOREVER

KNOWN = pa.schema(
    [
        ("record_id", pa.string()),
        ("chunk_id", pa.string()),
        ("born", pa.int64()),
        ("died", pa.int64()),
        ("seen", pa.bool_()),  # read back from the store, or vouched for by a published manifest
        ("touched", pa.bool_()),  # an attempt after the base planned to write its `died`, or found it to be wrong
        ("doomed", pa.bool_()),  # an attempt after the base planned to delete it
    ]
)
"""Records that may be in the store, with what is known of them."""


class Op(StrEnum):
    """What a plan does to one record."""

    KEEP = "keep"  # nothing is sent
    INSERT = "insert"  # embed and write
    REVIVE = "revive"  # died = FOREVER
    REWRITE = "rewrite"  # write the stored record again, so that a delete still on its way cannot win
    MARK = "mark"  # died = this generation
    DELETE = "delete"
    LOST = "lost"  # nothing is sent: it should be there and is not as it should be; later attempts must look again


OPERATIONS = pa.schema(
    [("op", pa.string()), ("record_id", pa.string()), ("chunk_id", pa.string()), ("born", pa.int64())]
)


@dataclass(frozen=True)
class Outline:
    """A plan's figures, from which to tell what there is to do without reading it.

    Attributes:
        counts: How many operations of each kind, zeros included.
        inserts: How many there are of each staged partition.
    """

    counts: Mapping[str, int]
    inserts: tuple[int, ...] = ()

    @property
    def shown(self) -> int:
        """How many records the new generation shows."""
        return sum(self.counts[op] for op in (Op.KEEP, Op.INSERT, Op.REVIVE, Op.REWRITE))

    def group(self, partition: int) -> int | None:
        """Which part of the written plan has a partition's inserts; None if there are none.

        What is done to records that are there comes first, if anything is, then the partitions' inserts, one by one.
        """
        if not self.inserts[partition]:
            return None
        return len(self.other) + sum(count > 0 for count in self.inserts[:partition])

    @property
    def other(self) -> range:
        """Which parts have what is done to records that are there."""
        return range(any(count for op, count in self.counts.items() if op not in (Op.KEEP, Op.INSERT)))

    def to_metadata(self) -> dict[str, str]:
        """As it is noted beside the plan."""
        return {"outline": json.dumps({"counts": dict(self.counts), "inserts": self.inserts})}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Outline:
        """The inverse of `to_metadata`."""
        found = json.loads(metadata["outline"])
        return cls(found["counts"], tuple(found["inserts"]))


@dataclass(frozen=True)
class Plan:
    """Everything one attempt will send to the store, and what it leaves as it is.

    Attributes:
        operations: Laid out as `OPERATIONS`. What is written ahead has no `KEEP`, so that what stays costs nothing.
    """

    operations: pa.Table

    @classmethod
    def from_table(cls, table: pa.Table) -> Plan:
        """A plan as it was written ahead."""
        return cls(table.cast(OPERATIONS))

    def of(self, *ops: Op) -> pa.Table:
        """The operations of some kinds."""
        return self.operations.filter(pc.is_in(self.operations["op"], pa.array([str(op) for op in ops])))

    def ids(self, *ops: Op) -> list[str]:
        """Record ids of some kinds of operation."""
        found: list[str] = self.of(*ops)["record_id"].to_pylist()
        return found

    def counts(self) -> dict[str, int]:
        """How many operations of each kind, zeros included."""
        found = dict.fromkeys(map(str, Op), 0)
        return found | {item["values"]: item["counts"] for item in self.operations["op"].value_counts().to_pylist()}


def known_records(manifest: pa.Table | None, attempts: Iterable[pa.Table]) -> pa.Table:
    """Records that may be in a space, before the store is asked.

    Args:
        manifest: Of the base, the newest generation published in that space; None if there is none.
        attempts: Plans (`OPERATIONS`) of every attempt after the base in that space, oldest first.

    Returns:
        `KNOWN`, one row a record; rows that are touched, doomed or not yet `seen` need reading back.
    """
    tables = []
    if manifest is not None:
        tables.append(_known(manifest.select(["record_id", "chunk_id", "born"]), seen=True))
    plans = list(attempts)
    tables.extend(
        _known(plan.filter(pc.equal(plan["op"], Op.INSERT)).drop_columns(["op"]), seen=False) for plan in plans
    )
    known = pa.concat_tables(tables) if tables else KNOWN.empty_table()
    touched, doomed = (
        pa.concat_arrays(
            [plan.filter(pc.is_in(plan["op"], pa.array(ops)))["record_id"].combine_chunks() for plan in plans]
            or [pa.array([], pa.string())]
        )
        for ops in (["mark", "revive", "rewrite", "lost"], ["delete"])
    )
    known = known.set_column(5, "touched", pc.is_in(known["record_id"], touched))
    return known.set_column(6, "doomed", pc.is_in(known["record_id"], doomed))


def _known(records: pa.Table, *, seen: bool) -> pa.Table:
    count = len(records)
    false = pa.array(np.zeros(count, bool))
    columns = {
        "record_id": records["record_id"],
        "chunk_id": records["chunk_id"],
        "born": records["born"],
        "died": pa.array(np.full(count, FOREVER)),
        "seen": pa.array(np.full(count, seen)),
        "touched": false,
        "doomed": false,
    }
    return pa.table(columns, schema=KNOWN)


def needs_reading(known: pa.Table) -> list[str]:
    """Ids of records whose state only the store can tell."""
    unsure = pc.or_(pc.or_(known["touched"], known["doomed"]), pc.invert(known["seen"]))
    found: list[str] = known.filter(unsure)["record_id"].to_pylist()
    return found


def read_back(known: pa.Table, asked: list[str], found: pa.Table) -> pa.Table:
    """Put what the store said in place: `found` has `record_id` and `died` of those of `asked` that are there."""
    was_asked = pc.is_in(known["record_id"], pa.array(asked, pa.string()))
    place = pc.index_in(known["record_id"], found["record_id"].combine_chunks())
    there = pc.is_valid(place)
    died = pc.if_else(there, pc.take(found["died"].combine_chunks(), place), known["died"])
    seen = pc.if_else(was_asked, there, known["seen"])
    return known.set_column(3, "died", died).set_column(4, "seen", seen)


def reconcile(known: pa.Table, desired: pa.Array, *, base: int, generation: int) -> Plan:
    """Decide the fate of every known record and what to insert.

    Args:
        known: `KNOWN`, read back.
        desired: Chunk ids (string) that the new generation shows; no duplicates.
        base: The newest generation published in this space; 0 if none. Its readers must notice nothing.
        generation: The new one, greater than every attempt before it.

    Returns:
        A plan after which exactly one record of each desired chunk is visible at `generation`.
    """
    known = known.filter(pc.invert(pc.and_(pc.less_equal(known["born"], base), pc.less_equal(known["died"], base))))
    plain = _plainly_kept(known, desired)
    kept = known.filter(pa.array(plain))
    others = _decided(known.filter(pa.array(~plain)), desired, base)
    shown = Plan(others).of(Op.KEEP, Op.REVIVE, Op.REWRITE)
    there = pa.concat_arrays([table["chunk_id"].combine_chunks() for table in (kept, shown)])
    missing = desired.filter(pc.invert(pc.is_in(desired, there)))
    inserts = pa.table(
        {
            "op": pa.array([str(Op.INSERT)] * len(missing), pa.string()),
            "record_id": pc.binary_join_element_wise(missing, str(generation), "."),
            "chunk_id": missing,
            "born": pa.array(np.full(len(missing), generation)),
        },
        schema=OPERATIONS,
    )
    stays = _operations(kept, pa.repeat(str(Op.KEEP), len(kept)))
    return Plan(pa.concat_tables([stays, others, inserts]))


def _plainly_kept(known: pa.Table, desired: pa.Array) -> npt.NDArray[np.bool_]:
    """Which records are wanted, as they should be, and the only ones of their chunk: nearly all of them, mostly."""
    chunks = known["chunk_id"].combine_chunks()
    codes = chunks.dictionary_encode().indices.to_numpy()
    alone = np.bincount(codes)[codes] == 1 if len(codes) else np.zeros(0, bool)
    seen, touched, doomed = (known[name].to_numpy() for name in ("seen", "touched", "doomed"))
    wanted = pc.is_in(chunks, desired).to_numpy(zero_copy_only=False)
    found: npt.NDArray[np.bool_] = wanted & alone & seen & ~touched & ~doomed & (known["died"].to_numpy() == FOREVER)
    return found


def _decided(known: pa.Table, desired: pa.Array, base: int) -> pa.Table:
    """What becomes of records (`OPERATIONS`); of those that stay as they are and are not shown, nothing."""
    # Where a chunk has several records, the one that needs no write wins; the id breaks ties.
    known = known.sort_by([("doomed", "ascending"), ("touched", "ascending"), ("record_id", "ascending")])
    born, died = known["born"].to_numpy(), known["died"].to_numpy()
    seen, touched, doomed = (known[name].to_numpy() for name in ("seen", "touched", "doomed"))

    wanted = seen & pc.is_in(known["chunk_id"], desired).to_numpy()
    kept = np.zeros(len(known), bool)
    candidates = np.flatnonzero(wanted)
    if len(candidates):
        codes = known["chunk_id"].take(pa.array(candidates)).combine_chunks().dictionary_encode().indices.to_numpy()
        kept[candidates[np.unique(codes, return_index=True)[1]]] = True

    current = died == FOREVER
    op = np.full(len(known), "", dtype=object)
    op[kept] = Op.KEEP
    op[kept & (touched | ~current)] = Op.REVIVE
    op[kept & doomed] = Op.REWRITE
    # A record of an attempt that never published may be on its way even where a read does not show it: deleting what
    # is not there costs nothing.
    op[~kept & (born > base)] = Op.DELETE
    op[~kept & seen & (born <= base) & (touched | current)] = Op.MARK
    op[~seen & (born <= base)] = Op.LOST

    acted = op != ""
    return _operations(known.filter(pa.array(acted)), pa.array(map(str, op[acted]), pa.string()))


def _operations(records: pa.Table, ops: pa.Array) -> pa.Table:
    return records.select(["record_id", "chunk_id", "born"]).add_column(0, "op", ops).cast(OPERATIONS)
