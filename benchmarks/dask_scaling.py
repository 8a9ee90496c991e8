"""A first re-index on Dask's workers beside the thread pool, with an embedder that takes no time.

    python benchmarks/dask_scaling.py                             # 20,000 rows
    python benchmarks/dask_scaling.py --rows 1000000 --workers 2  # about 4 GB of disk
    python benchmarks/suite.py dask                               # as one benchmark of the suite

Each pass is the flow `reindex` in a process of its own, over one Prefect server on this machine, and ends with an index
that must equal the thread pool's to the last letter and the last bit of a vector; if not, this exits 1. What workers
share are the stages `Chunk` and `Embed and write`, which have rows of their own. The seconds of the other stages, which
stay with the flow and bound what workers can save, are printed below. Writers of a LanceDB folder take turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
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
from processes import output_of, unwind_on_sigterm
from ragwright_reindex import ConstantTimeEmbedder

HERE = Path(__file__).resolve().parent
MAPPED = ("Chunk", "Embed and write")
STAGES = ("Validate the source", "Chunk", "Plan", "Embed and write", "End records", "Verify", "Fit", "Publish")
"""How the names of a re-index's task runs begin."""

Pass = dict[str, Any]
"""Seconds, those of each stage, peak memory, and a digest of the index."""


def constant_time(*_: object) -> ConstantTimeEmbedder:
    """As `embedding.endpoint` names it, so that each worker makes its own."""
    return ConstantTimeEmbedder()


def main() -> int:
    """Measure, write, print a Markdown table; exit 1 where an index differs from the thread pool's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--partition-rows", type=int, help="default: source.partition_rows, or an eighth of --rows")
    parser.add_argument("--work", type=Path, help="folder for source and indexes; default: a temporary one")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder for the figures")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one_pass(args.one)
        return 0
    unwind_on_sigterm()
    with nullcontext(args.work) if args.work else tempfile.TemporaryDirectory() as folder:
        work = Path(folder).absolute()
        work.mkdir(parents=True, exist_ok=True)
        taken = passes(work, args.rows, args.workers, repeats=args.repeats, partition_rows=args.partition_rows)
    found = compared(args.rows, taken)
    conditions = {"rows": args.rows, "repeats": args.repeats, "passes": taken}
    path = write(args.results, "dask", conditions, found)
    print("\n".join([f"\n{path}", "", HEADER, *(one.row() for one in found), "", stages_table(taken)]))
    return 0


def passes(
    work: Path, rows: int, workers: Sequence[int], *, repeats: int, partition_rows: int | None = None
) -> dict[int, list[Pass]]:
    """All passes by number of workers, 0 for threads, taken by turns.

    Raises:
        SystemExit: An index on workers is not the thread pool's.
    """
    source = written(work / "faq.csv", rows)
    given = partition_rows or min(5_000, -(-rows // 8))
    found: dict[int, list[Pass]] = {number: [] for number in (0, *workers)}
    with PrefectServer(work) as server:
        for number in list(found) * repeats:
            found[number].append(index(source, work, server, number, partition_rows=given))
            if found[number][-1]["index"] != found[0][0]["index"]:
                sys.exit(f"differs from the thread pool's index: the one of {number} worker(s)")
    return found


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


def index(source: Path, work: Path, server: PrefectServer, workers: int, *, partition_rows: int) -> Pass:
    """One pass, on threads where `workers` is 0."""
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
    try:
        told = output_of(command, cwd=work, environment=environment, accepted=(0,))
        measured, stages = (json.loads(line) for line in told.splitlines()[-2:])
        return {**measured, "stages": stages, "index": digest(home)}
    finally:
        shutil.rmtree(home, ignore_errors=True)


def one_pass(source: str) -> None:
    """Run the flow in this process; print what it took, and then what its stages did."""
    from flows.reindex import reindex

    run_ids: list[Any] = []

    def work() -> dict[str, Any]:
        state = reindex(source=source, return_state=True)
        run_ids.append(state.state_details.flow_run_id)
        return {"embedded": state.result().embedded}

    measure(work)
    print(json.dumps(stage_seconds(*run_ids)))


def stage_seconds(run_id: Any) -> dict[str, float]:
    """From the start of a stage's first task run to the end of its last, by stage."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    ours = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + 30
        while True:  # the server hears of the last ones a moment later
            runs = client.read_task_runs(flow_run_filter=ours)
            if all(run.end_time for run in runs) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
    spans = {}
    for stage in STAGES:
        parts = [run for run in runs if run.name.startswith(f"{stage} ") or run.name == stage]
        begun, ended = [run.start_time for run in parts if run.start_time], [r.end_time for r in parts if r.end_time]
        if begun and ended:
            spans[stage] = (max(ended) - min(begun)).total_seconds()
    return spans


def digest(home: Path) -> str:
    """The same for indexes that show the same: manifest, texts and vectors, whatever order they were written in."""
    from ragwright.index.attempt import manifest_of, open_catalog
    from ragwright.settings import Settings
    from ragwright.stores import open_store

    settings = Settings(home=home, generation={"endpoint": "none"})
    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store:
        head = catalog.head().last
        assert head is not None
        manifest = manifest_of(catalog, head.generation).sort_by([("row", "ascending"), ("part", "ascending")])
        total, count = 0, 0
        columns = ("record_id", "question", "text", "vector")
        for batch in store.scan(head.space, as_of=head.generation, columns=columns):
            vectors = np.stack(batch["vector"].to_numpy(zero_copy_only=False))
            texts = zip(*(batch[name].to_pylist() for name in columns[:-1]), strict=True)
            for record, vector in zip(texts, vectors, strict=True):
                # A sum does not depend on the order, so that nothing has to be sorted.
                total += int.from_bytes(sha256("\0".join(record).encode() + vector.tobytes()).digest()[:16])
                count += 1
    listed = sha256()
    for ids in manifest["record_id"].chunks:
        listed.update("\n".join([*ids.to_pylist(), ""]).encode())
    return f"{count}:{total % 2**128:032x}:{listed.hexdigest()}"


def compared(rows: int, passes: dict[int, list[Pass]]) -> list[Comparison]:
    """Whole runs, and the mapped stages alone, beside the thread pool."""
    found = []
    for workers, taken in passes.items():
        if workers:
            what = f"first index, {rows:,} rows, {workers} Dask worker{'s' * (workers > 1)}"
            seconds = [tuple(one["seconds"] for one in each) for each in (taken, passes[0])]
            found.append(Comparison(what, "s", seconds[0], "thread pool", seconds[1]))
            for stage in MAPPED:
                ours, theirs = (tuple(one["stages"][stage] for one in each) for each in (taken, passes[0]))
                found.append(Comparison(f"{what}: {stage.lower()}", "s", ours, "thread pool", theirs))
    return found


def stages_table(passes: dict[int, list[Pass]]) -> str:
    """Where the time goes, as Markdown: medians."""
    header = ["stage, s", *(f"{number} workers" if number else "threads" for number in passes)]
    lines = [header, ["---"] * len(header)]
    for stage in STAGES:
        taken = [[one["stages"].get(stage, 0.0) for one in each] for each in passes.values()]
        lines.append([stage, *(f"{statistics.median(seconds):.1f}" for seconds in taken)])
    lines.append(["peak of the flow's process, MiB", *(str(max(o["peak_mb"] for o in p)) for p in passes.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
