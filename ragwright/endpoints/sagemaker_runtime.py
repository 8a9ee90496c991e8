"""Calling an endpoint through the SageMaker runtime."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson

from ragwright.endpoints import Contract
from ragwright.endpoints.aws import Aws, failure, refusal
from ragwright.endpoints.limiter import AdaptiveLimiter
from ragwright.errors import (
    BadReply,
    NoSuchOperation,
    PayloadTooLarge,
    RagwrightError,
    RequestRejected,
    Throttled,
    TimedOut,
    Unavailable,
)
from ragwright.retry import ONCE

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# What InvokeEndpoint takes, and how long it waits for a container.
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
MAX_SECONDS = 60.0
# SageMaker answers at 60 s sharp; who gives up at the same moment does not hear why.
ANSWER_SECONDS = 5.0
MAX_REASON_CHARS = 500
BROKEN_OFF = "Ask again; if it breaks off again, the endpoint's log says why."
# 424: text generation failed within the container (out of memory, for instance); another try may be luckier.
_PASSING = (408, 424)


class SageMakerEndpoint:
    """An `Endpoint` behind InvokeEndpoint.

    Args:
        name: Of the endpoint.
        contract: Its wire format.
        region: None: as the AWS environment says.
        timeout: Limit of one call in seconds; SageMaker's own is 60.
        max_concurrency: Requests in flight at most; a server that asks for fewer gets fewer.
        accept_eula: Whether calls say that the model's licence is accepted, as JumpStart's gated models want it.
    """

    def __init__(
        self,
        name: str,
        contract: Contract,
        *,
        region: str | None = None,
        timeout: float = MAX_SECONDS,
        max_concurrency: int = 16,
        accept_eula: bool = False,
    ) -> None:
        self.name = name
        self.contract: Contract = contract
        self.max_payload_bytes = MAX_PAYLOAD_BYTES
        self.limiter = AdaptiveLimiter(max_concurrency)
        self._timeout = min(timeout, MAX_SECONDS)
        self._attributes = {"CustomAttributes": "accept_eula=true"} if accept_eula else {}
        self._aws = Aws(
            region, retry=ONCE, read_seconds=self._timeout + (ANSWER_SECONDS if timeout >= MAX_SECONDS else 0)
        )

    def __repr__(self) -> str:
        """Without credentials."""
        return f"SageMakerEndpoint({self.name!r}, {self.contract!r})"

    def invoke(self, payload: Mapping[str, Any], *, operation: str = "") -> Any:
        """Invoke the endpoint with one payload and return the decoded reply; it has no other operation."""
        if operation:
            raise NoSuchOperation(
                f"SageMaker passes on /invocations alone, not {operation!r}",
                place=self._place,
                hint="Do without, or call a server by its URL.",
            )
        body = self._encode(payload)
        client = self._aws.client("sagemaker-runtime")
        with self.limiter.slot(timeout=self._timeout):
            reply = self._send(client, body)
        try:
            return orjson.loads(reply)
        except ValueError:
            pass
        try:
            # Not every server knows that JSON has no NaN; whoever asked can then say which number it is.
            return json.loads(reply)
        except ValueError as error:
            raise BadReply(
                f"the reply is no JSON: {_shorten(reply.decode(errors='replace'))!r}", place=self._place
            ) from error

    def stream(self, payload: Mapping[str, Any]) -> Generator[bytes, None, None]:
        """Invoke the endpoint with one payload and yield the reply while it is written, cut anywhere.

        The caller needs no permission beside that of `invoke`.
        """
        body = self._encode(payload)
        client = self._aws.client("sagemaker-runtime")
        deadline = time.monotonic() + self._timeout
        with self.limiter.slot(timeout=self._timeout):
            parts = self._invoked(client.invoke_endpoint_with_response_stream, body)["Body"]
            with closing(parts), self._named_faults():
                for part in parts:
                    yield part.get("PayloadPart", {}).get("Bytes", b"")
                    if time.monotonic() > deadline:
                        raise TimedOut(f"no whole answer within {self._timeout:g} s", place=self._place)

    @contextmanager
    def _named_faults(self) -> Iterator[None]:
        """What breaks a reply off as one of our errors; the SDK lets the transport's own through."""
        from botocore.eventstream import ParserError
        from botocore.exceptions import BotoCoreError, EventStreamError
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        try:
            yield
        except ReadTimeoutError as error:
            raise TimedOut(f"no answer in time: {error}", place=self._place) from error
        except (EventStreamError, BotoCoreError, ParserError, HTTPError) as error:
            raise Unavailable(f"the reply broke off: {error}", place=self._place, hint=BROKEN_OFF) from error

    def close(self) -> None:
        """Give back connections."""
        self._aws.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _place(self) -> str:
        return f"SageMaker endpoint {self.name}"

    def _send(self, client: Any, body: bytes) -> bytes:
        from botocore.exceptions import BotoCoreError

        response = self._invoked(client.invoke_endpoint, body)
        try:
            return bytes(response["Body"].read())
        except BotoCoreError as error:
            raise failure(error, place=self._place) from error

    def _invoked(self, operation: Callable[..., Any], body: bytes) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return operation(
                EndpointName=self.name,
                Body=body,
                ContentType="application/json",
                Accept="application/json",
                **self._attributes,
            )
        except ClientError as error:
            raise self._refusal(error) from error
        except BotoCoreError as error:
            raise failure(error, place=self._place) from error

    def _encode(self, payload: Mapping[str, Any]) -> bytes:
        try:
            body = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:  # a lone surrogate is a ValueError too
            raise RequestRejected(f"the payload is no JSON: {error}", place=self._place) from error
        if len(body) > self.max_payload_bytes:
            raise PayloadTooLarge(
                f"the payload has {len(body):,} bytes, SageMaker takes {self.max_payload_bytes:,}",
                place=self._place,
                hint="Send less at once.",
            )
        return body

    def _refusal(self, error: ClientError) -> RagwrightError:
        response: Mapping[str, Any] = error.response
        details = response.get("Error", {})
        match details.get("Code"):
            case "ModelError":
                return self._container_said(response)
            case "ModelNotReadyException" | "InternalDependencyException" | "ServiceUnavailable":
                return Unavailable(f"{details['Code']}: {details.get('Message', '')}", place=self._place)
        known = refusal(error, place=self._place)
        if isinstance(known, RequestRejected) and "not found" in known.what:
            known.hint = "Deploy it (again): `ragwright endpoints up`."
        return known

    def _container_said(self, response: Mapping[str, Any]) -> RagwrightError:
        """Read the status and words of the container itself, as if it had been called over HTTP."""
        status = int(response.get("OriginalStatusCode") or 0)  # 0: it gave none
        said = _reason(str(response.get("OriginalMessage") or response["Error"].get("Message", "")))
        said = f"{status}: {said}" if status else said
        error: RagwrightError
        if status == 429:
            error = Throttled(said, place=self._place)
        elif status == 413:
            error = PayloadTooLarge(said, place=self._place, hint="Send less at once.")
        elif 200 <= status < 300:
            error = PayloadTooLarge(
                f"the reply cannot be passed on: {said}", place=self._place, hint="Ask less at once."
            )
        elif status in (404, 405):
            error = NoSuchOperation(said, place=self._place, hint="Check its preset and contract.")
        elif 400 <= status < 500 and status not in _PASSING:
            error = RequestRejected(said, place=self._place)
        elif "timed out" in said.lower():
            error = TimedOut(said, place=self._place, hint="Send less at once; SageMaker waits for 60 s.")
        else:
            error = Unavailable(said, place=self._place)
        return error


def _reason(text: str) -> str:
    """What the container says: `{"error": ...}`, `{"message": ...}`, `{"detail": ...}` or plain text."""
    try:
        said = json.loads(text)
    except ValueError:
        return _shorten(text)
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and key in said:
            said = said[key]
    return _shorten(said if isinstance(said, str) else json.dumps(said))


def _shorten(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_REASON_CHARS else f"{text[:MAX_REASON_CHARS]}..."
