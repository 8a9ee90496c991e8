"""What the vector store port costs over bare LanceDB and bare numpy, on the same records in the same run.

    python benchmarks/store_latency.py [--records 1000 16000 100000] [--dimension 384]

Prints one JSON object: seconds, and ratios to the bare call (1.0: the port costs nothing).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa

from ragwright.documents import FOREVER, records_schema
from ragwright.stores import open_store

BATCH = 5_000
QUERIES = 40


def make_records(names: list[str], dimension: int, *, born: int = 1) -> pa.Table:
    """Random unit vectors with 400 characters of text."""
    count = len(names)
    vectors = np.random.default_rng(count + born).standard_normal((count, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns: dict[str, Any] = {
        "record_id": [f"{name}.{born}" for name in names],
        "chunk_id": names,
        "born": np.full(count, born),
        "died": np.full(count, FOREVER),
        "row_key": names,
        "row": np.arange(count),
        "part": np.zeros(count, np.int32),
        "parts": np.ones(count, np.int32),
        "question": ["Which instances can I use for this?"] * count,
        "text": ["All instances that are supported here. " * 10] * count,
        "metadata": ["{}"] * count,
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dimension),
    }
    return pa.table(columns).select(records_schema(dimension).names).cast(records_schema(dimension))


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def spread(calls: list[Callable[[], object]]) -> dict[str, float]:
    """p50 and p95 of several calls, in milliseconds."""
    took = sorted(1_000 * seconds(call) for call in calls)
    return {"p50_ms": round(statistics.median(took), 2), "p95_ms": round(took[int(0.95 * len(took))], 2)}


def batches(records: pa.Table) -> list[pa.Table]:
    """Writes of the size in which an index is written."""
    return [records.slice(start, BATCH) for start in range(0, len(records), BATCH)]


def measure(count: int, dimension: int, folder: Path) -> dict[str, Any]:
    """All figures at one size."""
    names = [f"{n * 2654435761 % 2**64:032x}" for n in range(count)]
    records = make_records(names, dimension)
    some = names[::100]
    ended, again = [f"{name}.1" for name in some], make_records(some, dimension)
    added = make_records([f"{name}+" for name in some], dimension, born=2)
    store = open_store(f"lancedb:{folder / 'store'}")
    store.ensure_space("s", dimension)
    table = lancedb.connect(folder / "bare").create_table("s", schema=records.schema)

    def merge(data: pa.Table) -> None:
        table.merge_insert("record_id").when_matched_update_all().when_not_matched_insert_all().execute(data)

    quoted = ",".join(f"'{name}'" for name in ended)
    writes: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "first_write": (
            lambda: [store.upsert("s", part) for part in batches(records)],
            lambda: [table.add(part) for part in batches(records)],
        ),
        "upsert_1%_again": (lambda: store.upsert("s", again), lambda: merge(again)),
        "upsert_1%_new": (lambda: store.upsert("s", added), lambda: merge(added)),
        "mark_1%": (
            lambda: store.mark("s", ended, 2),
            lambda: table.update(where=f"record_id IN ({quoted})", values={"died": 2}),
        ),
        "fetch_1%": (
            lambda: store.fetch("s", ended),
            lambda: table.search().where(f"record_id IN ({quoted})").to_arrow(),
        ),
        "delete_1%": (
            lambda: store.delete("s", [f"{name}+.2" for name in some]),
            lambda: table.delete("born = 2"),
        ),
    }
    figures: dict[str, Any] = {}
    for name, (port, bare) in writes.items():
        ours, theirs = seconds(port), seconds(bare)
        figures[name] = {"s": round(ours, 4), "to_lancedb": round(ours / theirs, 2)}

    vectors = records["vector"].combine_chunks().flatten().to_numpy().reshape(-1, dimension)
    targets = np.random.default_rng(1).standard_normal((QUERIES, dimension), dtype=np.float32)
    figures["first_query_s"] = round(seconds(lambda: store.query("s", targets[0], k=5, as_of=2)), 4)
    figures["query"] = spread([lambda q=q: store.query("s", q, k=5, as_of=2) for q in targets])
    numpy_only = spread([lambda q=q: np.argpartition(vectors @ q, -5) for q in targets])
    seen = "born <= 2 AND died > 2"
    native = spread(
        [lambda q=q: table.search(q).distance_type("cosine").where(seen).limit(5).to_arrow() for q in targets[:8]]
    )
    figures["query"] |= {"to_numpy": round(figures["query"]["p50_ms"] / numpy_only["p50_ms"], 2)}
    figures["query"] |= {"to_lancedb": round(figures["query"]["p50_ms"] / native["p50_ms"], 3)}

    def query_after_write(number: int) -> Callable[[], object]:
        store.mark("s", ended[number : number + 1], 2 + number)
        return lambda: store.query("s", targets[number], k=5, as_of=2)

    took = [1_000 * seconds(query_after_write(number)) for number in range(10)]
    figures["query_after_each_write_p50_ms"] = round(statistics.median(took), 2)

    columns = ("record_id", "born", "died")
    ours = seconds(lambda: sum(batch.num_rows for batch in store.scan("s", columns=columns)))
    theirs = seconds(lambda: table.search().select(list(columns)).to_arrow())
    figures["scan_ids"] = {"s": round(ours, 4), "to_lancedb": round(ours / theirs, 2)}
    figures["optimise_s"] = round(seconds(lambda: store.optimise("s")), 3)
    figures["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    store.close()
    return figures


def main() -> None:
    """Measure every size asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 16_000, 100_000, 200_000])
    parser.add_argument("--dimension", type=int, default=384)
    asked = parser.parse_args()
    figures = {}
    for count in asked.records:
        with tempfile.TemporaryDirectory() as folder:
            figures[str(count)] = measure(count, asked.dimension, Path(folder))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
