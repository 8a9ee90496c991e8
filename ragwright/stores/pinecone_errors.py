"""What goes wrong at Pinecone, as ragwright's errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ragwright.errors import BadReply, RagwrightError, StoreError, Throttled, TimedOut, TransientError, Unavailable

API_KEY = "PINECONE_API_KEY"
"""The environment variable that holds the key; the SDK reads it by the same name."""

_HINTS = {
    401: f"Check {API_KEY}.",
    402: "Check the project's plan and its limits.",
    403: f"Check the permissions of {API_KEY} and the project's quotas.",
    413: "Use smaller chunks or fewer metadata columns.",
}


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise what the SDK raises as an error of the tree in `ragwright.errors`.

    Args:
        place: Index and space, for the message.

    Raises:
        Throttled: 429; `retry_after` as the server wishes.
        Unavailable: Refused, reset, 5xx.
        TimedOut: No answer in time, or 408.
        BadReply: An answer that is not what the API promises.
        StoreError: Everything else, with the server's message.
    """
    from pinecone.errors.exceptions import PineconeError

    try:
        yield
    except PineconeError as error:
        raise _translate(error, place) from (None if _tells_the_key(error) else error)


def _translate(error: Exception, place: str) -> RagwrightError:
    from pinecone.errors import exceptions as sdk

    said = without_key(str(getattr(error, "message", "") or error)).strip().rstrip(".")
    kind: type[RagwrightError] = StoreError
    hint, retry_after = None, None
    match error:
        case sdk.RateLimitError():
            return Throttled(f"Pinecone asks for fewer requests: {said}.", place=place, retry_after=error.retry_after)
        case sdk.ServiceError():
            kind, retry_after = Unavailable, _seconds((error.headers or {}).get("retry-after"))
        case sdk.PineconeConnectionError():
            kind = Unavailable
        case sdk.PineconeTimeoutError() | sdk.ApiError(status_code=408):
            kind = TimedOut
        case sdk.ResponseParsingError():
            kind = BadReply
        case sdk.ApiError():
            hint = _HINTS.get(error.status_code)
    status = f" answers with status {error.status_code}" if isinstance(error, sdk.ApiError) else "'s SDK says"
    found = kind(f"Pinecone{status}: {said}.", place=place, hint=hint)
    if isinstance(found, TransientError):
        found.retry_after = retry_after
    return found


def without_key(text: str) -> str:
    """A message with the API key taken out, should the other side have quoted it."""
    key = os.environ.get(API_KEY, "")
    return text.replace(key, "***") if key else text


def _tells_the_key(error: BaseException) -> bool:
    parts = (str(error), repr(error))
    return any(without_key(part) != part for part in parts)


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if seconds >= 0 else None
