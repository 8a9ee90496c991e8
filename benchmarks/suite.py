r"""Run the benchmarks: each compares ragwright with a peer, or with a limit measured in the same run.

    python benchmarks/suite.py                          # all of them: about an hour on two cores
    python benchmarks/suite.py unchanged query          # some
    python benchmarks/suite.py --work FOLDER            # goes on after the last that ended there
    python benchmarks/suite.py --tiny --results FOLDER  # in minutes, to see that they work

Each writes benchmarks/results/NAME.json as soon as it ends, every repetition of it, from which table.py makes the
README's table. What runs is told on stderr. A peer that fails is a row that says why; a benchmark that fails leaves the
others to be measured. Exit code: 0, 1 where a target is missed, 2 where a benchmark failed.

A benchmark is a function that takes a `Setup` and returns `Comparison`s, with its targets beside it; it is named in
`BENCHMARKS` here. docs/performance.md says what each means and how long it takes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from comparison import HEADER, Comparison, write
from contenders import Setup
from processes import Failed, unwind_on_sigterm

from ragwright.errors import RagwrightError

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MEDQUAD = ROOT.parent / "shared" / "data" / "medquad" / "medquad.jsonl"
BENCHMARKS = {
    "first": "reindexing:first",
    "encoder": "reindexing:first_with_encoder",
    "unchanged": "reindexing:unchanged",
    "changed": "reindexing:changed",
    "memory": "peak_memory:peak_memory",
    "query": "queries:measure",
    "overhead": "overhead:measure",
    "startup": "startup:measure",
    "dask": "scaling:dask",
}
TINY: dict[str, Any] = {
    "rows": 300,
    "large_rows": 600,
    "memory_rows": [300, 600],
    "records": [1_000],
    "encoder_rows": 40,
    "dask_rows": 300,
    "repeats": 1,
}


def main() -> int:
    """Measure, write, print Markdown tables, and say what was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", nargs="*", help=f"which: {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--source", type=Path, help="a JSONL FAQ; default: MedQuAD beside the checkout, else the own")
    parser.add_argument("--rows", type=int, default=16_407)
    parser.add_argument("--large-rows", type=int, default=100_000, help="of the larger unchanged source; 0: none")
    parser.add_argument("--memory-rows", type=int, nargs="+", default=[16_407, 200_000, 1_000_000])
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--encoder-rows", type=int, default=3_000, help="where a real encoder works")
    parser.add_argument("--dask-rows", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5, help="of everything that is timed, at most")
    parser.add_argument("--patience", type=float, default=40, help="seconds after which no peer is asked once more")
    parser.add_argument("--peer-limit", type=float, default=900, help="seconds that one pass of a peer may take")
    parser.add_argument("--tiny", action="store_true", help="small sizes, once: to see that all works")
    parser.add_argument("--peers", type=Path, default=ROOT / ".ragwright" / "bench-peers", help="their environment")
    parser.add_argument("--cache", type=Path, default=ROOT / ".ragwright" / "models", help="folder of model files")
    parser.add_argument("--work", type=Path, help="folder for indexes and sources; kept. Default: a temporary one")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures")
    args = parser.parse_args()
    unknown = set(args.benchmark) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if args.tiny:
        parser.set_defaults(**TINY)
        args = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("RAGWRIGHT_")]:
        del os.environ[name]  # the caller's settings are not what is measured
    unwind_on_sigterm()
    results = args.results.absolute()
    with nullcontext(args.work) if args.work else tempfile.TemporaryDirectory() as folder:
        work = Path(folder).absolute()
        work.mkdir(parents=True, exist_ok=True)
        setup = Setup(
            source=(args.source or default_source(work)).absolute(),
            rows=args.rows,
            large_rows=args.large_rows,
            memory_rows=args.memory_rows,
            records=args.records,
            encoder_rows=args.encoder_rows,
            dask_rows=args.dask_rows,
            repeats=args.repeats,
            patience=args.patience,
            peer_limit=args.peer_limit,
            work=work,
            peers=args.peers.absolute(),
            cache=args.cache.absolute(),
        )
        os.chdir(work)  # nor are those of the caller's ragwright.toml or .env
        # Those that are named are measured; without names, a run goes on where one before it in the same folder ended.
        left = args.benchmark or [name for name in BENCHMARKS if not ended(setup, name)]
        missed, failed = measure(setup, left, results)
    print("".join(f"\nmissed: {line}" for line in missed) + "".join(f"\nfailed: {line}" for line in failed))
    return 2 if failed else 1 if missed else 0


def measure(setup: Setup, names: list[str], results: Path) -> tuple[list[str], list[str]]:
    """Run benchmarks one after the other; returns missed targets, and benchmarks that failed, each as a line."""
    missed: list[str] = []
    failed: list[str] = []
    for number, name in enumerate(names, start=1):
        print(f"\n{name}: benchmark {number} of {len(names)}", file=sys.stderr, flush=True)
        setup.passes.clear()
        started = time.monotonic()
        try:
            found = benchmark(name)(setup)
        except (Failed, RagwrightError) as why:
            print(f"{name} failed: {why}", file=sys.stderr, flush=True)
            failed.append(f"{name}: {why}")
            continue
        path = write(results, name, setup.conditions(), found, setup.passes)
        ended_mark(setup, name).write_text(json.dumps(setup.conditions()))
        print(f"{name}: {(time.monotonic() - started) / 60:.1f} minutes, {path}", file=sys.stderr, flush=True)
        print("\n".join(["", HEADER, *(one.row() for one in found)]), flush=True)
        missed += [f"{name}: {one.row()}" for one in found if one.missed]
    return missed, failed


def ended(setup: Setup, name: str) -> bool:
    """Whether a run in the same folder, under the same conditions, has measured it."""
    mark = ended_mark(setup, name)
    done = mark.exists() and json.loads(mark.read_text()) == setup.conditions()
    if done:
        print(f"{name}: measured before in {setup.work}; name it to measure it anew", file=sys.stderr)
    return done


def ended_mark(setup: Setup, name: str) -> Path:
    """There once a benchmark has ended in this folder."""
    return setup.work / f"{name}.ended.json"


def benchmark(name: str) -> Callable[[Setup], list[Comparison]]:
    """The function behind a name; what it needs is imported for it alone."""
    module, function = BENCHMARKS[name].split(":")
    found: Callable[[Setup], list[Comparison]] = getattr(importlib.import_module(module), function)
    return found


def default_source(work: Path) -> Path:
    """MedQuAD where it lies beside the checkout, else the project's own FAQ, which is repeated as often as it takes."""
    if MEDQUAD.exists():
        return MEDQUAD
    import pandas as pd

    path = work / "sagemaker_faq.jsonl"
    frame = pd.read_csv(ROOT / "data" / "sagemaker_faq.csv")[["question", "answer"]]
    frame.to_json(path, orient="records", lines=True, force_ascii=False)
    return path


if __name__ == "__main__":
    sys.exit(main())
