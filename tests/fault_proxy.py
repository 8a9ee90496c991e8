"""A proxy on this machine that hands requests on to a model server and spoils a share of the answers."""

from __future__ import annotations

import http.client
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PASSING = (
    "late",
    "reset before",
    "reset after",
    "429",
    "429 with Retry-After",
    "500",
    "503",
    "cut off",
    "no JSON",
    "one vector too few",
)
"""Ways to spoil an answer that a client can tell from the answer alone."""


@dataclass
class FaultProxy:
    """A running proxy.

    Attributes:
        url: Where it listens; whatever is asked there is asked of the server.
        share: Of requests that are spoiled.
        faults: How; see `PASSING`. `reversed` turns the vectors round, `swapped` exchanges two of them.
        spoiled: How many were spoiled, by fault.
        requests: How many came in all.
    """

    url: str
    share: float
    faults: Sequence[str]
    spoiled: Counter[str] = field(default_factory=Counter)
    requests: int = 0


@contextmanager
def spoil(server: str, token: str, *, share: float, faults: Sequence[str] = PASSING, seed: int) -> Iterator[FaultProxy]:
    """Stand in front of a server, whose token the proxy knows, until the block ends."""
    chance, lock = random.Random(seed), threading.Lock()
    target = urlsplit(server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body go separately, and the body would wait for an answer to the head

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                fault = chance.choice(list(proxy.faults)) if chance.random() < proxy.share else ""
                proxy.requests += 1
                if fault:
                    proxy.spoiled[fault] += 1
            match fault:
                case "reset before":
                    self.reset()
                case "429" | "500" | "503":
                    self.answer(int(fault), b'{"error": "spoiled on purpose"}')
                case "429 with Retry-After":
                    self.answer(429, b'{"error": "slow down"}', {"Retry-After": "0.2"})
                case _:
                    self.spoil_answer(fault, *self.forward(body))

        def spoil_answer(self, fault: str, status: int, answer: bytes) -> None:
            match fault:
                case "late":
                    time.sleep(0.3)
                    self.answer(status, answer)
                case "reset after":
                    self.reset()
                case "cut off":
                    self.answer(status, answer[: len(answer) // 2], promised=len(answer))
                case "no JSON":
                    self.answer(status, answer[: len(answer) // 2])
                case "one vector too few":
                    self.answer(status, _changed(answer, lambda vectors: vectors[:-1]))
                case "reversed":
                    self.answer(status, _changed(answer, lambda vectors: vectors[::-1]))
                case "swapped":
                    self.answer(status, _changed(answer, lambda vectors: [*vectors[1:2], *vectors[:1], *vectors[2:]]))
                case _:
                    self.answer(status, answer)

        def forward(self, body: bytes) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
            try:
                headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
                connection.request("POST", target.path, body, headers)
                response = connection.getresponse()
                return response.status, response.read()
            finally:
                connection.close()

        def answer(
            self, status: int, body: bytes, headers: dict[str, str] | None = None, *, promised: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(promised or len(body))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = promised is not None

        def reset(self) -> None:
            """Close the connection as a crash does: with an RST."""
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server_thread = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server_thread.daemon_threads = True
    proxy = FaultProxy(f"http://127.0.0.1:{server_thread.server_port}/", share, faults)
    thread = threading.Thread(target=server_thread.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server_thread.shutdown()
        thread.join()
        server_thread.server_close()


def _changed(answer: bytes, change: Any) -> bytes:
    """The answer with its list of vectors changed, in the layout of either contract."""
    value = json.loads(answer)
    if isinstance(value, dict):
        value["data"] = change(value["data"])
    else:
        value = change(value)
    return json.dumps(value).encode()
