r"""Run the benchmarks: each compares ragwright with a peer, or with a limit measured in the same run.

    python benchmarks/suite.py                                  # all of them
    python benchmarks/suite.py unchanged query                  # some
    python benchmarks/suite.py --rows 300 --large-rows 0 --memory-rows 300 600 --records 1000 \
        --encoder-rows 40 --repeats 1 --results .ragwright/bench # in minutes, to see that they work

Each writes benchmarks/results/NAME.json, every repetition of it, from which table.py makes the README's table. A
target that is missed is printed, stands in the table, and makes the suite exit 1.

A benchmark is a function that takes a `Setup` and returns `Comparison`s, with its targets beside it; it is named in
`BENCHMARKS` here. docs/performance.md says what each means and how long it takes.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from comparison import HEADER, Comparison, write
from contenders import Setup

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
MEDQUAD = ROOT.parent / "shared" / "data" / "medquad" / "medquad.jsonl"
BENCHMARKS = {
    "first": "reindexing:first",
    "unchanged": "reindexing:unchanged",
    "changed": "reindexing:changed",
    "memory": "peak_memory:peak_memory",
    "query": "queries:measure",
    "overhead": "overhead:measure",
    "startup": "startup:measure",
}


def main() -> int:
    """Measure, write, print a Markdown table, and exit 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", nargs="*", help=f"which: {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--source", type=Path, help="a JSONL FAQ; default: MedQuAD beside the checkout, else the own")
    parser.add_argument("--rows", type=int, default=16_407)
    parser.add_argument("--large-rows", type=int, default=100_000, help="of the larger unchanged source; 0: none")
    parser.add_argument("--memory-rows", type=int, nargs="+", default=[16_407, 200_000, 1_000_000])
    parser.add_argument("--records", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--encoder-rows", type=int, default=2_000, help="where a real encoder works")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", type=Path, default=ROOT / ".ragwright" / "bench-peers", help="their environment")
    parser.add_argument("--cache", type=Path, default=ROOT / ".ragwright" / "models", help="folder of model files")
    parser.add_argument("--work", type=Path, help="folder for indexes and sources; kept. Default: a temporary one")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the figures")
    args = parser.parse_args()
    unknown = set(args.benchmark) - set(BENCHMARKS)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    missed: list[str] = []
    with nullcontext(args.work) if args.work else tempfile.TemporaryDirectory() as folder:
        work = Path(folder).absolute()
        work.mkdir(parents=True, exist_ok=True)
        setup = Setup(
            source=args.source or default_source(work),
            rows=args.rows,
            large_rows=args.large_rows,
            memory_rows=args.memory_rows,
            records=args.records,
            encoder_rows=args.encoder_rows,
            repeats=args.repeats,
            work=work,
            peers=args.peers.absolute(),
            cache=args.cache,
        )
        for name in args.benchmark or BENCHMARKS:
            found = benchmark(name)(setup)
            path = write(args.results, name, setup.conditions(), found)
            print("\n".join([f"\n{name} ({path})", "", HEADER, *(one.row() for one in found)]), flush=True)
            missed += [f"{name}: {one.row()}" for one in found if one.missed]
    print("".join(f"\nmissed: {line}" for line in missed))
    return 1 if missed else 0


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
