"""What a re-index costs when nothing, or little, has changed: beside the floor, and beside LangChain.

    python benchmarks/reindex.py --source medquad.jsonl --peers .bench-peers --json reindex.json
    python benchmarks/reindex.py --source medquad.jsonl --embedder minilm --repeated 0

The file is a JSONL FAQ with `question` and `answer`. Each figure is the median of several passes, each in a process of
its own: the work alone, with every package imported before the clock starts, and the whole process, imports and all.

- floor: read + hash + diff by pandas or pyarrow alone, whichever is faster; nothing is checked, kept or published.
- unchanged: the same bytes. rewritten: the same rows, every line written in another way. changed: 1 % of the rows
  edited, 0.5 % removed, 0.5 % added (and back again, which is as much).
- LangChain: `index()` with its SQL record manager, into a store that does nothing and into Chroma.

Exits 1 if a count is wrong (an unchanged source embeds or writes something) or a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"
UNCHANGED_TO_FLOOR, UNCHANGED_TO_FIRST, PEAK_MB = 2.0, 0.03, 1_024

Passes = dict[str, list[dict[str, Any]]]


def main() -> int:
    """Measure, print a Markdown table, and exit 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="a JSONL FAQ with question and answer")
    parser.add_argument("--repeated", type=int, default=200_000, help="rows of the second, larger source; 0: none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--embedder", default="constant", help="constant, minilm (a real endpoint) or hashing:DIMENSION"
    )
    parser.add_argument("--cache", type=Path, default=Path(".ragwright/models"), help="folder of model files")
    parser.add_argument("--peers", type=Path, help="environment for LangChain; made if it is not there")
    parser.add_argument("--work", type=Path, help="folder for indexes and sources; kept. Default: a temporary one")
    parser.add_argument("--json", type=Path, help="where to write every figure")
    args = parser.parse_args()
    peers = peer_python(args.peers) if args.peers else None
    results = []
    with nullcontext(args.work) if args.work else tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        rows = [json.loads(line) for line in args.source.read_text(encoding="utf-8").splitlines()]
        sources = Sources.make(rows, work / "given")
        with endpoint(args, work / "given" / "ragwright"):
            results.append(compare(sources, args, peers))
        if args.repeated:
            results.append(compare(Sources.make(repeated(rows, args.repeated), work / "repeated"), args, None))
    if args.json:
        args.json.write_text(json.dumps({"results": results, "repeats": args.repeats}, indent=1) + "\n")
    print("\n\n".join(map(table, results)))
    missed = [line for result in results for line in result["missed"]]
    print("".join(f"\nmissed: {line}" for line in missed))
    return 1 if missed else 0


@dataclass(frozen=True)
class Sources:
    """One FAQ in three states, and how many rows of the last differ from the first."""

    folder: Path
    rows: int
    edited: int
    moved: int

    def __getitem__(self, name: str) -> str:
        """Path of `original`, `rewritten` or `changed`."""
        return str(self.folder / f"{name}.jsonl")

    @classmethod
    def make(cls, rows: Sequence[dict[str, Any]], folder: Path) -> Sources:
        """Write the three files; what is edited or removed is chosen among questions that occur once."""
        folder.mkdir(parents=True, exist_ok=True)
        count, draw = len(rows), random.Random(7)
        keys = [" ".join(row["question"].casefold().split()) for row in rows]
        times = Counter(keys)
        single = [number for number, key in enumerate(keys) if times[key] == 1 and rows[number]["answer"].strip()]
        edited = set(draw.sample(single, count // 100))
        removed = set(draw.sample([number for number in single if number not in edited], count // 200))
        changed = [
            row | {"answer": f"{row['answer']} This was revised."} if number in edited else row
            for number, row in enumerate(rows)
            if number not in removed
        ]
        changed += [
            row | {"question": f"{row['question']} (added, {number})", "answer": f"{row['answer']} Added: {number}."}
            for number, row in enumerate(rows[number] for number in draw.sample(single, len(removed)))
        ]
        backwards = ({name: row[name] for name in reversed(row)} for row in rows)
        for name, found in (("original", rows), ("rewritten", backwards), ("changed", changed)):
            with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        return cls(folder, count, len(edited), len(removed))


def repeated(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """So many rows, the given ones over and over, with questions that occur once."""
    found = (rows[number % len(rows)] for number in range(count))
    return [row | {"question": f"{row['question']} (case {number})"} for number, row in enumerate(found)]


def compare(sources: Sources, args: argparse.Namespace, peers: Path | None) -> dict[str, Any]:
    """All contenders over one FAQ, by turns, so that a slow moment of the machine hits all of them."""
    state, passes = sources.folder / "ragwright", Passes()

    def floor(reader: str) -> dict[str, Any]:
        given = ["--source", sources["original"], "--state", str(sources.folder / "floor"), "--reader", reader]
        return run(sys.executable, "table_floor.py", *given)

    def ours(name: str, *imports: str) -> dict[str, Any]:
        given = ["--source", sources[name], "--state", str(state), "--embedder", args.embedder]
        cache = ["--cache", str(args.cache.absolute())]
        return run(sys.executable, "ragwright_reindex.py", *given, *cache, "--imports", "lancedb", *imports)

    def langchain(store: str, name: str) -> dict[str, Any]:
        folder = sources.folder / f"langchain-{store}"
        given = ["--source", sources[name], "--state", str(folder), "--store", store]
        return run(str(peers), "langchain_index.py", *given)

    stores = ("none", "chroma") if peers else ()
    first = ours("original", "great_expectations")
    passes["ragwright, first"] = [first]
    for store in stores:
        passes[f"LangChain into {store}, first"] = [langchain(store, "original")]
    for reader in ("pandas", "pyarrow"):
        floor(reader)  # keeps the hashes to compare with
    for _ in range(args.repeats):
        for reader in ("pandas", "pyarrow"):
            passes.setdefault(f"floor, {reader}", []).append(floor(reader))
        passes.setdefault("ragwright, unchanged", []).append(ours("original"))
        for store in stores:
            passes.setdefault(f"LangChain into {store}, unchanged", []).append(langchain(store, "original"))
    for turn in range(args.repeats):
        name = ("rewritten", "original")[turn % 2]
        passes.setdefault("ragwright, rewritten", []).append(ours(name))
    for turn in range(args.repeats):
        name = ("changed", "original")[turn % 2]
        passes.setdefault("ragwright, changed", []).append(ours(name, "great_expectations"))
        for store in stores:
            passes.setdefault(f"LangChain into {store}, changed", []).append(langchain(store, name))
    missed = [*wrong_counts(sources, passes), *missed_targets(passes, args.embedder)]
    figures = {name: summary(found) for name, found in passes.items()}
    return {"rows": sources.rows, "embedder": args.embedder, "figures": figures, "missed": missed}


def run(python: str, script: str, *given: str) -> dict[str, Any]:
    """One pass in a process of its own; bytecode is cached, as it is wherever the packages' folder can be written."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    done = subprocess.run(
        [python, str(PEERS / script), *given], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{script} {' '.join(given)} exited {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{script} {' '.join(given)}: {found['seconds']:.2f} s", file=sys.stderr)
    return found | {"process_seconds": seconds}


def wrong_counts(sources: Sources, passes: Passes) -> list[str]:
    """What ragwright embedded or wrote beyond what changed, as sentences."""
    reports = {name: [one["report"] for one in found] for name, found in passes.items() if "report" in found[0]}
    wrong = []
    for name in ("unchanged", "rewritten"):
        wrong += [
            f"{sources.rows} rows, {name}: {report['embedded']} embedded, {report['written']} written"
            for report in reports[f"ragwright, {name}"]
            if report["embedded"] or report["written"] or report["plan"]["keep"] != report["chunks"]
        ]
    chunks = reports["ragwright, first"][0]["chunks"]
    for report in reports["ragwright, changed"]:
        ledger, plan = report["ledger"], report["plan"]
        found = {name: ledger[name] for name in ("updated", "added", "removed")}
        expected = {"updated": sources.edited, "added": sources.moved, "removed": sources.moved}
        sent = plan["insert"] + plan["mark"]
        kept = plan["keep"] == chunks - plan["mark"]
        if found != expected or report["embedded"] != plan["insert"] or report["written"] != sent or not kept:
            wrong.append(f"{sources.rows} rows, changed: {found} for {expected}, plan {plan}, of {chunks} before")
        chunks = report["chunks"]
    return wrong


def missed_targets(passes: Passes, embedder: str) -> list[str]:
    """Targets that the medians miss, as sentences; the share of the first time is meant for an embedder that works."""
    unchanged = passes["ragwright, unchanged"]
    ours, first = median(unchanged), median(passes["ragwright, first"])
    peak = max(one["peak_mb"] for one in unchanged)
    floor = floor_of(passes, median)
    missed = []
    if ours > UNCHANGED_TO_FLOOR * floor:
        missed.append(f"unchanged takes {ours / floor:.2f} times the floor; the target is {UNCHANGED_TO_FLOOR:g}")
    if embedder != "constant" and ours > UNCHANGED_TO_FIRST * first:
        missed.append(f"unchanged takes {ours / first:.1%} of the first time; the target is {UNCHANGED_TO_FIRST:.0%}")
    if peak > PEAK_MB:
        missed.append(f"unchanged peaks at {peak} MB; the target is {PEAK_MB}")
    return missed


def median(passes: Sequence[dict[str, Any]], key: str = "seconds") -> float:
    """Of one figure."""
    return statistics.median(one[key] for one in passes)


def floor_of(passes: Passes, figure: Callable[[Sequence[dict[str, Any]]], float]) -> float:
    """The faster of the two floors."""
    return min(figure(passes[f"floor, {reader}"]) for reader in ("pandas", "pyarrow"))


def summary(passes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median, least and most of the times, the highest peak, and the last pass's own facts."""
    figures: dict[str, Any] = {
        key: {
            "median": round(median(passes, key), 3),
            "min": round(min(one[key] for one in passes), 3),
            "max": round(max(one[key] for one in passes), 3),
        }
        for key in ("seconds", "cpu_seconds", "process_seconds")
    }
    facts = {key: value for key, value in passes[-1].items() if key not in {*figures, "peak_mb"}}
    return figures | {"peak_mb": max(one["peak_mb"] for one in passes), "passes": len(passes), "facts": facts}


def table(result: dict[str, Any]) -> str:
    """For a README."""
    figures = result["figures"]
    floors = [figures[f"floor, {reader}"] for reader in ("pandas", "pyarrow")]
    floor = min(one["seconds"]["median"] for one in floors)
    first = figures["ragwright, first"]["seconds"]["median"]
    lines = [
        f"{result['rows']:,} rows, {result['embedder']} embedder",
        "",
        "| | work, s | to the floor | to the first time | with imports, s | peak, MB | embedded |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in sorted(figures.items()):
        seconds = one["seconds"]
        spread = f" ({seconds['min']:.2f} to {seconds['max']:.2f})" if one["passes"] > 1 else ""
        embedded = one["facts"].get("report", one["facts"]).get("embedded")
        share = f"{seconds['median'] / first:.1%}" if name.startswith("ragwright") else ""
        lines.append(
            f"| {name} | {seconds['median']:.2f}{spread} | {seconds['median'] / floor:.2f} | {share} "
            f"| {one['process_seconds']['median']:.2f} | {one['peak_mb']:,} "
            f"| {'' if embedded is None else format(embedded, ',')} |"
        )
    return "\n".join(lines)


def endpoint(args: argparse.Namespace, state: Path) -> AbstractContextManager[object]:
    """A real embedding server for as long as the passes take, if they need one."""
    if args.embedder != "minilm":
        return nullcontext()
    sys.path.insert(0, str(PEERS))
    from ragwright_reindex import settings_of

    from ragwright.assembly import in_service, wanted_endpoints

    settings = settings_of(state, args.embedder, args.cache.absolute())
    return in_service(settings, wanted_endpoints(settings, generator=False), minutes=5)


def peer_python(folder: Path) -> Path:
    """The interpreter of the peers' environment, which is made if it is not there, or holds other versions."""
    python, wanted, has = folder / "bin" / "python", PEERS / "requirements.txt", folder / "requirements.txt"
    if not (has.exists() and has.read_bytes() == wanted.read_bytes()):
        if not python.exists():
            venv.create(folder, with_pip=True)
        # By pip, which copies: NLTK, which LlamaIndex loads, refuses files that are linked from a cache.
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", wanted], check=True)
        shutil.copyfile(wanted, has)
    return python.absolute()


if __name__ == "__main__":
    sys.exit(main())
