"""The HTTP interface: addresses, keys, versions and limits; what goes wrong on purpose; what is counted."""

from __future__ import annotations

import re
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from .faults import WRITES, Faults
from .imports import Imports, ImportSettings
from .indexes import Index, configure, parse_index
from .namespaces import Visibility
from .refusals import Refused
from .vectors import Done, VectorIndex

API_KEY = "pcsk_for_tests"
READ_ONLY_KEY = "pcsk_for_reading"
MAX_REQUEST_BYTES = 2 * 1024 * 1024
OLDEST_VERSION = "2025-10"


@dataclass(frozen=True)
class _Request:
    operation: str
    host: str
    argument: str
    query: Mapping[str, list[str]]
    body: Any
    version: str

    def one(self, name: str) -> str:
        return self.query.get(name, [""])[-1]

    def paging(self) -> dict[str, str]:
        return {"prefix": self.one("prefix"), "limit": self.one("limit"), "token": self.one("paginationToken")}


_CONTROL = (
    ("GET", r"/indexes", "list_indexes"),
    ("POST", r"/indexes", "create_index"),
    ("GET", r"/indexes/([^/]+)", "describe_index"),
    ("PATCH", r"/indexes/([^/]+)", "configure_index"),
    ("DELETE", r"/indexes/([^/]+)", "delete_index"),
)
_DATA: tuple[tuple[str, str, str, Callable[[VectorIndex, _Request], Done]], ...] = (
    ("POST", r"/vectors/upsert", "upsert", lambda index, r: index.upsert(r.body)),
    ("POST", r"/query", "query", lambda index, r: index.query(r.body)),
    ("GET", r"/vectors/fetch", "fetch", lambda index, r: index.fetch(r.query.get("ids", []), r.one("namespace"))),
    ("POST", r"/vectors/fetch_by_metadata", "fetch_by_metadata", lambda index, r: index.fetch_by_metadata(r.body)),
    (
        "GET",
        r"/vectors/list",
        "list",
        lambda index, r: index.list_ids(namespace=r.one("namespace"), **r.paging()),
    ),
    ("POST", r"/vectors/update", "update", lambda index, r: index.update(r.body)),
    ("POST", r"/vectors/delete", "delete", lambda index, r: index.delete(r.body)),
    ("POST", r"/describe_index_stats", "describe_index_stats", lambda index, r: index.stats(r.body)),
    ("GET", r"/namespaces", "list_namespaces", lambda index, r: index.list_namespaces(**r.paging())),
    ("POST", r"/namespaces", "create_namespace", lambda index, r: index.create_namespace(r.body)),
    ("GET", r"/namespaces/([^/]+)", "describe_namespace", lambda index, r: index.describe_namespace(r.argument)),
    ("DELETE", r"/namespaces/([^/]+)", "delete_namespace", lambda index, r: index.delete_namespace(r.argument)),
)
_DATA_CALLS = {operation: call for _, _, operation, call in _DATA}
_IMPORTS: tuple[tuple[str, str, str, Callable[[Imports, _Request], Done]], ...] = (
    ("POST", r"/bulk/imports", "start_import", lambda imports, r: imports.start(r.body)),
    (
        "GET",
        r"/bulk/imports",
        "list_imports",
        lambda imports, r: imports.some(limit=r.one("limit"), token=r.one("paginationToken")),
    ),
    ("GET", r"/bulk/imports/([^/]+)", "describe_import", lambda imports, r: imports.describe(r.argument)),
    ("DELETE", r"/bulk/imports/([^/]+)", "cancel_import", lambda imports, r: imports.cancel(r.argument)),
)
_IMPORT_CALLS = {operation: call for _, _, operation, call in _IMPORTS}
_IN_INDEX = (*_DATA, *_IMPORTS)
OPERATIONS = tuple((method, pattern) for method, pattern, *_ in (*_CONTROL, *_IN_INDEX))
"""What is emulated: verb and address, with an expression in place of an argument."""
_CHANGES = WRITES | {"start_import", "cancel_import", "create_index", "configure_index", "delete_index"}


@dataclass
class PineconeServer:
    """A running server, until the block ends. Every attribute may be changed while it runs.

    Attributes:
        api_key: May do everything.
        read_only_keys: May read.
        creation_delay: Seconds until a new index is ready.
        deletion_delay: Seconds until the name of a deleted index is free.
        too_large_status: Of the reply to a request over 2 MB: 413, or 400 as some of the service's front ends give.
        visibility: When writes show in reads; change its attributes, for namespaces hold on to the object.
        imports: Where bulk imports find S3, and how long they take.
        faults: What goes wrong.
        requests: How many came in, by operation, those that were refused or lost included.
        statuses: How many replies there were, by status.
        read_units: What the answered requests would be billed; a query of a small namespace is 0.25.
        write_units: Likewise.
    """

    api_key: str = API_KEY
    read_only_keys: frozenset[str] = frozenset({READ_ONLY_KEY})
    creation_delay: float = 0.0
    deletion_delay: float = 0.0
    too_large_status: int = 413
    visibility: Visibility = field(default_factory=Visibility)
    imports: ImportSettings = field(default_factory=ImportSettings)
    faults: Faults = field(default_factory=Faults)
    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    read_units: float = 0.0
    write_units: float = 0.0
    port: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._indexes: dict[str, Index] = {}
        self._imports: dict[str, Imports] = {}  # by the last part of the index's host, which is not used again
        self._connections: set[socket.socket] = set()

    @property
    def url(self) -> str:
        """Where the control plane listens: the SDK's `host=`."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What points the SDK at this server."""
        return {"PINECONE_API_KEY": self.api_key, "PINECONE_CONTROLLER_HOST": self.url}

    def index(self, name: str) -> VectorIndex:
        """What an index holds, for tests that look behind the interface."""
        return self._find(name).data

    def settle(self) -> None:
        """Show every write so far to every read, whatever the visibility says."""
        with self._lock:
            for index in self._indexes.values():
                for namespace in index.data.namespaces.values():
                    namespace.settle()

    def reset_counters(self) -> None:
        """Count from nought."""
        with self._lock:
            self.requests.clear()
            self.statuses.clear()
            self.faults.suffered.clear()
            self.read_units = self.write_units = 0.0

    def __enter__(self) -> Self:
        self._http = _Listener(("127.0.0.1", self.port), partial(_Handler, self))
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        with self._lock:
            for connection in self._connections:
                # Kept-alive connections would be answered by a server that is gone.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def answer(self, request: _Request) -> Done:
        """Carry out a request."""
        with self._lock:
            if (call := _DATA_CALLS.get(request.operation)) is not None:
                done = call(self._at(request.host), request)
            elif (import_call := _IMPORT_CALLS.get(request.operation)) is not None:
                done = import_call(self._imports_of(request.host), request)
            else:
                done = self._control(request)
            self.read_units += done.read_units
            self.write_units += done.write_units
            return done

    def answer_half(self, request: _Request) -> Done:
        """Write a part of an upsert and refuse it."""
        with self._lock:
            self._at(request.host).upsert(request.body, part=self.faults.part)
        raise Refused("Failed midway, on purpose", status=500)

    def count(self, operation: str = "", status: int = 0) -> None:
        """Take a request or a reply into account."""
        with self._lock:
            if operation:
                self.requests[operation] += 1
            if status:
                self.statuses[status] += 1

    def track(self, connection: socket.socket, *, is_open: bool) -> None:
        """Remember what is to be closed in the end."""
        with self._lock:
            (self._connections.add if is_open else self._connections.discard)(connection)

    def _control(self, request: _Request) -> Done:
        self._forget_deleted()
        match request.operation:
            case "list_indexes":
                return Done({"indexes": [index.model(request.version) for index in self._indexes.values()]})
            case "create_index":
                index = parse_index(
                    request.body,
                    request.version,
                    url=self.url,
                    ready_at=time.monotonic() + self.creation_delay,
                    visibility=self.visibility,
                )
                if index.name in self._indexes:
                    raise Refused("Resource already exists", status=409)
                self._indexes[index.name] = index
                return Done(index.model(request.version), status=201)
            case "describe_index":
                return Done(self._find(request.argument).model(request.version))
            case "configure_index":
                index = self._find(request.argument)
                configure(index, request.body)
                return Done(index.model(request.version), status=202)
        index = self._find(request.argument)
        if index.protected:
            raise Refused("Deletion protection is enabled for this index. Disable it before retrying.", status=403)
        if index.gone_at is None:
            index.gone_at = time.monotonic() + self.deletion_delay
        self._forget_deleted()
        return Done({}, status=202)

    def _find(self, name: str) -> Index:
        if name not in self._indexes:
            raise Refused(f"Resource {name} not found", status=404)
        return self._indexes[name]

    def _at(self, host: str) -> VectorIndex:
        self._forget_deleted()
        for index in self._indexes.values():
            if index.host.endswith(f"/-/{host}") and index.gone_at is None:
                if not index.is_ready():
                    raise Refused("The index is not ready", status=503)
                return index.data
        raise Refused(f"There is no index at {host!r}", status=404)

    def _imports_of(self, host: str) -> Imports:
        index = self._at(host)
        return self._imports.setdefault(host, Imports(index, self.imports, self._lock))

    def _forget_deleted(self) -> None:
        now = time.monotonic()
        for name in [i.name for i in self._indexes.values() if i.gone_at is not None and i.gone_at <= now]:
            del self._indexes[name]


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up; anything else is a fault of this server and is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body of a reply in one packet

    def __init__(self, server: PineconeServer, *args: Any) -> None:
        self.pinecone = server
        super().__init__(*args)

    def setup(self) -> None:
        super().setup()
        self.pinecone.track(self.connection, is_open=True)

    def finish(self) -> None:
        self.pinecone.track(self.connection, is_open=False)
        super().finish()

    def handle_any(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        in_index = re.fullmatch(r"/-/([^/]+)(/.*)", url.path)
        host, path = in_index.groups() if in_index else ("", url.path)
        operation, argument = _route(self.command, path, _IN_INDEX if in_index else _CONTROL)
        self.pinecone.count(operation or "unknown")
        fault = self.pinecone.faults.draw(operation)
        if fault == "reset before":
            self.reset()
            return
        try:
            self.suffer(fault)
            self.check(operation, len(raw))
            version = self.headers["X-Pinecone-Api-Version"]
            request = _Request(operation, host, argument, parse_qs(url.query), self.parsed(raw), version)
            done = self.pinecone.answer_half(request) if fault == "partial upsert" else self.pinecone.answer(request)
        except Refused as refused:
            done = Done(refused.body(control_plane=in_index is None), status=refused.status, headers=refused.headers)
        if fault == "reset after":
            self.reset()
        else:
            self.reply(done)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # http.server looks for a method of this name for every verb
            return self.handle_any
        raise AttributeError(name)

    def suffer(self, fault: str) -> None:
        """Delay or refuse the request."""
        faults = self.pinecone.faults
        if fault == "slow":
            time.sleep(faults.delay)
        if fault == "429" and faults.retry_after is not None:
            raise Refused(
                "Too many requests, on purpose", status=429, headers={"Retry-After": f"{faults.retry_after:g}"}
            )
        if fault in ("429", "500", "503"):
            raise Refused(f"{fault} on purpose", status=int(fault))

    def check(self, operation: str, size: int) -> None:
        """Refuse what is not to be carried out whatever it says."""
        if size > MAX_REQUEST_BYTES:
            status = self.pinecone.too_large_status
            raise Refused(f"Request is {size} bytes, over the maximum of {MAX_REQUEST_BYTES}", status=status)
        key = self.headers.get("Api-Key", "")
        if key != self.pinecone.api_key and key not in self.pinecone.read_only_keys:
            raise Refused("Invalid API Key", status=401)
        version = self.headers.get("X-Pinecone-Api-Version", "")
        if not re.fullmatch(r"\d{4}-\d{2}", version) or version < OLDEST_VERSION:
            raise Refused(f"X-Pinecone-Api-Version must name a version from {OLDEST_VERSION} on, got {version!r}")
        if not operation:
            raise Refused(f"There is no {self.command} {self.path.split('?')[0]}", status=404)
        if key != self.pinecone.api_key and operation in _CHANGES:
            raise Refused("The API key is not allowed to do this", status=403)

    def parsed(self, raw: bytes) -> Any:
        """The JSON object that a request with a body carries; an empty one stands for none."""
        if self.command not in ("POST", "PATCH"):
            return None
        try:
            body = orjson.loads(raw or b"{}")
        except orjson.JSONDecodeError as error:
            raise Refused(f"The body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise Refused("The body must be a JSON object")
        return body

    def reply(self, done: Done) -> None:
        self.pinecone.count(status=done.status)
        body = orjson.dumps(done.body, option=orjson.OPT_SERIALIZE_NUMPY)
        self.send_response(done.status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **done.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself, such as an address over 64 KiB, in the words of the data plane."""
        self.close_connection = True
        status = code if code in (400, 414) else 400
        self.reply(Done(Refused(message or f"HTTP {code}", status=status).body(control_plane=False), status=status))

    def reset(self) -> None:
        """Close the connection as a crash does: with an RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def _route(method: str, path: str, routes: Iterable[tuple[Any, ...]]) -> tuple[str, str]:
    """Name and argument of the operation behind an address; empty if there is none."""
    for wanted, pattern, operation, *_ in routes:
        match = re.fullmatch(pattern, path)
        if method == wanted and match:
            return operation, unquote(match[1]) if match.groups() else ""
    return "", ""
