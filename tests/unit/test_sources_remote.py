"""Downloads from a real HTTP server and an S3 server, both on this machine."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ragwright.errors import RagwrightError, SourceError, Throttled, TimedOut, TransientError, Unavailable
from ragwright.settings import SourceSettings
from ragwright.sources import open_source
from ragwright.sources.version import source_version

CSV = b"question,answer\nIs it?,yes\n"


class Faq(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        route = self.path.partition("?")[0]
        match route:
            case "/faq.csv" | "/export":
                self.reply(200, CSV)
            case "/lines":
                self.reply(200, b'{"question": "q", "answer": "a"}\n')
            case "/moved":
                self.reply(302, b"", {"Location": "/faq.csv"})
            case "/loop":
                self.reply(302, b"", {"Location": "/loop"})
            case "/login.csv":
                self.reply(200, b"<!doctype html><title>Log in</title>")
            case "/cut.csv":
                self.reply(200, CSV, {"Content-Length": "5000"})
                self.close_connection = True
            case "/busy":
                self.reply(429, b"", {"Retry-After": "7"})
            case "/slow.csv":
                time.sleep(1.0)
                self.reply(200, CSV)
            case "/drip.csv":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            case _:
                self.reply(int(route.rpartition("/")[2]), b"")

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Faq) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def error_of(url: str, **settings: object) -> RagwrightError:
    with pytest.raises(RagwrightError) as caught:
        open_source(url, SourceSettings(**settings))
    return caught.value


@pytest.mark.parametrize(
    ("route", "kind"), [("faq.csv", "csv"), ("export", "csv"), ("lines", "jsonl"), ("moved", "csv")]
)
def test_a_url_is_read_by_its_name_or_its_content(server: str, route: str, kind: str) -> None:
    with open_source(f"{server}/{route}", SourceSettings()) as source:
        assert source.format == kind
        assert next(source.partitions()).rows.num_rows == 1


def test_a_download_is_removed_when_the_source_closes(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_source(f"{server}/faq.csv", SourceSettings()):
        assert len(list(tmp_path.rglob("download"))) == 1
    assert list(tmp_path.iterdir()) == []
    error_of(f"{server}/login.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("route", "kind", "words"),
    [
        ("404", SourceError, "404"),
        ("403", SourceError, "credentials"),
        ("400", SourceError, "400"),
        ("500", Unavailable, "500"),
        ("503", Unavailable, "503"),
        ("loop", SourceError, "TooManyRedirects"),
        ("login.csv", SourceError, "web page"),
        ("cut.csv", Unavailable, "27 bytes"),
    ],
)
def test_what_a_server_does_decides_whether_to_try_again(
    server: str, route: str, kind: type[RagwrightError], words: str
) -> None:
    error = error_of(f"{server}/{route}")
    assert type(error) is kind
    assert words in str(error)
    assert f"{server}/{route}" in str(error)


def test_a_server_that_asks_for_patience_is_heard(server: str) -> None:
    error = error_of(f"{server}/busy")
    assert isinstance(error, Throttled)
    assert error.retry_after == 7


def test_a_server_that_is_not_there_is_unavailable(server: str) -> None:
    assert isinstance(error_of("http://127.0.0.1:9/faq.csv"), Unavailable)


def test_time_limits_hold_for_a_read_and_for_the_whole(server: str) -> None:
    assert isinstance(error_of(f"{server}/slow.csv", timeout_seconds=0.2), TimedOut)
    assert isinstance(error_of(f"{server}/drip.csv", download_seconds=0.3, max_download_bytes=10**6), TimedOut)


def test_a_download_over_the_size_limit_is_refused(server: str) -> None:
    error = error_of(f"{server}/faq.csv", max_download_bytes=10)
    assert isinstance(error, SourceError)
    assert "27 bytes is more than the limit of 10" in str(error)


@pytest.mark.parametrize("url", ["http://", "http://[bad/faq.csv", "http://host:port/faq.csv"])
def test_an_address_that_is_none_is_a_permanent_error(url: str) -> None:
    assert isinstance(error_of(url), SourceError)


def test_secrets_in_an_address_stay_out_of_errors_and_logs(server: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    host = server.removeprefix("http://")
    url = f"http://user:hunter2@{host}/404?signature=s3cr3t"
    error = error_of(url)
    with open_source(url.replace("404", "faq.csv"), SourceSettings()) as source:
        shown = f"{error} {error!r} {error.args} {source.place} {caplog.text}"
    assert "hunter2" not in shown
    assert "s3cr3t" not in shown


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_REGION", "us-east-1")
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="faqs")
        s3.put_object(Bucket="faqs", Key="team a/faq.csv", Body=CSV)
        yield "s3://faqs"
    server.stop()


def test_an_object_on_s3_is_read(bucket: str) -> None:
    with open_source(f"{bucket}/team a/faq.csv", SourceSettings()) as source:
        assert next(source.partitions()).rows["answer"].to_pylist() == ["yes"]


def test_an_object_on_s3_that_is_written_again_has_another_version(bucket: str) -> None:
    import boto3

    versions = []
    for body in (CSV, CSV, CSV + b"more,rows\n"):
        boto3.client("s3").put_object(Bucket="faqs", Key="watched.csv", Body=body)
        versions.append(source_version(f"{bucket}/watched.csv", SourceSettings()))
    assert versions[0] == versions[1] != versions[2], "an entity tag stands for the content"


def test_a_missing_object_bucket_or_key_is_a_permanent_error(bucket: str) -> None:
    for url in (f"{bucket}/other.csv", "s3://no-such-bucket/faq.csv"):
        error = error_of(url)
        assert isinstance(error, SourceError)
        assert "no such object" in str(error)
    assert "names no object" in str(error_of(bucket))


def test_s3_that_does_not_answer_is_transient(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    assert isinstance(error_of(f"{bucket}/faq.csv"), TransientError)
