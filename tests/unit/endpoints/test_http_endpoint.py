"""Calling a server over HTTP: what comes back, what every kind of failure becomes, and what no error shows."""

from __future__ import annotations

import json
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import tblib.pickling_support
from pydantic import SecretStr

from ragwright.endpoints import Endpoint
from ragwright.endpoints.arrays import write_array
from ragwright.endpoints.http import HttpEndpoint
from ragwright.errors import (
    BadReply,
    ConfigurationError,
    NoSuchOperation,
    PayloadTooLarge,
    RagwrightError,
    RequestRejected,
    Throttled,
    TimedOut,
    TransientError,
    Unavailable,
)

TOKEN = "s3cret-token-value"


class Server:
    """A real server; `reply` decides what it says, `requests` is what it was asked."""

    def __init__(self) -> None:
        self.reply: Callable[[BaseHTTPRequestHandler, bytes], None] = lambda handler, _: send(handler, 200, b"{}")
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                owner.requests.append((self.path, dict(self.headers), body))
                owner.reply(self, body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def says(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.reply = lambda handler, _: send(handler, status, body, **headers)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def endpoint(server: Server) -> Iterator[HttpEndpoint]:
    with HttpEndpoint("minilm", server.url, "tei", token=SecretStr(TOKEN), timeout=5) as endpoint:
        yield endpoint


def test_a_payload_goes_out_as_json_with_the_token_and_the_reply_comes_back_decoded(
    server: Server, endpoint: HttpEndpoint
) -> None:
    server.says(200, '[[0.5], "é"]'.encode())
    assert isinstance(endpoint, Endpoint)
    assert endpoint.invoke({"inputs": ["naïve 🙂", "b"]}) == [[0.5], "é"]
    [(path, headers, body)] = server.requests
    assert path == "/invocations"
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"inputs": ["naïve 🙂", "b"]}


def test_an_operation_is_asked_for_an_array_and_takes_json_too(server: Server, endpoint: HttpEndpoint) -> None:
    rows = np.arange(6, dtype=np.float16).reshape(2, 3)
    server.says(200, write_array(rows), Content_Type="application/x-npy; version=1")
    assert np.array_equal(endpoint.invoke({}, operation="embed_all"), rows)
    server.says(200, b"[[1.5]]")
    assert endpoint.invoke({}, operation="embed_all") == [[1.5]]
    assert endpoint.invoke({}) == [[1.5]]
    assert [(path, headers["Accept"]) for path, headers, _ in server.requests] == [
        ("/embed_all", "application/x-npy, application/json;q=0.9"),
        ("/embed_all", "application/x-npy, application/json;q=0.9"),
        ("/invocations", "*/*"),
    ]


def test_half_an_array_is_refused_with_its_place(server: Server, endpoint: HttpEndpoint) -> None:
    server.says(200, write_array(np.ones((2, 3), np.float16))[:-1], Content_Type="application/x-npy")
    with pytest.raises(BadReply, match=r"endpoint minilm .*promises 2 x 3 numbers, 12 bytes; there are 11"):
        endpoint.invoke({}, operation="embed_all")


def test_without_a_token_none_is_sent(server: Server) -> None:
    with HttpEndpoint("open", server.url + "/embed", "tei", path="") as endpoint:
        endpoint.invoke({})
    [(path, headers, _)] = server.requests
    assert path == "/embed"
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRejected),
        (401, RequestRejected),
        (403, RequestRejected),
        (404, NoSuchOperation),
        (405, NoSuchOperation),
        (408, RequestRejected),
        (413, PayloadTooLarge),
        (422, RequestRejected),
        (424, RequestRejected),
        (429, Throttled),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
        (302, RequestRejected),
    ],
)
def test_each_status_becomes_its_error_with_the_servers_reason(
    server: Server, endpoint: HttpEndpoint, status: int, kind: type[RagwrightError]
) -> None:
    server.says(status, b'{"error": "because of that", "error_type": "overloaded"}')
    with pytest.raises(RagwrightError, match=f"{status}: because of that") as caught:
        endpoint.invoke({})
    assert type(caught.value) is kind
    assert "minilm" in str(caught.value)
    assert len(server.requests) == 1, "an endpoint never retries"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"error": {"message": "nested", "type": "x"}}', "nested"),
        (b'{"message": "hello"}', "hello"),
        (b'{"detail": [{"loc": "a"}]}', '[{"loc": "a"}]'),
        (b"plain words", "plain words"),
        (b"", "Bad Request"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x" * 5000, "x" * 500 + "..."),
    ],
)
def test_a_refusals_reason_is_found_in_any_shape(
    server: Server, endpoint: HttpEndpoint, body: bytes, shown: str
) -> None:
    server.says(400, body)
    with pytest.raises(RequestRejected) as caught:
        endpoint.invoke({})
    assert caught.value.what == f"400: {shown}"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("0", 0.0), ("-3", None), ("soon", None), ("", None), ("1e999", None), ("nan", None)],
)
def test_retry_after_in_seconds_is_kept(
    server: Server, endpoint: HttpEndpoint, status: int, header: str, seconds: float | None
) -> None:
    server.says(status, Retry_After=header)
    with pytest.raises(TransientError) as caught:
        endpoint.invoke({})
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(("ahead", "low", "high"), [(60, 55, 61), (-60, 0, 0)])
def test_retry_after_as_a_date_is_turned_into_seconds(
    server: Server, endpoint: HttpEndpoint, ahead: int, low: float, high: float
) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=ahead)
    server.says(429, Retry_After=format_datetime(moment, usegmt=True))
    with pytest.raises(Throttled) as caught:
        endpoint.invoke({})
    assert caught.value.retry_after is not None
    assert low <= caught.value.retry_after <= high


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"half": ', b"\xff"])
def test_a_reply_that_is_no_json_is_a_bad_reply(server: Server, endpoint: HttpEndpoint, body: bytes) -> None:
    server.says(200, body)
    with pytest.raises(BadReply, match="no JSON"):
        endpoint.invoke({})


def test_a_reply_that_cannot_be_decompressed_is_a_bad_reply(server: Server, endpoint: HttpEndpoint) -> None:
    server.says(200, b"not gzip", Content_Encoding="gzip")
    with pytest.raises(BadReply, match="decompressed"):
        endpoint.invoke({})


def test_a_refused_connection_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with HttpEndpoint("gone", url, "tei") as endpoint, pytest.raises(Unavailable, match="gone"):
        endpoint.invoke({})


def test_a_connection_dropped_in_the_middle_is_unavailable(server: Server, endpoint: HttpEndpoint) -> None:
    def drop(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.close_connection = True

    server.reply = drop
    with pytest.raises(Unavailable):
        endpoint.invoke({})


def test_a_silent_server_times_out(server: Server) -> None:
    server.reply = lambda handler, _: time.sleep(1)
    with HttpEndpoint("slow", server.url, "tei", timeout=0.2) as endpoint, pytest.raises(TimedOut, match=r"0\.2 s"):
        endpoint.invoke({})


def test_a_reply_that_trickles_in_times_out(server: Server) -> None:
    def trickle(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        for _ in range(30):
            time.sleep(0.05)
            handler.wfile.write(b" ")

    server.reply = trickle
    begun = time.monotonic()
    with HttpEndpoint("slow", server.url, "tei", timeout=0.3) as endpoint, pytest.raises(TimedOut):
        endpoint.invoke({})
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}])
def test_a_payload_that_is_no_json_is_refused_unsent(server: Server, endpoint: HttpEndpoint, payload: dict) -> None:
    with pytest.raises(RequestRejected, match="no JSON"):
        endpoint.invoke(payload)
    assert server.requests == []


def test_a_payload_over_the_limit_is_refused_unsent(server: Server) -> None:
    with HttpEndpoint("small", server.url, "tei", max_payload_bytes=100) as endpoint:
        endpoint.invoke({"x": "a" * 90})
        with pytest.raises(PayloadTooLarge, match="takes 100"):
            endpoint.invoke({"x": "é" * 60})
    assert len(server.requests) == 1


def test_no_error_shows_the_token(server: Server, endpoint: HttpEndpoint) -> None:
    # As Dask sends errors between its processes: with their causes, and all that those hold.
    tblib.pickling_support.install()
    for status in (400, 401, 429, 500, 200):
        server.says(status, f"you sent {TOKEN}".encode())
        with pytest.raises(RagwrightError) as caught:
            endpoint.invoke({})
        assert TOKEN not in f"{caught.value!s} {caught.value!r} {pickle.dumps(caught.value)!r}"
        assert "***" in str(caught.value)
    with HttpEndpoint("gone", "http://127.0.0.1:9", "tei", token=TOKEN) as gone, pytest.raises(Unavailable) as caught:
        gone.invoke({})
    assert b"ConnectError" in pickle.dumps(caught.value)
    assert TOKEN.encode() not in pickle.dumps(caught.value)
    assert TOKEN not in repr(endpoint)


def test_a_password_or_key_in_the_url_is_not_shown(server: Server) -> None:
    url = server.url.replace("http://", "http://user:pa55word@") + "/v1/embed?key=k3y"
    server.says(500)
    with HttpEndpoint("mine", url, "tei", path="") as endpoint:
        with pytest.raises(Unavailable) as caught:
            endpoint.invoke({})
        shown = f"{caught.value} {endpoint!r}"
    assert "pa55word" not in shown
    assert "k3y" not in shown
    assert "/v1/embed" in shown
    assert server.requests[0][0] == "/v1/embed?key=k3y"


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://host/x", "http://", "http://host:99999", "http://[bad"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not the URL"):
        HttpEndpoint("mine", url, "tei")


@pytest.mark.parametrize("token", ["schlüssel", "two\nlines"])
def test_a_key_no_header_can_carry_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HttpEndpoint("mine", "http://127.0.0.1:1", "tei", token=token)
    assert token not in f"{caught.value!s} {caught.value!r}"


def test_a_proxy_of_the_environment_does_not_come_between_this_machine_and_itself(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with HttpEndpoint("mine", server.url, "tei") as endpoint:
        assert endpoint.invoke({}) == {}


def test_threads_share_an_endpoint(server: Server, endpoint: HttpEndpoint) -> None:
    server.reply = lambda handler, body: send(handler, 200, body)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda number: endpoint.invoke({"number": number}), range(200)))
    assert replies == [{"number": number} for number in range(200)]
