"""What a measured process tells of itself: one JSON object as the last line on stdout.

Runs under any Python 3.11 without another package, because every contender has its own environment.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def measure(work: Callable[[], dict[str, Any]]) -> None:
    """Do the work and print its facts with its seconds and the process's peak memory."""
    wall, cpu = time.perf_counter(), time.process_time()
    facts = work()
    seconds = time.perf_counter() - wall
    print(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time() - cpu, "peak_mb": peak_mb(), **facts}))


def peak_mb() -> int:
    """Peak resident memory of this process, MiB.

    On Linux `ru_maxrss` starts at what the parent had when it forked; the process's own status does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
