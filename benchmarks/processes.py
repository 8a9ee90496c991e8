"""Processes that are measured: what they tell, why they failed, and a line on stderr for each while it runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

PEERS = Path(__file__).resolve().parent / "peers"
GRACE_SECONDS = 30.0
"""For a process to give back what it holds, once it is told to end; a model server drains for some of them."""
_PATH = re.compile(r"(?<![\w.])(?:/[\w.@+-]+){2,}")


class Failed(Exception):
    """Why there is no figure: one line, without a path of this machine, that a table can show."""


def unwind_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that endpoints, servers and folders of its blocks are given back.

    Once is enough: what tells a whole group (`timeout` does) would else interrupt the giving back.
    """

    def unwind(*_: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, unwind)


def run(python: str, script: str, *given: str, label: str = "", limit: float | None = None) -> dict[str, Any]:
    """One pass of a script of peers/ in a process of its own; returns what it printed last.

    The process starts beside the script, so that no `ragwright.toml` or `.env` of the caller's folder changes what it
    does: paths have to be absolute.

    Raises:
        Failed: It exited otherwise than with 0, told nothing, or took longer than `limit` seconds.
    """
    command = [python, str(PEERS / script), *given]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAGWRIGHT_")}
    with step(label or " ".join([script, *given])):
        lines = output_of(command, cwd=PEERS, limit=limit, environment=environment, accepted=(0,)).splitlines()
        found: dict[str, Any] = json.loads(lines[-1])
    return found


def output_of(
    command: Sequence[str],
    cwd: Path | None = None,
    *,
    limit: float | None = None,
    environment: Mapping[str, str] | None = None,
    accepted: Sequence[int] = (0, 1),
    silent: bool = False,
) -> str:
    """What a process prints; by default 1 is a result too, since scripts exit so where a target of theirs is missed.

    One that may be `silent` need not print anything. Bytecode is cached, as it is wherever the packages' folder can be
    written. It does not outlive the call: whatever ends that, the process is told so.

    Raises:
        Failed: It exited with another code, printed nothing, or took longer than `limit` seconds.
    """
    names = {name: value for name, value in (environment or os.environ).items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile() as told:
        with subprocess.Popen(command, cwd=cwd, env=names, stdout=subprocess.PIPE, stderr=told) as process:
            try:
                printed, _ = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                raise Failed(f"no end within {limit:,.0f} s") from None
            finally:
                end(process)
        told.seek(0)
        complaint = told.read().decode(errors="replace")
    output = printed.decode(errors="replace").strip()
    if process.returncode in accepted and (output or silent):
        return output
    print(f"\n{complaint[-4_000:]}", file=sys.stderr)
    raise Failed(reason(process.returncode, complaint))


def end(process: subprocess.Popen[bytes]) -> None:
    """See that a process is gone; one that runs gets SIGTERM, and SIGKILL only if that does not end it in time."""
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=GRACE_SECONDS)
    finally:
        process.kill()


def reason(code: int, complaint: str) -> str:
    """One line on why a process failed: the last that it said."""
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    said = [line.strip() for line in complaint.splitlines() if line.strip()]
    last = _PATH.sub(lambda path: Path(path[0]).name, said[-1])[:160] if said else "it said nothing"
    return f"exit {code}: {last}".replace("|", "/")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say on stderr what runs now, and, once it has ended, how long it took."""
    print(f"{datetime.now():%H:%M:%S}  {what} ... ", end="", file=sys.stderr, flush=True)
    started = time.perf_counter()
    try:
        yield
    except BaseException as why:
        print(f"failed: {why}" if isinstance(why, Failed) else type(why).__name__, file=sys.stderr, flush=True)
        raise
    print(f"{time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
