"""What a measured process tells of itself, as the last line on stdout, and the embedder that takes no time.

Runs in every contender's own environment: numpy is the only package that all of them have.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DIMENSION = 384
_TABLE = np.random.default_rng(7).standard_normal((4_096, DIMENSION)).astype(np.float32)
_TABLE /= np.linalg.norm(_TABLE, axis=1, keepdims=True)


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


def constant_time_vectors(texts: Sequence[str]) -> Any:
    """A vector for each text, float32 [n, DIMENSION], that depends on it and costs next to nothing.

    Vectors that were all the same would be no index: every search would end in a tie of all records.
    """
    hashes = np.fromiter((zlib.crc32(text.encode()) for text in texts), np.int64, len(texts))
    vectors = _TABLE[hashes % len(_TABLE)]
    vectors[np.arange(len(texts)), hashes // len(_TABLE) % DIMENSION] += 0.5
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
