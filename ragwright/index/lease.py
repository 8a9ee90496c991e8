"""One writer at a time, with nothing but exclusive creates.

A lease is a file `writer/<epoch>.json`. Taking it over means creating the next epoch, which only one contender can
do; renewing it means rewriting one's own epoch's file, which nobody else writes. A contender waits until the holder's
expiry has passed (or, where no request of the dead can still be under way, until the holder's process is gone), creates
the next epoch, and looks at the old file once more: a renewal that was in flight wins.

A holder trusts its lease by the monotonic clock, from the moment *before* it asked for the renewal, and no longer than
the wall clock allows: the monotonic one stands still while a machine sleeps. A wall clock that jumps can only make it
stop early. Contenders compare wall clocks and so rely on machines agreeing within `SKEW`.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import psutil

from ragwright.errors import CatalogError, LeaseLost, RagwrightError, WriterBusy
from ragwright.index.catalog import Catalog

log = logging.getLogger(__name__)

SKEW = timedelta(seconds=2)
"""How far clocks of machines that write one index may be apart; NTP keeps them well within."""


def longest_request(ttl: float) -> float:
    """Seconds that one request to the store may take under a lease of `ttl` seconds.

    It is renewed after a third of them, so at least two thirds are left while its holder is alive.
    """
    return ttl / 3


def process_identity() -> dict[str, Any]:
    """Enough to tell, on the same machine, whether a process still runs: a reused pid has another start time."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
        boot = open("/proc/sys/kernel/random/boot_id").read().strip()  # noqa: SIM115
    except OSError:
        namespace, boot = 0, str(int(psutil.boot_time()))
    return {
        "host": platform.node(),
        "boot": f"{boot}/{namespace}",
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def is_gone(identity: dict[str, Any]) -> bool:
    """Whether a process of this machine has ended; False when it cannot be told."""
    here = process_identity()
    if (identity.get("host"), identity.get("boot")) != (here["host"], here["boot"]):
        return False
    try:
        process = psutil.Process(int(identity["pid"]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(process.create_time() - float(identity["started"])) > 1
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, KeyError, ValueError):
        return False


def _path(epoch: int) -> str:
    return f"writer/{epoch:08d}.json"


class WriterLease:
    """The right to write an index, held for the length of a `with` block and renewed by a thread meanwhile.

    Args:
        catalog: Of the index to write.
        run_id: Named in messages to others.
        ttl: Seconds the lease outlives its last renewal; a takeover after a crash waits as long.
        trust_dead: A holder whose process has ended may be replaced at once. Right only where its requests die with
            it, as with a store on this machine's disk.

    Raises:
        WriterBusy: Somebody else holds the lease; `retry_after` says for how long at most.
    """

    def __init__(self, catalog: Catalog, *, run_id: str = "", ttl: float = 30.0, trust_dead: bool = False) -> None:
        self._catalog, self._run_id, self._ttl, self._trust_dead = catalog, run_id, ttl, trust_dead
        self._lent = False
        self._valid_until, self._expires_at = 0.0, datetime.min.replace(tzinfo=UTC)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.epoch = 0

    def __enter__(self) -> Self:
        self._acquire()
        self._thread = threading.Thread(target=self._heartbeat, name="writer-lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
        if self.remaining() > 0 and not self._lent:
            try:
                self._write(released=True)
            except RagwrightError as failure:
                log.warning("the writer lease could not be given back and lapses by itself: %s", failure)
        self._valid_until = 0.0

    @property
    def longest_request(self) -> float:
        """Seconds that one request to the store may take."""
        return longest_request(self._ttl)

    def remaining(self) -> float:
        """Seconds for which requests may still be sent."""
        by_wall_clock = (self._expires_at - datetime.now(UTC)).total_seconds()
        return min(self._valid_until - time.monotonic(), by_wall_clock)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Other processes send requests under it meanwhile; leave the block normally only when they have ended.

        They may outlive this process, so nobody trusts its death until the lease has lapsed. Nor is it given back after
        a block that ended otherwise.
        """
        self._lent = True
        self._write()
        yield
        self._lent = False

    def _acquire(self) -> None:
        names = self._catalog.names("writer")
        # More than one: somebody gave way to a holder, or died on the way.
        epochs = [int(name.removesuffix(".json")) for name in names]
        for epoch in epochs:
            self._refuse_if_held(epoch)
        self.epoch = max(epochs, default=0) + 1
        granted = self._now()
        if not self._catalog.create(_path(self.epoch), self._content()):
            raise _busy(self._catalog, "another writer took the lease in the same moment", self._ttl)
        try:
            for epoch in epochs:
                self._refuse_if_held(epoch)
        except WriterBusy:
            self._catalog.write(_path(self.epoch), self._content(released=True))
            raise
        self._grant(granted)
        for name in names:
            self._catalog.delete(f"writer/{name}")

    @staticmethod
    def _now() -> tuple[float, datetime]:
        return time.monotonic(), datetime.now(UTC)

    def _grant(self, asked: tuple[float, datetime]) -> None:
        self._valid_until, self._expires_at = asked[0] + self._ttl, asked[1] + timedelta(seconds=self._ttl)

    def _refuse_if_held(self, epoch: int) -> None:
        holder = self._catalog.read_json(_path(epoch))
        if holder is None or holder.get("released"):
            return
        if self._trust_dead and not holder.get("lent") and is_gone(holder.get("process", {})):
            return
        try:
            expires = datetime.fromisoformat(holder["expires_at"])
        except (KeyError, ValueError) as error:
            raise CatalogError(
                f"writer lease {_path(epoch)!r} is damaged", hint="Remove the file if no writer runs."
            ) from error
        left = (expires + SKEW - datetime.now(UTC)).total_seconds()
        if left > 0:
            who = holder.get("process", {})
            raise _busy(
                self._catalog,
                f"run {holder.get('run_id') or '(unnamed)'} on {who.get('host')!r}, process {who.get('pid')}, "
                f"writes this index until {holder['expires_at']} at least",
                left,
            )

    def _content(self, *, released: bool = False) -> bytes:
        return json.dumps(
            {
                "expires_at": (datetime.now(UTC) + timedelta(seconds=self._ttl)).isoformat(),
                "process": process_identity(),
                "released": released,
                "run_id": self._run_id,
                "lent": self._lent,
            }
        ).encode()

    def _write(self, *, released: bool = False) -> None:
        self._catalog.write(_path(self.epoch), self._content(released=released))

    def _heartbeat(self) -> None:
        while not self._stop.wait(self._ttl / 3):
            if self.remaining() <= 0:
                return  # too late: a takeover may be under way, and renewing would only confuse it
            asked = self._now()
            try:
                self._write()
                newest = self._catalog.names("writer")[-1]
            except RagwrightError as error:
                log.warning("the writer lease could not be renewed (%.0f s left): %s", self.remaining(), error)
                continue
            if newest != _path(self.epoch).removeprefix("writer/"):
                self._valid_until = 0.0
                return
            self._grant(asked)


class Fence:
    """Answers, in any process, whether the lease of an epoch still stands; asked before each request to the store.

    Args:
        catalog: Of the index.
        epoch: Under which the attempt began.
        lease: The lease itself where this process holds it; otherwise its file is read, at most once a second.
    """

    def __init__(self, catalog: Catalog, epoch: int, lease: WriterLease | None = None) -> None:
        self._catalog, self._epoch, self._lease = catalog, epoch, lease
        self._read_at, self._left_then = float("-inf"), 0.0
        self._lock = threading.Lock()

    def check(self, request_timeout: float) -> None:
        """Refuse to go on unless the lease outlives a request sent now.

        Raises:
            LeaseLost: It does not.
        """
        left = self._lease.remaining() if self._lease else self._remaining_by_file()
        if left <= request_timeout:
            raise LeaseLost(
                f"the writer lease (epoch {self._epoch}) has {max(left, 0):.1f} s left, "
                f"a request may take {request_timeout:g} s",
                place=f"index {self._catalog.index!r}",
                hint="Another writer may have taken over. Run again: what this run wrote is reused.",
            )

    def _remaining_by_file(self) -> float:
        with self._lock:
            if time.monotonic() - self._read_at > 1:
                asked = time.monotonic()
                names = self._catalog.names("writer")
                holder = self._catalog.read_json(_path(self._epoch)) if names else None
                mine = bool(names) and names[-1] == _path(self._epoch).removeprefix("writer/")
                if holder is None or not mine or holder.get("released"):
                    self._left_then = 0.0
                else:
                    expires = datetime.fromisoformat(holder["expires_at"])
                    self._left_then = (expires - SKEW - datetime.now(UTC)).total_seconds()
                self._read_at = asked
            return self._left_then - (time.monotonic() - self._read_at)


def _busy(catalog: Catalog, what: str, left: float) -> WriterBusy:
    error = WriterBusy(what, place=f"index {catalog.index!r}", hint="Wait for it to end, or stop it; then run again.")
    error.retry_after = max(left, 0.5)
    return error
