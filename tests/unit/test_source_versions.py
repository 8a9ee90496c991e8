"""Whether a source has changed is known without reading it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ragwright.errors import SourceError, Throttled, Unavailable
from ragwright.index.catalog import Catalog
from ragwright.index.watching import look, note
from ragwright.settings import SourceSettings
from ragwright.sources.version import source_version

SETTINGS = SourceSettings()


@contextmanager
def served(headers: dict[str, str], *, head: int = 200, body: bytes = b"") -> Iterator[tuple[str, list[str]]]:
    """A file behind a URL, and the methods it was asked with."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.reply(head)

        def do_GET(self) -> None:
            self.reply(200)
            self.wfile.write(body)

        def reply(self, status: int) -> None:
            asked.append(self.command)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/faq.csv", asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_file_that_is_written_again_has_another_version(tmp_path: Path) -> None:
    file = tmp_path / "faq.csv"
    file.write_text("question,answer\n", encoding="utf-8")
    first = source_version(str(file), SETTINGS)
    assert source_version(str(file), SETTINGS) == first
    os.utime(file, ns=(1, 1))
    assert source_version(str(file), SETTINGS) != first


def test_a_missing_file_is_refused_as_when_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        source_version(str(tmp_path / "faq.csv"), SETTINGS)


def test_of_a_url_only_the_headers_are_asked_for() -> None:
    with served({"ETag": '"abc"', "Last-Modified": "yesterday"}) as (url, asked):
        assert source_version(url, SETTINGS) == '"abc"'
    with served({"Last-Modified": "yesterday", "Content-Length": "7"}) as (url, _):
        assert source_version(url, SETTINGS) == "yesterday/7"
    assert asked == ["HEAD"]


@pytest.mark.parametrize("status", [405, 501])
def test_a_server_that_knows_no_head_is_asked_otherwise(status: int) -> None:
    with served({"ETag": '"abc"'}, head=status, body=b"x" * 1_000_000) as (url, asked):
        assert source_version(url, SETTINGS) == '"abc"'
    assert asked == ["HEAD", "GET"]


def test_a_server_that_says_nothing_of_its_content_cannot_be_watched() -> None:
    with served({}) as (url, _), pytest.raises(SourceError, match="neither ETag nor Last-Modified"):
        source_version(url, SETTINGS)


@pytest.mark.parametrize(("status", "error"), [(404, SourceError), (429, Throttled), (503, Unavailable)])
def test_a_refusal_means_what_it_means_when_the_source_is_read(status: int, error: type[Exception]) -> None:
    with served({}, head=status) as (url, _), pytest.raises(error):
        source_version(url, SETTINGS)


@pytest.mark.parametrize("address", ["https://me:canary@host/faq.csv", "https://host/faq.csv?signature=canary"])
def test_an_address_with_a_secret_is_not_watched_and_not_shown(address: str) -> None:
    with pytest.raises(SourceError, match="not watched") as refused:
        source_version(address, SETTINGS)
    assert "canary" not in str(refused.value)


def test_a_change_is_told_until_it_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "faq.csv"
    file.write_text("question,answer\n", encoding="utf-8")
    with Catalog(str(tmp_path / "catalog"), "faq") as catalog:
        first = look(catalog, str(file), SETTINGS)
        assert first is not None
        assert look(catalog, str(file), SETTINGS) == first, "its event may have got lost"
        note(catalog, first)
        assert look(catalog, str(file), SETTINGS) is None
        os.utime(file, ns=(1, 1))
        second = look(catalog, str(file), SETTINGS)
    assert second is not None
    assert (second.before, second.digest) == (first.version, first.digest)
