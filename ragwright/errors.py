"""Every error ragwright raises, as one tree.

Whether to try again is a property of the error, decided here and read in one place (`ragwright.retry`)::

    RagwrightError
    |-- TransientError            the same call may succeed later
    |   |-- Throttled             429: the other side asks for fewer calls (`retry_after` in seconds, if it said)
    |   |-- Unavailable           refused, reset, 5xx: the other side is not there right now
    |   |-- TimedOut              no answer within the limit
    |   |-- BadReply              an answer that breaks its contract: short, reordered, NaN, not JSON
    |   |-- NotVisibleYet         a write was acknowledged but a read does not show it yet
    |   `-- WriterBusy            another writer holds the index's lease
    `-- PermanentError            the same call will fail again; something must change first
        |-- ConfigurationError    a setting, a flag or a name is wrong
        |-- SourceError           the FAQ cannot be read
        |-- QualityError          too much of the FAQ is unfit to index
        |-- ModelError            a model's files cannot be had or are not what they should be
        |-- EndpointError         an endpoint failed to start, died or is not there
        |-- RequestRejected       the other side says the request is wrong (400, 401, 403, 404, 422)
        |   |-- PayloadTooLarge   413: send less at once
        |   `-- NoSuchOperation   404, 405: it does nothing of the kind
        |-- StoreError            the vector store refused or lost something
        |-- CatalogError          the index's catalog is damaged or missing something
        |   |-- PublishConflict   another writer published first; nothing was changed
        |   `-- LeaseLost         the right to write lapsed in the middle of a run
        |-- FingerprintMismatch   vectors and query come from different embedders
        |-- GuardRefused          a guard against accidents stopped the run (mass deletion, empty source)
        |-- GateBlocked           the candidate generation did not pass its evaluation
        `-- StorageFull           no room left on the disk
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class RagwrightError(Exception):
    """What went wrong, with the place and the next step.

    Args:
        what: One sentence with the offending value in it (`!r`).
        place: Where: a file with its row and column, an endpoint, a generation.
        hint: What the reader can do about it, as an imperative sentence.

    The cause, if there is one, is the exception it was raised `from`.
    """

    def __init__(self, what: str, *, place: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, place, hint)
        self.what, self.place, self.hint = what, place, hint

    def __str__(self) -> str:
        """The three parts in one line, as a log shows them."""
        text = f"{self.place}: {self.what}" if self.place else self.what
        return f"{text} {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by state: errors cross process boundaries, and keyword-only arguments would be lost."""
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(cls: type[RagwrightError], args: tuple[object, ...], state: dict[str, object]) -> RagwrightError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class TransientError(RagwrightError):
    """The same call may succeed later.

    Attributes:
        retry_after: Seconds until another call is welcome, if the other side said.
        tried_again: Whether `ragwright.retry` has given up on it; no other layer tries again then.
    """

    retry_after: float | None = None
    tried_again: bool = False


class Throttled(TransientError):
    """The other side asks for fewer calls; `retry_after` is its wish in seconds."""

    def __init__(
        self,
        what: str,
        *,
        place: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(what, place=place, hint=hint)
        self.retry_after = retry_after


class Unavailable(TransientError):
    """The other side is not there right now."""


class TimedOut(TransientError):
    """No answer within the limit."""


class BadReply(TransientError):
    """An answer that breaks its contract; none of it was used."""


class NotVisibleYet(TransientError):
    """A write was acknowledged but a read does not show it yet."""


class WriterBusy(TransientError):
    """Another writer holds the index's lease."""


class PermanentError(RagwrightError):
    """The same call will fail again; something must change first."""


class ConfigurationError(PermanentError):
    """A setting, a flag or a name is wrong."""


class SourceError(PermanentError):
    """The FAQ cannot be read."""


class QualityError(PermanentError):
    """Too much of the FAQ is unfit to index."""


class ModelError(PermanentError):
    """A model's files cannot be had or are not what they should be."""


class EndpointError(PermanentError):
    """An endpoint failed to start, died or is not there."""


class RequestRejected(PermanentError):
    """The other side says the request is wrong."""


class NoSuchOperation(RequestRejected):
    """The other side does nothing of the kind."""


class PayloadTooLarge(RequestRejected):
    """The other side wants less at once."""


class StoreError(PermanentError):
    """The vector store refused or lost something."""


class CatalogError(PermanentError):
    """The index's catalog is damaged or missing something."""


class PublishConflict(CatalogError):
    """Another writer published first; nothing was changed."""


class LeaseLost(CatalogError):
    """The right to write lapsed in the middle of a run; nothing more was sent to the store."""


class FingerprintMismatch(PermanentError):
    """Vectors and query come from different embedders."""


class GuardRefused(PermanentError):
    """A guard against accidents stopped the run before it changed anything."""


class GateBlocked(PermanentError):
    """The candidate generation did not pass its evaluation; readers still see the live one.

    Attributes:
        report: What the run did up to there, JSON-ready; the gate's verdict is under `gate`.
    """

    report: Mapping[str, Any] = MappingProxyType({})


class StorageFull(PermanentError):
    """No room left on the disk."""


def is_disk_full(error: BaseException | None) -> bool:
    """Whether a full disk or quota lies behind an error; libraries wrap it in errors of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error) or "os error 28" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
