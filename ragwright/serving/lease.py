"""The lease as the served process sees it: when it has to end, whatever the clocks do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ragwright.errors import ConfigurationError


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class LeaseWatch:
    """Reads the lease file and says when its time is over.

    The expiry is a wall-clock time, and wall clocks are set. Each new expiry is therefore turned into a deadline on the
    monotonic clock when it is first read, and the lease lapses at whichever comes first: a clock set back does not
    extend it, and a machine that slept (its monotonic clock with it) does not either. A file that cannot be read for a
    moment changes nothing; a file that is gone ends the lease.

    Args:
        path: JSON `{"expires_at": ISO-8601}`.
        now: The wall clock.
        monotonic: The monotonic clock, in seconds.

    Raises:
        ConfigurationError: There is no valid lease to start with.
    """

    def __init__(
        self, path: Path, *, now: Callable[[], datetime] = utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._now, self._monotonic = path, now, monotonic
        self._gone = False
        try:
            self._take(_read(path))
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"there is no valid lease: {error}.", place=str(path), hint='Write {"expires_at": "..."} there first.'
            ) from error

    def refresh(self) -> None:
        """Read the file again."""
        try:
            expires_at = _read(self._path)
        except FileNotFoundError:
            self._gone = True
            return
        except (OSError, ValueError):
            return  # half written or unreadable: the deadline that is known stands
        self._gone = False
        if expires_at != self._expires_at:
            self._take(expires_at)

    @property
    def remaining(self) -> float:
        """Seconds left; not above 0 once it has lapsed."""
        by_wall = (self._expires_at - self._now()).total_seconds()
        return min(by_wall, self._deadline - self._monotonic())

    @property
    def end(self) -> str | None:
        """Why the time is over, or None."""
        if self._gone:
            return "the lease file is gone"
        return f"the lease lapsed at {self._expires_at.isoformat()}" if self.remaining <= 0 else None

    def _take(self, expires_at: datetime) -> None:
        self._expires_at = expires_at
        self._deadline = self._monotonic() + (expires_at - self._now()).total_seconds()


def _read(path: Path) -> datetime:
    content = json.loads(path.read_text(encoding="utf-8"))
    found = content.get("expires_at") if isinstance(content, dict) else None
    expires_at = datetime.fromisoformat(str(found))
    if expires_at.tzinfo is None:
        raise ValueError("`expires_at` has no time zone")
    return expires_at.astimezone(UTC)
