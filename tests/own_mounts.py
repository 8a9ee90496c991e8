"""File systems that only one process and its children see, for tests of full and read-only disks."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def own_mounts() -> tuple[str, ...]:
    """A command prefix under which a process may mount file systems that only it sees."""
    unshare = shutil.which("unshare")
    prefix = (unshare or "", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
    trial = [*prefix, "mount", "-t", "tmpfs", "none", "/mnt"]
    if not unshare or subprocess.run(trial, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs Linux and the right to make a mount namespace")
    return prefix
