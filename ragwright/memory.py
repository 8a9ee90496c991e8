"""Giving memory back between stages: allocators keep what a stage needed, and the next one's comes on top."""

from __future__ import annotations

import ctypes
import sys

import pyarrow as pa


def give_back() -> None:
    """Return to the system what Arrow and the C library hold and nobody uses; takes milliseconds."""
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own; musl has no such thing
        if trim is not None:
            trim(0)
