"""Calling an endpoint over HTTP: a local one, or any server the user already runs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx
import orjson
from pydantic import SecretStr

from ragwright.endpoints import Contract
from ragwright.endpoints.arrays import ACCEPT, MEDIA_TYPE, read_array
from ragwright.errors import (
    BadReply,
    ConfigurationError,
    NoSuchOperation,
    PayloadTooLarge,
    RequestRejected,
    Throttled,
    TimedOut,
    TransientError,
    Unavailable,
)

# What SageMaker takes, so that what works here works there.
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
MAX_REASON_CHARS = 500
# Servers commonly drop an idle connection after 5 s; one given up earlier is never found dead by a request.
KEEPALIVE_SECONDS = 2.0
BROKEN_OFF = "Ask again; if it breaks off again, the server's log says why."
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class HttpEndpoint:
    """An `Endpoint` that posts JSON to a URL.

    Args:
        name: What errors call it.
        url: Base address of the server.
        contract: Its wire format.
        token: Sent as a bearer token; shown nowhere.
        timeout: Limit of one call in seconds.
        path: Where under `url` requests go.
        max_payload_bytes: Requests over this are refused before they are sent.

    Raises:
        ConfigurationError: `url` is not an http(s) address.
    """

    def __init__(
        self,
        name: str,
        url: str,
        contract: Contract,
        *,
        token: str | SecretStr | None = None,
        timeout: float = 60,
        path: str = "/invocations",
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        self.name = name
        self.contract: Contract = contract
        self.max_payload_bytes = max_payload_bytes
        self._token = (token.get_secret_value() if isinstance(token, SecretStr) else token or "").strip()
        self._timeout = timeout
        self._url = url.rstrip("/") + path if path else url
        self._shown_url, host = _public(self._url)
        if not (self._token.isascii() and self._token.isprintable()):
            raise ConfigurationError(
                f"the key for endpoint {name!r} holds a character that no header can carry", place=self._shown_url
            )
        self._client = httpx.Client(
            timeout=timeout,
            limits=httpx.Limits(keepalive_expiry=KEEPALIVE_SECONDS),
            headers={"Authorization": f"Bearer {self._token}"} if self._token else {},
            # A proxy of the environment cannot reach this machine's loopback.
            trust_env=host not in LOOPBACK,
        )

    def __repr__(self) -> str:
        """Without the token."""
        return f"HttpEndpoint({self.name!r}, {self._shown_url!r}, {self.contract!r})"

    def invoke(self, payload: Mapping[str, Any], *, operation: str = "") -> Any:
        """Post one payload and return the decoded reply; an operation is the last part of the path.

        What an operation gives may come as an array where the server can send one.
        """
        url, accept = (urljoin(self._url, operation), ACCEPT) if operation else (self._url, "*/*")
        with self._posted(url, self._encode(payload), accept) as (response, parts):
            body = b"".join(parts)
        return self._decode(response, body)

    def stream(self, payload: Mapping[str, Any]) -> Generator[bytes, None, None]:
        """Post one payload and yield the reply while it is written; the time limit is that of the whole reply."""
        begun = False
        try:
            with self._posted(self._url, self._encode(payload)) as (response, parts):
                if not response.is_success:
                    self._decode(response, b"".join(parts))
                for part in parts:
                    begun = True
                    yield part
        except Unavailable as error:
            if not begun:
                raise
            why = error.what.removeprefix("cannot be reached: ")
            raise Unavailable(f"the reply broke off: {why}", place=self._place, hint=BROKEN_OFF) from error.__cause__

    @contextmanager
    def _posted(self, url: str, body: bytes, accept: str = "*/*") -> Iterator[tuple[httpx.Response, Iterator[bytes]]]:
        """The reply's head and the parts of its body; what goes wrong while they are read is one of our errors."""
        deadline = time.monotonic() + self._timeout

        def parts(response: httpx.Response) -> Iterator[bytes]:
            # httpx limits the wait for each piece; a reply that trickles in needs a limit of its own.
            for part in response.iter_bytes():
                yield part
                if time.monotonic() > deadline:
                    raise TimedOut(f"no whole answer within {self._timeout:g} s", place=self._place)

        try:
            with self._client.stream(
                "POST", url, content=body, headers={"Content-Type": "application/json", "Accept": accept}
            ) as response:
                yield response, parts(response)
        except httpx.TimeoutException as error:
            raise TimedOut(f"no answer within {self._timeout:g} s", place=self._place) from self._bare(error)
        except httpx.DecodingError as error:
            raise BadReply("the reply cannot be decompressed", place=self._place) from self._bare(error)
        except httpx.TransportError as error:
            raise Unavailable(
                f"cannot be reached: {self._redact(str(error)) or type(error).__name__}",
                place=self._place,
                hint="Check that the server runs there.",
            ) from self._bare(error)

    def _bare(self, error: httpx.RequestError) -> httpx.RequestError:
        """The error without the request's headers, one of which is the token."""
        error.request = httpx.Request("POST", self._shown_url)
        return error

    def close(self) -> None:
        """Give back connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _place(self) -> str:
        return f"endpoint {self.name} ({self._shown_url})"

    def _encode(self, payload: Mapping[str, Any]) -> bytes:
        try:
            body = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:  # a lone surrogate is a ValueError too
            raise RequestRejected(f"the payload is no JSON: {error}", place=self._place) from error
        if len(body) > self.max_payload_bytes:
            raise PayloadTooLarge(
                f"the payload has {len(body):,} bytes, the endpoint takes {self.max_payload_bytes:,}",
                place=self._place,
                hint="Send less at once.",
            )
        return body

    def _decode(self, response: httpx.Response, body: bytes) -> Any:
        status = response.status_code
        if not response.is_success:
            raise self._refusal(status, response.headers, self._reason(body) or response.reason_phrase)
        if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == MEDIA_TYPE:
            return read_array(body, place=self._place)
        try:
            return _loads(body)
        except ValueError as error:  # UnicodeDecodeError included
            # Not the error itself, which holds the reply: a server may repeat the token, and Dask sends errors whole.
            cause = ValueError(self._redact(str(error)))
        raise BadReply(f"the reply is no JSON: {self._shorten(body)!r}", place=self._place) from cause

    def _refusal(self, status: int, headers: httpx.Headers, reason: str) -> RequestRejected | TransientError:
        said = f"{status}: {reason}"
        match status:
            case 429:
                return Throttled(said, place=self._place, retry_after=_retry_after(headers))
            case 413:
                return PayloadTooLarge(said, place=self._place, hint="Send less at once.")
            case 404 | 405:
                return NoSuchOperation(said, place=self._place, hint="Check its URL and contract.")
        if status >= 500:
            error = Unavailable(said, place=self._place)
            error.retry_after = _retry_after(headers)
            return error
        if status < 400:
            said, hint = f"{said} (redirects are not followed)", "Check its URL."
        else:
            hint = "Check the endpoint's key." if status in (401, 403) else ""
        return RequestRejected(said, place=self._place, hint=hint)

    def _reason(self, body: bytes) -> str:
        """What the server says: `{"error": ...}`, `{"message": ...}`, `{"detail": ...}` or plain text."""
        try:
            said = json.loads(body)
        except ValueError:
            return self._shorten(body)
        for key in ("error", "message", "detail"):
            if isinstance(said, dict) and key in said:
                said = said[key]
        return self._shorten((said if isinstance(said, str) else json.dumps(said)).encode())

    def _shorten(self, body: bytes) -> str:
        text = self._redact(body.decode("utf-8", "replace").strip())
        return text if len(text) <= MAX_REASON_CHARS else f"{text[:MAX_REASON_CHARS]}..."

    def _redact(self, text: str) -> str:
        return text.replace(self._token, "***") if self._token else text


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        # Not every server knows that JSON has no NaN; whoever asked can then say which number it is.
        return json.loads(body)


def _public(url: str) -> tuple[str, str]:
    """A URL without user, password and query, and its host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(
            f"{url.partition('@')[2] or url!r} is not the URL of an endpoint",
            hint="It looks like http://127.0.0.1:8080/v1 or https://host/path.",
        )
    shown = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, f"{shown}:{port}" if port else shown, parts.path, "", "")), host


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds until another call is welcome; the header holds seconds or a date."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value) if value[:1].isdigit() else _until(parsedate_to_datetime(value))
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def _until(moment: datetime) -> float:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
