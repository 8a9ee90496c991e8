"""A first index on Dask's workers beside the thread pool, as dask_scaling.py measures it."""

from __future__ import annotations

import sys
from pathlib import Path

from comparison import Comparison, read
from contenders import Setup
from processes import output_of, step


def dask(setup: Setup) -> list[Comparison]:
    """Whole runs, and their mapped stages; fails where an index differs from the thread pool's."""
    script, results = Path(__file__).with_name("dask_scaling.py"), setup.fresh("dask-results")
    command = [sys.executable, str(script), "--rows", str(setup.dask_rows), "--results", str(results)]
    with step(f"a flow on threads, on one worker and on two: {setup.dask_rows:,} rows"):
        output_of([*command, "--work", str(setup.fresh("dask"))], accepted=(0,))
    about, found = read(results / "dask.json")
    for workers, passes in about["conditions"]["passes"].items():
        setup.passes.extend({"what": f"{workers} workers" if int(workers) else "threads", **one} for one in passes)
    return found
