"""A model server in a thread, over real HTTP, that keeps its contract or breaks it on demand.

Embedding contracts are served with hashed vectors, so that a right answer can be told from a wrong one.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[dict[str, Any]], Any]
"""From a payload to what is sent back: something JSON-ready, a `Raw` or `Pieces`."""


@dataclass(frozen=True)
class Raw:
    """A reply as bytes, for what is not 200 or not JSON; `promised` is the length the header claims."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    promised: int | None = None
    delay: float = 0


@dataclass(frozen=True)
class Pieces:
    """A reply that is sent piece by piece, each as soon as it is there; `whole` is False if it then breaks off."""

    parts: Iterable[bytes]
    whole: bool = True


def events(*contents: Any, done: bool = False) -> bytes:
    """Server-sent events; `done` as OpenAI ends them."""
    return b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in contents) + b"data: [DONE]\n\n" * done


def cut(data: bytes, size: int) -> list[bytes]:
    """Bytes in parts of a size, wherever that cuts them."""
    return [data[at : at + size] for at in range(0, len(data), size)]


@dataclass
class ModelServer:
    """A running server: its address, how it answers, and what it was asked."""

    url: str
    reply: Reply
    asked: list[dict[str, Any]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serve(reply: Reply) -> Iterator[ModelServer]:
    """Answer every POST by `reply` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body go separately, and the body would wait for an answer to the head

        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.asked.append(payload)
                server.at_once += 1
                server.most_at_once = max(server.most_at_once, server.at_once)
            try:
                answer = server.reply(payload)
            finally:
                with server.lock:
                    server.at_once -= 1
            if isinstance(answer, Pieces):
                self.send_pieces(answer)
                return
            raw = answer if isinstance(answer, Raw) else Raw(json.dumps(answer).encode())
            time.sleep(raw.delay)
            self.send_response(raw.status)
            self.send_header("Content-Length", str(len(raw.body) if raw.promised is None else raw.promised))
            for name, value in raw.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw.body)
            if raw.promised is not None:
                self.close_connection = True

        def send_pieces(self, pieces: Pieces) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in pieces.parts:
                try:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                except ConnectionError:  # the reader has gone
                    self.close_connection = True
                    return
            if pieces.whole:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = not pieces.whole

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = ModelServer(f"http://127.0.0.1:{http.server_port}", reply)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
