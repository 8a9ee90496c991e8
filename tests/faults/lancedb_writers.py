"""Processes that the LanceDB fault tests start and, some of them, kill: `python lancedb_writers.py ROLE FOLDER ...`."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from made_records import edition_of, ids, make_records, vector_of

from ragwright.documents import FOREVER
from ragwright.errors import RagwrightError, StorageFull
from ragwright.stores.lancedb import LanceDBStore

SPACE = "s"
DIMENSION = 64
CHUNKS = [f"{n:04}" for n in range(400)]


def rewrite_for_ever(folder: str, first_edition: str) -> None:
    """Replace, end, revive, remove and write again everything; each call is one commit."""
    store = LanceDBStore(folder)
    print("ready", flush=True)
    for edition in range(int(first_edition), sys.maxsize):
        store.upsert(SPACE, make_records(CHUNKS, edition=edition, dimension=DIMENSION))
        store.mark(SPACE, ids(CHUNKS), 7)
        store.mark(SPACE, ids(CHUNKS), FOREVER)
        store.delete(SPACE, ids(CHUNKS[::2]))
        if edition % 5 == 0:
            store.optimise(SPACE)


def insert(folder: str, name: str) -> None:
    """Insert records that a twin inserts at the same time."""
    store = LanceDBStore(folder)
    print("ready", flush=True)
    sys.stdin.readline()
    for turn in range(8):
        store.upsert(SPACE, make_records([f"{turn}-{n}" for n in range(30)], dimension=DIMENSION))
        store.upsert(SPACE, make_records([f"{name}-{turn}"], dimension=DIMENSION))


def publish(folder: str, generations: str) -> None:
    """Write one generation after the other as a re-index does, saying each number once it is complete."""
    store = LanceDBStore(folder)
    for generation in range(2, int(generations) + 1):
        chunks = CHUNKS[generation * 7 : generation * 7 + 40]
        for part in (chunks[:20], chunks[20:]):
            store.upsert(SPACE, make_records(part, born=generation, dimension=DIMENSION))
        store.mark(SPACE, ids(CHUNKS[(generation - 1) * 7 : (generation - 1) * 7 + 40], generation - 1), generation)
        if generation % 4 == 0:
            store.optimise(SPACE)
        print(generation, flush=True)


def fill_disk(folder: str) -> None:
    """Write until the disk is full, then make room and go on."""
    store = LanceDBStore(Path(folder) / "store")
    store.ensure_space(SPACE, DIMENSION)
    store.upsert(SPACE, make_records(CHUNKS, dimension=DIMENSION))
    ballast = Path(folder) / "ballast"
    ballast.write_bytes(b"x" * 2_000_000)
    edition = 0
    try:
        while edition < 500:
            edition += 1
            store.upsert(SPACE, make_records(CHUNKS, edition=edition, dimension=DIMENSION))
    except StorageFull as error:
        print("full", error, flush=True)
    edition -= 1
    assert _editions(LanceDBStore(Path(folder) / "store")) == {edition}
    ballast.unlink()
    store.upsert(SPACE, make_records(CHUNKS, edition=1_000, dimension=DIMENSION))
    assert _editions(store) == {1_000}
    print("recovered", flush=True)


def read_only(folder: str) -> None:
    """Read and try to write where nothing can be written."""
    store = LanceDBStore(Path(folder) / "store")
    print(
        "read",
        len(_editions(store)),
        store.query(SPACE, vector_of(CHUNKS[3], 0, DIMENSION), k=1, as_of=1)[0].chunk_id,
        flush=True,
    )
    for name, call in {
        "upsert": lambda: store.upsert(SPACE, make_records(["new"], dimension=DIMENSION)),
        "mark": lambda: store.mark(SPACE, ids(CHUNKS), 3),
        "delete": lambda: store.delete(SPACE, ids(CHUNKS)),
        "ensure": lambda: store.ensure_space("another", DIMENSION),
        "drop": lambda: store.drop_space(SPACE),
        "optimise": lambda: store.optimise(SPACE),
    }.items():
        try:
            call()
        except RagwrightError as error:
            print(name, type(error).__name__, error, flush=True)


def fork_while_locked(folder: str) -> None:
    """Fork while another thread is inside the store: in the child nobody is left to let go of its lock."""
    store = LanceDBStore(Path(folder))
    store.upsert(SPACE, make_records(CHUNKS, dimension=DIMENSION))
    store.query(SPACE, vector_of("0001", 0, DIMENSION), k=1, as_of=1)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(store._lock.acquire).result()
        child = os.fork()
        if not child:
            found = store.query(SPACE, vector_of("0001", 0, DIMENSION), k=1, as_of=1)
            store.upsert(SPACE, make_records(["child"], dimension=DIMENSION))
            print(found[0].chunk_id, flush=True)
            os._exit(0)
        pool.submit(store._lock.release).result()
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _editions(store: LanceDBStore) -> set[int]:
    return {edition_of(row, DIMENSION) for batch in store.scan(SPACE) for row in batch.to_pylist()}


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
