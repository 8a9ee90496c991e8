"""What `make up` and `make down` ask of a Prefect server whose database is busy."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ragwright.errors import EndpointError

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "prefect_api.py"


@pytest.fixture(scope="module")
def prefect_api() -> Any:
    """The script's module; its folder is no package."""
    spec = importlib.util.spec_from_file_location("prefect_api", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def answers() -> Iterator[tuple[list[int], int]]:
    """Codes to answer with, one after another, the last one for good; and the port where that happens."""
    codes: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(codes.pop(0) if len(codes) > 1 else codes[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield codes, server.server_port
        server.shutdown()


def test_a_busy_server_is_asked_again(prefect_api: Any, answers: tuple[list[int], int]) -> None:
    codes, port = answers
    codes[:] = [503, 503, 204]
    prefect_api.Api(port).pause(True)
    assert codes == [204]


def test_a_server_that_stays_busy_is_told_with_what_it_said(
    prefect_api: Any, answers: tuple[list[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes, port = answers
    codes[:] = [503]
    monkeypatch.setattr(prefect_api, "_PATIENCE", 0.6)
    with pytest.raises(EndpointError, match="work_pools/ragwright with 503") as caught:
        prefect_api.Api(port).pause(True)
    assert "server.log" in str(caught.value.hint)
