"""Proving that the store shows what a manifest promises."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import FOREVER
from ragwright.errors import NotVisibleYet, StoreError
from ragwright.index.attempt import Attempt
from ragwright.index.plan import Op
from ragwright.stores import Indexer

WHOLE_UP_TO = 50_000
"""Records up to which a candidate is compared with the store as a whole, so that a publish costs what changed."""


@dataclass(frozen=True)
class Verified:
    """What was compared: records this attempt touched, and records of the whole generation (0: not compared)."""

    touched: int
    whole: int


def verify_candidate(attempt: Attempt, *, whole_up_to: int = WHOLE_UP_TO, timeout: float = 60) -> Verified:
    """Check that the store shows the attempt's generation exactly as its manifest says, and have it index what is new.

    Indexed before anybody searches: fitting the answerability model and the gate ask hundreds of questions.

    Raises:
        NotVisibleYet: Writes were acknowledged but reads do not show them within `timeout` seconds.
        StoreError: The store shows something else; the candidate must not be published.
        LeaseLost: It shows something else because others may be writing.
    """
    plan, store, space = attempt.plan, attempt.store, attempt.space
    written = plan.of(Op.INSERT, Op.REVIVE, Op.REWRITE, Op.MARK)
    deleted = plan.ids(Op.DELETE)
    touched = written["record_id"].to_pylist()
    try:
        store.wait_visible(space, present=touched, absent=deleted, timeout=timeout)
    except NotVisibleYet:
        attempt.guard()  # what others wrote since they took over is nothing to wait for
        raise
    deadline, pause = time.monotonic() + timeout, 0.05
    while wrong := _wrong(attempt, written):
        attempt.guard()
        if time.monotonic() > deadline:
            raise NotVisibleYet(
                f"{len(wrong)} records do not show what was written to them, such as {wrong[0]!r}",
                place=f"space {space!r}",
                hint="Run again: what was written is kept.",
            )
        time.sleep(pause)
        pause = min(pause * 2, 2.0)

    if isinstance(store, Indexer):
        indexer = store
        attempt.send(lambda _: indexer.index(space))
    promised = attempt.table("manifest.parquet", columns=["record_id"])["record_id"].combine_chunks()
    if len(promised) > whole_up_to:
        return Verified(len(touched), 0)
    shown = [batch.column("record_id") for batch in store.scan(space, as_of=attempt.generation, columns=["record_id"])]
    found = pa.concat_arrays([array.cast(pa.string()) for array in shown]) if shown else pa.array([], pa.string())
    missing = promised.filter(pc.invert(pc.is_in(promised, found)))
    extra = found.filter(pc.invert(pc.is_in(found, promised)))
    if len(missing) or len(extra) or len(found) != len(promised):
        attempt.guard()  # nor is it the store's fault
        raise StoreError(
            f"generation {attempt.generation} should show {len(promised)} records and shows {len(found)}: "
            f"missing {missing.to_pylist()[:3]}, not promised {extra.to_pylist()[:3]}",
            place=f"space {space!r}",
            hint="Nothing was published. Run again; if it stays, rebuild with `ragwright reindex --full`.",
        )
    return Verified(len(touched), len(promised))


def _wrong(attempt: Attempt, written: pa.Table) -> list[str]:
    ids = written["record_id"].to_pylist()
    if not ids:
        return []
    found = attempt.store.fetch(attempt.space, ids, columns=("record_id", "died"))
    place = pc.index_in(written["record_id"], found["record_id"].combine_chunks())
    died = pc.take(found["died"].combine_chunks(), place)
    expected = pc.if_else(pc.equal(written["op"], Op.MARK), attempt.generation, FOREVER)
    right = pc.fill_null(pc.equal(died, expected), False)
    wrong: list[str] = written.filter(pc.invert(right))["record_id"].to_pylist()
    return wrong
