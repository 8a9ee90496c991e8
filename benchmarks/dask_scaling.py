"""A first re-index on Dask's workers beside the thread pool, with an embedder that takes no time.

    python benchmarks/dask_scaling.py            # a million rows: about an hour, and 3 GB of disk
    python benchmarks/dask_scaling.py --rows 2000 --results .ragwright/bench

Each pass is the flow `reindex` in a process of its own, over one Prefect server on this machine, and ends with an index
that must equal the thread pool's to the last vector; if not, this exits 1. What workers share are the stages `Chunk`
and `Embed and write`, whose seconds are shown by themselves; writers of a LanceDB folder take turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from comparison import HEADER, Comparison, write
from measured import measure
from prefect_on_loopback import PrefectServer
from ragwright_reindex import ConstantTimeEmbedder

HERE = Path(__file__).resolve().parent
MAPPED = ("Chunk", "Embed and write")


def constant_time(*_: object) -> ConstantTimeEmbedder:
    """As `embedding.endpoint` names it, so that each worker makes its own."""
    return ConstantTimeEmbedder()


def main() -> int:
    """Measure, write, print a Markdown table; exit 1 where an index differs from the thread pool's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--partition-rows", type=int, help="default: source.partition_rows, or a quarter of --rows")
    parser.add_argument("--work", type=Path, help="folder for source and indexes; default: a temporary one")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the figures")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one_pass(args.one)
        return 0
    given = args.partition_rows or min(5_000, -(-args.rows // 4))
    with nullcontext(args.work) if args.work else tempfile.TemporaryDirectory() as folder:
        work = Path(folder).absolute()
        work.mkdir(parents=True, exist_ok=True)
        source = written(work / "faq.csv", args.rows)
        with PrefectServer(work) as server:
            passes = {
                workers: index(source, work, server, workers, partition_rows=given) for workers in (0, *args.workers)
            }
    found = compared(args.rows, passes)
    path = write(args.results, "dask", {"rows": args.rows, "partition_rows": given}, found)
    print("\n".join([f"\n{path}", "", HEADER, *(one.row() for one in found)]))
    differing = [workers for workers, one in passes.items() if one["index"] != passes[0]["index"]]
    for workers in differing:
        print(f"differs from the thread pool's index: the one of {workers} worker(s)", file=sys.stderr)
    return 1 if differing else 0


def written(path: Path, rows: int) -> Path:
    """The project's own FAQ over and over, with questions that occur once."""
    with (HERE.parent / "data" / "sagemaker_faq.csv").open(newline="", encoding="utf-8") as file:
        faq = [(row["question"], row["answer"]) for row in csv.DictReader(file)]
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("question", "answer"))
        for number in range(rows):
            question, answer = faq[number % len(faq)]
            out.writerow((f"{question} (case {number})", answer))
    return path


def index(source: Path, work: Path, server: PrefectServer, workers: int, *, partition_rows: int) -> dict[str, Any]:
    """One pass, on threads where `workers` is 0: its seconds, its memory, and a digest of the index it leaves."""
    home = work / f"{workers}-workers"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAGWRIGHT_", "PREFECT_"))}
    environment |= server.environment() | {
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE / "peers"), environment.get("PYTHONPATH", "")]),
        "RAGWRIGHT_HOME": str(home),
        "RAGWRIGHT_TASK_RUNNER": "dask" if workers else "threads",
        "RAGWRIGHT_DASK__WORKERS": str(workers or 1),
        "RAGWRIGHT_EMBEDDING__ENDPOINT": "python:dask_scaling:constant_time",
        "RAGWRIGHT_GENERATION__ENDPOINT": "none",
        "RAGWRIGHT_SOURCE__PARTITION_ROWS": str(partition_rows),
        "RAGWRIGHT_ANSWERING__CALIBRATION_ROWS": "0",
        "RAGWRIGHT_GATE__MODE": "off",
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--one", str(source)]
    done = subprocess.run(command, cwd=work, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    try:
        return json.loads(done.stdout.splitlines()[-1]) | {"index": digest(home)}
    finally:
        shutil.rmtree(home, ignore_errors=True)


def one_pass(source: str) -> None:
    """Run the flow in this process and print what it took."""
    from flows.reindex import reindex

    def work() -> dict[str, Any]:
        state = reindex(source=source, return_state=True)
        report = state.result()
        return {"embedded": report.embedded, "mapped": stage_seconds(state.state_details.flow_run_id)}

    measure(work)


def stage_seconds(run_id: Any) -> dict[str, float]:
    """From the start of a mapped stage's first task run to the end of its last, by stage."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
    spans = {}
    for stage in MAPPED:
        ours = [run for run in runs if run.name.startswith(f"{stage} ") and run.start_time and run.end_time]
        if ours:
            spans[stage] = (max(run.end_time for run in ours) - min(run.start_time for run in ours)).total_seconds()
    return spans


def digest(home: Path) -> str:
    """The same for indexes that show the same: manifest and vectors, whatever order they were written in."""
    from ragwright.index.attempt import manifest_of, open_catalog
    from ragwright.settings import Settings
    from ragwright.stores import open_store

    settings = Settings(home=home, generation={"endpoint": "none"})
    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store:
        head = catalog.head().last
        assert head is not None
        manifest = manifest_of(catalog, head.generation).sort_by([("row", "ascending"), ("part", "ascending")])
        total, count = 0, 0
        for batch in store.scan(head.space, as_of=head.generation, columns=("chunk_id", "vector")):
            vectors = np.stack(batch["vector"].to_numpy(zero_copy_only=False))
            for chunk_id, vector in zip(batch["chunk_id"].to_pylist(), vectors, strict=True):
                total += int.from_bytes(sha256(chunk_id.encode() + vector.tobytes()).digest()[:16])
                count += 1
    listed = sha256()
    for ids in manifest["chunk_id"].chunks:
        listed.update("\n".join([*ids.to_pylist(), ""]).encode())
    return f"{count}:{total % 2**128:032x}:{listed.hexdigest()}"


def compared(rows: int, passes: dict[int, dict[str, Any]]) -> list[Comparison]:
    """Whole runs, and the mapped stages alone, beside the thread pool."""
    threads, found = passes[0], []
    for workers, one in passes.items():
        if workers:
            what = f"first index, {rows:,} rows, {workers} Dask worker{'s' * (workers > 1)}"
            found.append(Comparison(what, "s", (one["seconds"],), "thread pool", (threads["seconds"],)))
            for stage in MAPPED:
                ours, theirs = (each["mapped"].get(stage) for each in (one, threads))
                if ours and theirs:
                    found.append(Comparison(f"{what}: {stage.lower()}", "s", (ours,), "thread pool", (theirs,)))
    return found


if __name__ == "__main__":
    sys.exit(main())
