"""A reply on its way from a worker thread to the caller: whole, or in pieces as they are written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

Emit = Callable[[bytes], None]
"""Takes the next piece of a reply."""


@dataclass(frozen=True)
class Whole:
    """A reply that is sent at once."""

    body: bytes = b""
    media_type: str = "application/json"


Work = Callable[[threading.Event, Emit], Whole]
"""Gives the whole reply, or pieces of it and then nothing; ends early once the event says that the caller has gone."""


class Replying:
    """One request in the hands of a worker, which is told when the caller has gone.

    Attributes:
        in_pieces: Whether the reply goes on after `response` has returned.
    """

    def __init__(self, request: Request, workers: Executor | None, work: Work) -> None:
        self.in_pieces = False
        self._written = 0
        loop = asyncio.get_running_loop()
        # Pieces, and None once there are no more.
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._gone = threading.Event()

        def emit(piece: bytes) -> None:
            # Counted as they are written: a quick worker is done before the first of them is on its way.
            self._written += len(piece)
            loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

        self._work = loop.run_in_executor(workers, work, self._gone, emit)
        self._watch = asyncio.ensure_future(_disconnected(request, self._gone))
        self._work.add_done_callback(self._ended)

    async def response(self) -> Response:
        """The whole reply, or one that begins with its first piece.

        Raises:
            ClientDisconnect: Nobody reads it.
            Refused: The worker's, if it had given no piece.
        """
        # The place in the queue is taken until the worker is done, whether or not somebody still waits for it.
        first = await self._pieces.get()
        if first is not None:
            self.in_pieces = True
            return StreamingResponse(self._rest(first), media_type="text/event-stream")
        gone, reply = self._gone.is_set(), await self._work
        if gone:
            raise ClientDisconnect
        return Response(reply.body, media_type=reply.media_type)

    def when_done(self, tell: Callable[[int], None]) -> None:
        """Have the number of bytes written told once the worker is done."""
        self._work.add_done_callback(lambda _: tell(self._written))

    def _ended(self, work: asyncio.Future[Whole]) -> None:
        self._pieces.put_nowait(None)
        self._watch.cancel()

    async def _rest(self, piece: bytes | None) -> AsyncIterator[bytes]:
        while piece is not None:
            yield piece
            piece = await self._pieces.get()
        # A fault of the worker breaks the reply off: the caller must not take it for a whole one.
        await self._work


async def _disconnected(request: Request, gone: threading.Event) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    gone.set()
