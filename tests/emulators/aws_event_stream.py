"""AWS's event-stream encoding: frames of a head, headers, a payload and check sums."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from zlib import crc32

_STRING = 7


def event_stream(parts: Iterable[bytes], break_after: tuple[int, str] | None = None) -> Iterator[bytes]:
    """A streamed response: a frame a part.

    Args:
        parts: Of the container's reply.
        break_after: After so many parts, end with this error of the stream, or in the middle of a frame if it is empty.
    """
    for number, part in enumerate(parts):
        if break_after is not None and number == break_after[0]:
            yield _error(break_after[1]) if break_after[1] else _frame({}, part)[:10]
            return
        headers = {":message-type": "event", ":event-type": "PayloadPart", ":content-type": "application/octet-stream"}
        yield _frame(headers, part)


def _error(name: str) -> bytes:
    said = {"Message": "The connection to the model was closed.", "ErrorCode": "StreamBroken"}
    headers = {":message-type": "exception", ":exception-type": name, ":content-type": "application/json"}
    return _frame(headers, json.dumps(said).encode())


def _frame(headers: dict[str, str], payload: bytes) -> bytes:
    block = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", _STRING, len(value)) + value.encode()
        for name, value in headers.items()
    )
    head = struct.pack("!II", 16 + len(block) + len(payload), len(block))
    frame = head + struct.pack("!I", crc32(head)) + block + payload
    return frame + struct.pack("!I", crc32(frame))
