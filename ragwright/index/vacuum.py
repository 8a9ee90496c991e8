"""Removing what no retained generation shows: ended records, left-over spaces, staged files."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import pyarrow.compute as pc

from ragwright.errors import CatalogError, PublishConflict
from ragwright.index.catalog import HEAD_TTL, Catalog, Head, folder, now
from ragwright.index.lease import Fence, WriterLease
from ragwright.index.leftovers import remove, unfinished_files
from ragwright.progress import Progress, silent
from ragwright.stores import VectorStore

_BATCH = 20_000
# What stages hand to each other; nobody asks for it once the generation, or a later one, is live.
_STAGED = re.compile(r"(rows|chunks|written|import)/.*|source\.parquet")


@dataclass(frozen=True)
class Vacuumed:
    """What was removed, and the oldest generation that can still be read."""

    floor: int
    records: int
    spaces: int
    files: int

    def to_json(self) -> dict[str, int]:
        """JSON-ready."""
        return asdict(self)


def vacuum(
    catalog: Catalog,
    store: VectorStore,
    lease: WriterLease,
    *,
    keep: int,
    settle: float = HEAD_TTL + 1,
    progress: Progress = silent,
) -> Vacuumed:
    """Keep the `keep` newest generations that can be rolled back to (the live one among them), remove the rest.

    What is kept is an entry of the log before anything is removed, so that no rollback can go to a generation whose
    records may be gone. A vacuum that was killed is completed by the next.

    Args:
        catalog: Of the index.
        store: Where its records are.
        lease: Held by the caller: nobody else may write meanwhile.
        keep: At least 1.
        settle: Seconds to wait before anything is removed, for readers that saw the log a moment ago.
        progress: Told the records removed.
    """
    if not catalog.head().live:
        return Vacuumed(0, 0, 0, 0)
    fence = Fence(catalog, lease.epoch, lease)
    head, retained = _announce(catalog, keep, lambda: fence.check(lease.longest_request))
    unfinished = unfinished_files(catalog)
    time.sleep(settle)
    # Writing a file takes far less than that: what is still unfinished was left by a writer that died.
    files = remove(unfinished)
    files += sum(_drop(catalog, name) for name in _expired_files(catalog, head, retained))
    spaces = {entry.space for entry in head.published() if entry.generation in retained}
    records = 0
    for space in sorted(spaces):
        floor = min(e.generation for e in head.published() if e.space == space and e.generation in retained)
        for ids in _ended(store, space, floor):
            fence.check(lease.longest_request)
            store.delete(space, ids)
            records += len(ids)
            progress("removing records", records, None)
        fence.check(lease.longest_request)
        store.optimise(space)
    dropped = 0
    still_wanted = {catalog.begin_of(number).space for number in catalog.attempts(after=head.live)}
    for space in store.spaces():
        if is_space_of(catalog.index, space) and space not in spaces | still_wanted:
            fence.check(lease.longest_request)
            store.drop_space(space)
            dropped += 1
    return Vacuumed(min(retained), records, dropped, files)


def _announce(catalog: Catalog, keep: int, guard: Callable[[], None]) -> tuple[Head, set[int]]:
    """Decide what is kept, and see to it that nobody goes back to anything else from now on."""
    while True:
        head = catalog.head()
        retained = retained_generations(head, keep)
        if head.last is None or retained == {entry.generation for entry in head.published()}:
            return head, retained
        kept = tuple(sorted(retained))
        entry = head.last.model_copy(
            update={
                "sequence": head.sequence + 1,
                "kind": "vacuum",
                "at": now(),
                "reason": f"keep {keep}",
                "run_id": "",
                "abandons_through": 0,
                "retains": kept,
            }
        )
        guard()  # or it would get in the way of a writer that took over
        try:
            catalog.append(entry)
        except PublishConflict:
            continue  # a rollback, which needs no lease, was faster: what is live now must be kept
        return head, retained


def retained_generations(head: Head, keep: int) -> set[int]:
    """The live generation and the newest others that can still be rolled back to, `keep` in all.

    Raises:
        CatalogError: `keep` is less than 1.
    """
    if keep < 1:
        raise CatalogError(f"cannot keep {keep} generations", hint="Keep at least 1: readers need the live one.")
    return {head.live, *sorted(entry.generation for entry in head.published())[-keep:]}


def is_space_of(index: str, space: str) -> bool:
    """Whether a space belongs to an index, by its name alone; `faq` does not own the spaces of `faq-eu`."""
    return re.fullmatch(rf"{re.escape(index)}-[0-9a-f]{{12}}-\d+", space) is not None


def _ended(store: VectorStore, space: str, floor: int) -> Iterator[list[str]]:
    """Ids of records that no generation from `floor` on shows, in batches."""
    found: list[str] = []
    for batch in store.scan(space, columns=["record_id", "died"]):
        found += batch.filter(pc.less_equal(batch["died"], floor))["record_id"].to_pylist()
    for offset in range(0, len(found), _BATCH):
        yield found[offset : offset + _BATCH]


def _expired_files(catalog: Catalog, head: Head, retained: set[int]) -> Iterator[str]:
    """Files that are of no more use; manifests of generations that are given up come first."""
    past = [number for number in catalog.attempts() if number <= head.live]
    for number in past:
        name = f"{folder(number)}/manifest.parquet"
        if number not in retained and catalog.exists(name):
            yield name
    # Plans after the oldest base may still explain what a store holds; ledgers and reports are small and are history.
    for number in past:
        for name in catalog.names(folder(number)):
            if _STAGED.fullmatch(name):
                yield f"{folder(number)}/{name}"


def _drop(catalog: Catalog, name: str) -> int:
    catalog.delete(name)
    return 1
