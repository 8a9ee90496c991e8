"""Where a store does not show what the live generation promises, and how a plan takes that into account."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

DAMAGE = pa.schema(
    [
        ("record_id", pa.string()),
        ("row_key", pa.string()),
        ("born", pa.int64()),
        ("died", pa.int64()),
        # missing: promised, not shown; altered: shown with other content; unpromised: shown, not promised
        ("kind", pa.string()),
    ]
)


@dataclass(frozen=True)
class Damage:
    """Records of a space that are not as promised (`DAMAGE`)."""

    records: pa.Table

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(len(self.records))

    def concerns(self, rows: pa.Table) -> pa.Array:
        """Which rows (by `row_key`) have a record that is not as promised: bool [len(rows)]."""
        keys = self.records["row_key"].combine_chunks()
        column = rows["row_key"]
        return pc.is_in(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column, keys)

    def apply(self, known: pa.Table) -> pa.Table:
        """Make `plan.KNOWN` tell what the store really has.

        A missing record is not seen; an altered one no longer counts as its chunk, so that it is ended and written
        anew; an unpromised one becomes known, as nobody's chunk.
        """
        if not self:
            return known
        missing, altered, unpromised = (
            self.records.filter(pc.equal(self.records["kind"], kind)) for kind in ("missing", "altered", "unpromised")
        )
        lost = pc.is_in(known["record_id"], missing["record_id"].combine_chunks())
        changed = pc.is_in(known["record_id"], altered["record_id"].combine_chunks())
        known = known.set_column(1, "chunk_id", pc.if_else(changed, "", known["chunk_id"]))
        known = known.set_column(4, "seen", pc.and_(known["seen"], pc.invert(lost)))
        strangers = unpromised.filter(pc.invert(pc.is_in(unpromised["record_id"], known["record_id"].combine_chunks())))
        count = len(strangers)
        # Their `died` is set whatever it reads as: nobody knows who wrote them.
        extra = pa.table(
            {
                "record_id": strangers["record_id"],
                "chunk_id": pa.array([""] * count, pa.string()),
                "born": strangers["born"],
                "died": strangers["died"],
                "seen": pa.array([True] * count, pa.bool_()),
                "touched": pa.array([True] * count, pa.bool_()),
                "doomed": pa.array([False] * count, pa.bool_()),
            },
            schema=known.schema,
        )
        return pa.concat_tables([known, extra])
