"""Peak memory of a re-index as the FAQ grows, with an encoder that takes no time."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

from comparison import Comparison, Target
from contenders import FIRST_IMPORTS, LIBRARIES, RAGWRIGHT, Pass, Setup, attempt

LIMIT_MIB = 1.5e9 / 2**20
WITHIN, GROWTH = Target("at most", 1), Target("at most", 1.5)
LARGE = 100_000
"""Rows from which memory should hardly grow; below, what every process needs counts for most."""


def peak_memory(setup: Setup) -> list[Comparison]:
    """Peak resident memory of a first index and of an unchanged one as the FAQ grows."""
    peaks: dict[tuple[str, int], Pass] = {}
    for rows in sorted(setup.memory_rows):
        source, state = written(setup, rows), setup.fresh("memory")
        try:
            for kind in ("first index", "unchanged"):
                imports = FIRST_IMPORTS if kind == "first index" else ("lancedb",)
                peaks[kind, rows] = RAGWRIGHT.index(setup, str(source), state, "--imports", *imports)
        finally:
            shutil.rmtree(state, ignore_errors=True)
    found = []
    for (kind, rows), one in peaks.items():
        what, ours = f"peak memory, {kind}, {rows:,} rows", (float(one["peak_mb"]),)
        within = Comparison(what, "MiB", ours, "1.5 GB", (LIMIT_MIB,), direction="share", target=WITHIN)
        found.append(within)
    sizes = sorted(setup.memory_rows)
    for kind in ("first index", "unchanged"):
        for less, more in pairwise(sizes):
            what = f"peak memory, {kind}, {more:,} rows"
            small, large = (float(peaks[kind, rows]["peak_mb"]) for rows in (less, more))
            target = GROWTH if less >= LARGE else None
            found.append(
                Comparison(
                    what, "MiB", (large,), f"the same of {less:,} rows", (small,), direction="share", target=target
                )
            )
    return [*found, *beside_libraries(setup, {rows: peaks["first index", rows] for rows in sizes[:1]})]


def beside_libraries(setup: Setup, peaks: dict[int, Pass]) -> list[Comparison]:
    """The libraries' peaks at the smallest size."""
    found = []
    for rows, ours in peaks.items():
        for peer in LIBRARIES:
            state = setup.fresh("memory-peer")
            one = attempt(peer, setup, str(written(setup, rows)), state)
            shutil.rmtree(state, ignore_errors=True)
            failed = one if isinstance(one, str) else ""
            theirs = () if isinstance(one, str) else (float(one["peak_mb"]),)
            what = f"peak memory, first index, {rows:,} rows"
            mine = (float(ours["peak_mb"]),)
            found.append(Comparison(what, "MiB", mine, peer.name, theirs, direction="share", failed=failed))
    return found


def written(setup: Setup, rows: int) -> Path:
    """A source of so many rows, written row by row: a list of a million would be larger than what is measured."""
    path = setup.work / f"memory-{rows}.jsonl"
    if not path.exists():
        with path.open("w", encoding="utf-8") as file:
            for number in range(rows):
                row = setup.given[number % len(setup.given)]
                case = f" (case {number})" if number >= len(setup.given) else ""
                file.write(json.dumps(row | {"question": row["question"] + case}, ensure_ascii=False) + "\n")
    return path
