"""The HTTP side: who may ask, how much, how many at once, and what they are told when they may not."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ragwright.endpoints import Contract
from ragwright.endpoints.arrays import MEDIA_TYPE, accepts_arrays, write_array
from ragwright.serving.contracts import Service, StreamHandler, refusal_body
from ragwright.serving.contracts.events import event
from ragwright.serving.refusal import Refused
from ragwright.serving.replies import Emit, Replying, Whole
from ragwright.serving.runtimes import TokenStates

BODY_SECONDS = 30.0
RETRY_AFTER = {"Retry-After": "1"}
OPERATIONS: Mapping[str, tuple[str, ...]] = {"tei": ("/embed_all",)}
OPENAI_PATHS: Mapping[str, str] = {
    "openai-embeddings": "/v1/embeddings",
    "openai-chat": "/v1/chat/completions",
}


@dataclass(frozen=True)
class Limits:
    """What one server takes on.

    Attributes:
        body_bytes: Largest request; SageMaker's own limit by default.
        queue: Requests that may wait while others are worked on; more get 429.
        drain_seconds: How long requests in flight may take once the server is asked to end; hosts kill after ten.
    """

    body_bytes: int = 6 * 1024 * 1024
    queue: int = 16
    drain_seconds: float = 8.0


class ModelServer:
    """One model's endpoint: `GET /ping` and `POST /invocations`. An ASGI application once `open` has been called.

    Args:
        name: The endpoint's name, for the log.
        contract: Decides the shape of refusals.
        token: What callers must show; `/ping` is free.
        limits: What it takes on.
    """

    def __init__(self, name: str, contract: Contract, token: str, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.in_flight = 0
        self.draining = False
        self._name, self._contract, self._token = name, contract, token
        self._service: Service | None = None
        self._workers: ThreadPoolExecutor | None = None
        paths = ["/invocations", *filter(None, [OPENAI_PATHS.get(contract)]), *OPERATIONS.get(contract, ())]
        self.app = Starlette(
            routes=[
                Route("/ping", self._ping, methods=["GET"]),
                *(Route(path, self._invocations, methods=["POST"]) for path in paths),
            ],
            exception_handlers={HTTPException: self._no_such_route},
        )

    def open(self, service: Service) -> None:
        """Prove that the model answers, and let requests in."""
        service.handle(service.warm_up, lambda: False)
        self._workers = ThreadPoolExecutor(service.concurrency, thread_name_prefix="invoke")
        self._service = service

    async def _ping(self, request: Request) -> Response:
        if self.draining or self._service is None:
            return _json({"status": "draining" if self.draining else "loading"}, 503)
        return _json({"status": "ready"}, 200)

    async def _no_such_route(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        refused = Refused(status, f"{request.method} is not allowed here" if status == 405 else "there is no such path")
        return self._refuse(refused, headers)

    async def _invocations(self, request: Request) -> Response:
        began = time.perf_counter()
        size = 0
        replying: Replying | None = None
        try:
            self._admit(request)
        except Refused as refused:
            response = self._refuse(refused)
        else:
            self.in_flight += 1
            try:
                body = await self._read_body(request)
                size = len(body)
                arrays = accepts_arrays(request.headers.get("accept", ""))
                replying = Replying(request, self._workers, partial(self._answer, request.url.path, body, arrays))
                response = await replying.response()
            except Refused as refused:
                response = self._refuse(refused)
            except ClientDisconnect:
                response = Response(status_code=499)  # nobody reads it
            finally:
                if replying is None or not replying.in_pieces:
                    self.in_flight -= 1

        def noted(sent: int) -> None:
            log(
                "request",
                endpoint=self._name,
                status=response.status_code,
                ms=round((time.perf_counter() - began) * 1e3, 1),
                bytes_in=size,
                bytes_out=sent,
                in_flight=self.in_flight,
            )

        def ended(sent: int) -> None:
            self.in_flight -= 1
            noted(sent)

        if replying is not None and replying.in_pieces:
            replying.when_done(ended)
        else:
            noted(len(response.body))
        return response

    def _admit(self, request: Request) -> None:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secrets.compare_digest(shown.strip().encode(), self._token.encode()):
            raise Refused(401, "the endpoint's token is missing or wrong", "unauthorized")
        if self.draining:
            raise Refused(503, "the endpoint is shutting down", "unhealthy")
        if self._service is None:
            raise Refused(503, "the model is still loading", "unhealthy")
        if self.in_flight >= self._service.concurrency + self.limits.queue:
            raise Refused(429, "Model is overloaded", "overloaded")

    async def _read_body(self, request: Request) -> bytes:
        """The whole body, or a refusal as soon as it is known to be too large or too slow."""
        limit = self.limits.body_bytes
        too_large = Refused(413, f"the request is over {limit} bytes")
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for piece in request.stream():
                    body += piece
                    if len(body) > limit:
                        raise too_large
        except TimeoutError as error:
            raise Refused(408, f"the request did not arrive within {BODY_SECONDS:g} s") from error
        return bytes(body)

    def _answer(self, path: str, body: bytes, arrays: bool, gone: threading.Event, emit: Emit) -> Whole:
        """The reply, empty if it was given in pieces instead; as an array if the caller takes `arrays` and it is one.

        Runs in a worker thread, so that neither parsing nor writing a large payload holds up `/ping`.
        """
        service = self._service
        if gone.is_set() or service is None:
            return Whole()
        payload = _parse(body)
        operation = service.operations.get(path.removeprefix("/"))
        try:
            if operation is None and service.stream is not None and service.streams(payload):
                self._stream(service.stream, payload, gone, emit)
                return Whole()
            handle = operation or service.handle
            return _whole(handle(payload, gone.is_set), arrays=arrays)
        except Refused:
            raise
        except MemoryError as error:
            raise Refused(413, "out of memory: send less at once") from error
        except Exception as error:
            # A fault of the runtime ends this request, not the server. Without its message: that may quote the text.
            where = "".join(traceback.format_tb(error.__traceback__))
            log("fault", endpoint=self._name, error=type(error).__name__, traceback=where)
            kind = "backend" if self._contract == "tei" else "generation"
            raise Refused(424, f"Request failed in the model: {type(error).__name__}; see the log", kind) from error

    def _stream(self, stream: StreamHandler, payload: Mapping[str, Any], gone: threading.Event, emit: Emit) -> None:
        """A refusal after the first piece is the last piece: the status has been sent."""
        begun = False

        def pass_on(piece: bytes) -> None:
            nonlocal begun
            begun = True
            emit(piece)

        try:
            stream(payload, gone.is_set, pass_on)
        except Refused as refused:
            if not begun:
                raise
            emit(event(self._contract, refusal_body(self._contract, refused)))

    def _refuse(self, refused: Refused, headers: Mapping[str, str] | None = None) -> Response:
        extra = dict(headers or {})
        match refused.status:
            case 401:
                extra |= {"WWW-Authenticate": "Bearer"}
            case 429 | 503:
                extra |= RETRY_AFTER
            case 408:
                # Not 413: uvicorn then throws the rest of the body away, and the caller gets to read the reply, which a
                # connection closed under its upload would not let it do.
                extra |= {"Connection": "close"}
        return _json(refusal_body(self._contract, refused), refused.status, extra)


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        payload = json.loads(body)
    except RecursionError as error:
        raise Refused(400, "the body is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise Refused(400, f"the body is not UTF-8: byte {error.start}") from error
    except ValueError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise Refused(400, "the body must be a JSON object")
    return payload


def _whole(content: Any, *, arrays: bool) -> Whole:
    if isinstance(content, TokenStates):
        if arrays:
            return Whole(write_array(content.rows), MEDIA_TYPE)
        content = content.rounded()
    return Whole(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))


def _json(content: Any, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(content), status, headers, media_type="application/json")


def log(event: str, **fields: Any) -> None:
    """One JSON line to stderr. Never give it a text or a token."""
    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields})
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
