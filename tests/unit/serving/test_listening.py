"""How a model server listens."""

from __future__ import annotations

import asyncio
import socket

from ragwright.serving.process import _listen


def test_a_reply_does_not_wait_for_the_caller_to_acknowledge_its_head() -> None:
    async def sends_at_once() -> bool:
        found: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()

        def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket"))

        async with await asyncio.start_server(note, sock=_listen(0)) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            connection = await found
            at_once = bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()
        return at_once

    assert asyncio.run(sends_at_once())
