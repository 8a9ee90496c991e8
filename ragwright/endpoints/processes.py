"""The processes behind local endpoints: starting one, finding it again, and ending that one and no other.

A process id says little: it may be stale, or belong to a stranger by now. An endpoint's process is known by its own
command line, which names the endpoint's lease file, and a recorded id counts only together with the time at which the
process was created.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ragwright.errors import EndpointError

# The kernel keeps creation times since boot; turned into wall-clock time they move when the clock is adjusted.
CLOCK_TOLERANCE_SECONDS = 2.0
KILL_SECONDS = 10.0


@dataclass(frozen=True)
class Identity:
    """A process id and when that process was created, in seconds since the epoch."""

    pid: int
    created: float


# One dictionary a process, because children belong to the process: any host in it can ask for an exit code.
_children: dict[Identity, subprocess.Popen[bytes]] = {}


def spawn(command: Sequence[str], *, env: Mapping[str, str], log: Path) -> Identity:
    """Start a detached process: a session of its own, so that Ctrl-C here does not reach it; output into `log`.

    Raises:
        OSError: The program or the log cannot be opened.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603 - the command is built by the host, never by a shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,
        )
    # Not yet waited for, so that even a child that has ended already can be asked.
    identity = Identity(child.pid, psutil.Process(child.pid).create_time())
    _children[identity] = child
    # Without somebody waiting, a dead child would stay in the process table for as long as its parent lives.
    threading.Thread(target=child.wait, name=f"wait-{child.pid}", daemon=True).start()
    return identity


def exit_code(identity: Identity) -> int | None:
    """The exit code (negative: the signal) of an ended process that this process started, else None."""
    child = _children.get(identity)
    if child is None:
        return None
    try:
        return child.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return None


def find(identity: Identity, *, lease_file: Path) -> psutil.Process | None:
    """The recorded process, if it is still that one and serves that lease file."""
    try:
        process = psutil.Process(identity.pid)
        if abs(process.create_time() - identity.created) <= CLOCK_TOLERANCE_SECONDS and _serves(
            process.cmdline(), lease_file
        ):
            return process if is_alive(process) else None
    except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError, OverflowError):
        return None
    return None


def scan(lease_file: Path) -> list[psutil.Process]:
    """Every living process whose command line names the lease file: also those that nobody recorded."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if _serves(process.info["cmdline"] or [], lease_file) and is_alive(process)
    ]


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(process: psutil.Process, *, grace: float) -> None:
    """Ask a process to end, wait `grace` seconds, then kill it; what it started goes with it.

    Raises:
        EndpointError: It is still there, or belongs to somebody else.
    """
    try:
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _wait([process], grace)
        for member in family:
            if is_alive(member):
                member.kill()
        survivors = _wait(family, KILL_SECONDS)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        raise EndpointError(
            f"process {process.pid} may not be ended by this user", hint="End it as the user who started it."
        ) from error
    if survivors:
        raise EndpointError(
            f"process {survivors[0].pid} is still there {KILL_SECONDS:g} s after SIGKILL",
            hint="It hangs in the kernel, often on a disk or a driver; try again later.",
        )


def _wait(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those still alive after `seconds`. Not psutil's own wait, which would take the exit code from the parent."""
    deadline = time.monotonic() + seconds
    while (alive := [process for process in processes if is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def _serves(command: Sequence[str], lease_file: Path) -> bool:
    return any(
        flag == "--lease-file" and value == str(lease_file)
        for flag, value in zip(command, list(command)[1:], strict=False)
    )
