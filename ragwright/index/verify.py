"""Proving that the store shows what a manifest promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ragwright.documents import FOREVER
from ragwright.errors import NotVisibleYet, StoreError
from ragwright.index import tables
from ragwright.index.attempt import Attempt
from ragwright.index.plan import Op
from ragwright.seen import NEVER, Seen
from ragwright.stores import Indexer

WHOLE_UP_TO = 50_000
"""Records up to which a candidate is compared with the store as a whole, so that a publish costs what changed."""


@dataclass(frozen=True)
class Verified:
    """What was compared: records this attempt touched, and records of the whole generation (0: not compared)."""

    touched: int
    whole: int


def verify_candidate(attempt: Attempt, *, whole_up_to: int = WHOLE_UP_TO, timeout: float = 60) -> Verified:
    """Check that the store shows the attempt's generation exactly as its manifest says.

    Raises:
        NotVisibleYet: Writes were acknowledged but reads do not show them within `timeout` seconds.
        StoreError: The store shows something else; the candidate must not be published.
        LeaseLost: It shows something else because others may be writing.
    """
    verified = _verified(attempt, whole_up_to, timeout)
    if isinstance(attempt.store, Indexer):
        attempt.send(lambda store: cast("Indexer", store).index(attempt.space))
    return verified


def _verified(attempt: Attempt, whole_up_to: int, timeout: float) -> Verified:
    """Read the whole once where most records were touched; else look those up, and read the whole if it is small."""
    counts, shown = attempt.outline.counts, attempt.outline.shown
    touched = sum(counts[op] for op in (Op.INSERT, Op.REVIVE, Op.REWRITE, Op.MARK))
    if touched > whole_up_to and 2 * touched > shown:
        _await(attempt, timeout, lambda: _differences(attempt))
        return Verified(touched, shown)
    _verify_touched(attempt, timeout)
    if shown > whole_up_to:
        return Verified(touched, 0)
    if wrong := _differences(attempt):
        attempt.guard()  # nor is it the store's fault
        raise StoreError(
            f"generation {attempt.generation} should show {shown} records, but {wrong[0]}",
            place=f"space {attempt.space!r}",
            hint="Nothing was published. Run again; if it stays, rebuild with `ragwright reindex --full`.",
        )
    return Verified(touched, shown)


def _verify_touched(attempt: Attempt, timeout: float) -> None:
    """Look at every record that the attempt wrote, ended or removed, and at no other."""
    plan, store = attempt.plan, attempt.store
    written, deleted = plan.of(Op.INSERT, Op.REVIVE, Op.REWRITE, Op.MARK), plan.ids(Op.DELETE)
    try:
        store.wait_visible(attempt.space, present=written["record_id"].to_pylist(), absent=deleted, timeout=timeout)
    except NotVisibleYet:
        attempt.guard()  # what others wrote since they took over is nothing to wait for
        raise
    _await(
        attempt, timeout, lambda: [f"{record!r} does not show what was written" for record in _wrong(attempt, written)]
    )


def _await(attempt: Attempt, timeout: float, look: Callable[[], Sequence[str]]) -> None:
    """Look again until nothing is wrong.

    Raises:
        NotVisibleYet: Something is, after `timeout` seconds.
        LeaseLost: Something is, and others may be writing.
    """
    deadline, pause = time.monotonic() + timeout, 0.05
    while wrong := look():
        attempt.guard()
        if time.monotonic() > deadline:
            raise NotVisibleYet(
                f"{len(wrong)} records are not as they were written; of the first, {wrong[0]}",
                place=f"space {attempt.space!r}",
                hint="Run again: what was written is kept.",
            )
        time.sleep(pause)
        pause = min(pause * 2, 2.0)


def _differences(attempt: Attempt) -> list[str]:
    """What the store shows at the attempt's generation beside its manifest, as sentences; read once, by and by."""
    promised, count = Seen(), 0
    for lines in tables.batches(attempt.catalog, attempt.path("manifest.parquet"), ["record_id"]):
        promised.note(lines["record_id"].to_pylist(), np.arange(count, count + len(lines)))
        count += len(lines)
    times = np.zeros(count, np.int32)
    wrong: list[str] = []
    for batch in attempt.store.scan(attempt.space, as_of=attempt.generation, columns=["record_id"]):
        ids = batch["record_id"].to_pylist()
        found = promised.find(ids)
        wrong += [f"{ids[at]!r} is shown and not promised" for at in np.flatnonzero(found == NEVER)]
        np.add.at(times, found[found != NEVER], 1)
    if (times != 1).any():
        found, at = np.flatnonzero(times != 1), 0
        for lines in tables.batches(attempt.catalog, attempt.path("manifest.parquet"), ["record_id"]):
            here = found[(found >= at) & (found < at + len(lines))]
            wrong += [f"{lines['record_id'][n - at].as_py()!r} is shown {times[n]} times" for n in here.tolist()]
            at += len(lines)
    return wrong


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
