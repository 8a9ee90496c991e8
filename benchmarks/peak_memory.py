"""Peak memory of a re-index as the FAQ grows, with an encoder that takes no time."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

from comparison import Comparison, Target
from contenders import FIRST_IMPORTS, RAGWRIGHT, Pass, Setup
from sources import write_repeated

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
    sizes = sorted(setup.memory_rows)
    found = []
    for (kind, rows), one in peaks.items():
        what, ours = f"peak memory, {kind}, {rows:,} rows", (float(one["peak_mb"]),)
        target = WITHIN if rows == sizes[-1] else None
        found.append(Comparison(what, "MiB", ours, "1.5 GB", (LIMIT_MIB,), direction="share", target=target))
    for kind in ("first index", "unchanged"):
        for less, more in pairwise(sizes):
            what = f"peak memory, {kind}, {more:,} rows"
            small, large = ((float(peaks[kind, rows]["peak_mb"]),) for rows in (less, more))
            target, beside = GROWTH if less >= LARGE else None, f"the same of {less:,} rows"
            found.append(Comparison(what, "MiB", large, beside, small, direction="share", target=target))
    return found


def written(setup: Setup, rows: int) -> Path:
    """A source of so many rows."""
    path = setup.work / f"memory-{rows}.jsonl"
    if not path.exists():
        write_repeated(setup.given, rows, path)
    return path
