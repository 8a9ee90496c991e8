"""Queries of a space with the visibility filter, beside exact search by numpy over vectors in memory.

    python benchmarks/queries.py --records 100000 --repeats 3

Vectors lie in clusters, as those of texts do; a tenth of the records has died, and one in fifty is not born yet. The
store makes its index when a writer has it do so, and holds the generation as for a reader. numpy holds the visible
vectors alone: what it takes is what one multiplication of them takes. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from comparison import Comparison, Target
from contenders import Setup
from processes import output_of, step
from store_latency import make_records, seconds

from ragwright.documents import FOREVER
from ragwright.stores.lancedb import LanceDBStore

DIMENSION, CLUSTERS, K, NOW, THREADS = 384, 512, 5, 5, 2
BATCH = 50_000
QUERIES, FEWER, LARGE = 200, 60, 500_000
"""Questions; fewer beyond so many records, where numpy takes long."""

WITHIN = {100_000: Target("at most", 3)}
"""By records: bounds on p95 to numpy's."""


def measure(setup: Setup) -> list[Comparison]:
    """Latency and throughput at every size, each in a process of its own."""
    found = []
    for records in setup.records:
        command = [sys.executable, __file__, "--records", str(records), "--repeats", str(min(setup.repeats, 3))]
        with step(f"queries of {records:,} records"):
            figures = json.loads(output_of(command))
        for name, unit in (("p50", "ms"), ("p95", "ms"), ("throughput", "queries a second")):
            ours, theirs = (tuple(one[name] for one in figures[side]) for side in ("store", "numpy"))
            target = WITHIN.get(records) if name == "p95" else None
            what = f"query {name}, {records:,} records, {figures['recall']:.1%} of the nearest {K} found"
            found.append(Comparison(what, unit, ours, "numpy, in memory", theirs, direction="share", target=target))
    return found


def main() -> None:
    """Fill a store, then let it and numpy answer the same questions by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--queries", type=int, help=f"default: {QUERIES}, or {FEWER} of more than {LARGE:,} records")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    targets = clustered(args.queries or (FEWER if args.records > LARGE else QUERIES), seed=-1)
    with tempfile.TemporaryDirectory() as folder, LanceDBStore(Path(folder) / "store") as store:
        store.ensure_space("s", DIMENSION)
        names, vectors = fill(store, in_clusters(args.records))
        store.optimise("s")
        result: dict[str, Any] = {"records": args.records, "visible": len(names)}
        result["index_s"] = round(seconds(lambda: store.index("s")), 3)
        result["hold_s"] = round(seconds(lambda: store.hold("s", NOW)), 3)
        result["first_query_s"] = round(seconds(lambda: store.query("s", targets[0], k=K, as_of=NOW)), 3)

        def ask(target: Any) -> list[str]:
            return [match.record_id for match in store.query("s", target, k=K, as_of=NOW)]

        def exact(target: Any) -> list[str]:
            near = vectors @ target
            best = np.argpartition(near, -K)[-K:]
            return [names[number] for number in best[np.argsort(-near[best])]]

        both = [(set(ask(target)), set(exact(target))) for target in targets]
        result["recall"] = statistics.mean(len(found & wanted) / len(wanted) for found, wanted in both)
        for _ in range(args.repeats):
            result.setdefault("store", []).append(timed(ask, targets))
            result.setdefault("numpy", []).append(timed(exact, targets))
    print(json.dumps(result))


def fill(store: Any, batches: Iterable[Any]) -> tuple[list[str], Any]:
    """Write a record a vector; returns the ids and vectors, float32 [visible, DIMENSION], of those a reader sees."""
    visible: list[str] = []
    parts = []
    written = 0
    for vectors in batches:
        numbers = np.arange(written, written + len(vectors))
        written += len(vectors)
        died, unborn = numbers % 10 == 3, numbers % 50 == 7
        records = make_records([f"{number * 2654435761 % 2**64:032x}" for number in numbers.tolist()], DIMENSION)
        columns = {
            "born": pa.array(np.where(unborn, NOW + 1, 1)),
            "died": pa.array(np.where(died, NOW - 1, FOREVER)),
            "text": pc.binary_join_element_wise(records["text"], records["chunk_id"], " "),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION),
        }
        for name, values in columns.items():
            at = records.schema.get_field_index(name)
            records = records.set_column(at, records.schema.field(name), values.cast(records.schema.field(name).type))
        store.upsert("s", records)
        seen = ~(died | unborn)
        visible += records["record_id"].filter(pa.array(seen)).to_pylist()
        parts.append(vectors[seen])
    return visible, np.concatenate(parts)


def in_clusters(count: int) -> Iterator[Any]:
    """So many vectors, in batches."""
    for start in range(0, count, BATCH):
        yield clustered(min(BATCH, count - start), seed=start)


def clustered(count: int, *, seed: int) -> Any:
    """Unit vectors, float32 [count, DIMENSION], around the same centres for every seed."""
    centres = np.random.default_rng(3).standard_normal((CLUSTERS, DIMENSION), dtype=np.float32)
    draw = np.random.default_rng(seed + 1)
    noise = draw.standard_normal((count, DIMENSION), dtype=np.float32)
    vectors = centres[draw.integers(0, CLUSTERS, count)] + 0.7 * noise
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def timed(ask: Callable[[Any], object], targets: Any) -> dict[str, float]:
    """p50 and p95 one after the other, in milliseconds, and queries a second of two threads."""
    p50, p95 = np.percentile([1_000 * seconds(lambda one=target: ask(one)) for target in targets], [50, 95])
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(ask, targets):
            pass
    rate = len(targets) / (time.perf_counter() - started)
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "throughput": round(rate, 1)}


if __name__ == "__main__":
    main()
