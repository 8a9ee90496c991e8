"""`ragwright doctor`: what it looks at, what it makes of it, and what it keeps to itself."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragwright import cli
from ragwright.cli import doctor
from ragwright.endpoints import EndpointSpec, Lease, open_host
from ragwright.endpoints.registry import Folder
from ragwright.settings import load_settings

Examine = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def examine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Examine:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("RAGWRIGHT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RAGWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__MODEL", "hashing-384")
    monkeypatch.setenv("RAGWRIGHT_GENERATION__ENDPOINT", "none")

    def call(*flags: str) -> tuple[int, list[dict[str, Any]]]:
        with pytest.raises(SystemExit) as ended:
            cli.app(["doctor", "--json", *flags], prog_name="ragwright")
        said = json.loads(capfd.readouterr().out)
        worst = max(said["checks"], key=lambda check: ["ok", "warn", "fail"].index(check["status"]))
        assert said["status"] == worst["status"]
        return int(ended.value.code or 0), said["checks"]

    return call


def named(checks: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [check for check in checks if check["name"] == name]


def test_a_sound_machine_without_an_index_is_told_how_to_make_one(examine: Examine, tmp_path: Path) -> None:
    code, checks = examine()
    assert code == 0
    assert {check["name"] for check in checks} >= {"python", "memory", "ports", "settings", "home", "disk", "embedder"}
    assert {check["status"] for check in checks if check["name"] not in ("index", "memory", "disk")} == {"ok"}
    [index] = named(checks, "index")
    assert (index["status"], "ragwright reindex" in index["hint"]) == ("warn", True)
    assert not (tmp_path / "home").exists(), "looking changes nothing"


def test_people_get_a_line_a_check(examine: Examine, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.app(["doctor"], prog_name="ragwright")
    out = capfd.readouterr().out
    assert "ok    python" in out
    assert "warn  index" in out
    assert "Make one: `ragwright reindex --source FAQ.csv`." in out


def test_settings_are_shown_by_source_and_secrets_are_not(
    examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ragwright.toml").write_text('index = "hr"\n[generation]\napi_key = "toml-secret"\nseed = 3\n')
    (tmp_path / ".env").write_text("RAGWRIGHT_EMBEDDING__API_KEY=dotenv-secret\nOTHER=1\n")
    monkeypatch.setenv("RAGWRIGHT_SOURCE", '{"key_column": "environment-secret"}')
    monkeypatch.setenv("RAGWRIGHT_SAGEMAKER", '{"hugging_face_token": "section-secret"}')
    monkeypatch.setenv("RAGWRIGHT_CATALOG", "https://user:url-secret@host/x")
    _, checks = examine()
    told = [check["detail"] for check in named(checks, "settings")]
    assert "ragwright.toml: generation.api_key=***, generation.seed=3, index='hr'" in told
    assert ".env: embedding.api_key=***" in told
    assert any(
        "catalog='https://***@host/x'" in line and "source=***" in line and "sagemaker=***" in line for line in told
    )
    assert "secret" not in json.dumps(checks)


def test_a_misspelt_variable_is_noticed_without_its_value(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_EMBEDING__API_KEY", "secret")
    code, checks = examine()
    assert code == 0
    [warning] = [check for check in named(checks, "settings") if check["status"] == "warn"]
    assert "RAGWRIGHT_EMBEDING__API_KEY" in warning["detail"]
    assert "secret" not in json.dumps(checks)


def test_an_invalid_setting_fails_the_examination(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_INDEX", "Not Good")
    code, checks = examine()
    assert code == 1
    assert named(checks, "settings")[0]["status"] == "fail"
    assert "Not Good" in named(checks, "settings")[0]["detail"]
    assert named(checks, "python")[0]["status"] == "ok"


def test_a_home_that_cannot_be_written_fails(examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAGWRIGHT_HOME", str(tmp_path / "file"))
    code, checks = examine()
    assert code == 1
    [home] = named(checks, "home")
    assert home["status"] == "fail"
    assert "RAGWRIGHT_HOME" in home["hint"]


@pytest.mark.parametrize(("free", "status"), [(5e9, "ok"), (1e9, "warn"), (1e8, "fail")])
def test_little_room_is_a_warning_and_hardly_any_a_failure(free: float, status: str) -> None:
    check = doctor._amount("disk", free, doctor.ENOUGH_DISK, doctor.LITTLE_DISK, "", "Free some space.")
    assert check.status == status
    assert (check.hint is None) == (status == "ok")


def test_an_unknown_model_fails(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__MODEL", "nope")
    code, checks = examine()
    assert code == 1
    assert "'nope'" in named(checks, "embedder")[0]["detail"]


def own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *sources: str) -> Path:
    """Configure a language model with one file, `own.gguf`; returns where the path source looks for it."""
    digest = hashlib.sha256(b"weights").hexdigest()
    (tmp_path / "models.toml").write_text(
        '[own]\ntask = "text-generation"\nruntime = "llama"\ncontext_tokens = 512\n'
        f'[own.files.model]\nfilename = "own.gguf"\nsize = 7\nsha256 = "{digest}"\n'
        f"sources = [{', '.join(sources)}]\n"
    )
    monkeypatch.setenv("RAGWRIGHT_GENERATION__ENDPOINT", "own")
    monkeypatch.setenv("RAGWRIGHT_GENERATION__MODEL", "own")
    return tmp_path / "own.gguf"


HERE = '{ path = "own.gguf" }'
HUB = '{ hub = "owner/own", filename = "own.gguf" }'


def test_model_files_that_have_yet_to_be_fetched_are_a_warning(
    examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = own_model(tmp_path, monkeypatch, HERE, HUB)
    code, checks = examine()
    [model] = named(checks, "language model")
    assert (code, model["status"]) == (0, "warn")
    assert "1 of 1 files" in model["detail"]
    assert "hub owner/own" in model["detail"]
    assert "--fetch" in model["hint"]
    path.write_bytes(b"weights")
    assert named(examine()[1], "language model")[0]["status"] == "ok"


@pytest.mark.parametrize("flags", [[], ["--fetch"]])
def test_model_files_that_cannot_be_had_are_a_failure(
    examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    path = own_model(tmp_path, monkeypatch, HERE)
    path.write_bytes(b"other content")
    code, checks = examine(*flags)
    [model] = named(checks, "language model")
    assert (code, model["status"]) == (1, "fail")
    assert "own.gguf" in model["detail"]


def test_a_server_of_the_users_own_is_tried(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        monkeypatch.setenv("RAGWRIGHT_GENERATION__ENDPOINT", url)
        code, checks = examine()
        assert code == 0
        assert any("something listens" in check["detail"] for check in named(checks, "endpoints"))
    code, checks = examine()
    assert code == 1
    assert any("nothing answers" in check["detail"] for check in named(checks, "endpoints"))


def test_a_crashed_endpoint_is_a_warning_with_the_next_step(examine: Examine, tmp_path: Path) -> None:
    settings = load_settings()
    with open_host(settings) as host:
        host.deploy(
            EndpointSpec(name="embedder", model="hashing-384", contract="tei"), Lease.lasting(owner="me", minutes=5)
        )
        host.wait(["embedder"], timeout=60)
        try:
            code, checks = examine()
            assert code == 0
            assert "InService" in named(checks, "endpoints")[0]["detail"]
            identity = Folder((tmp_path / "home" / "endpoints").resolve(), "embedder").identity
            assert identity is not None
            os.kill(identity.pid, signal.SIGKILL)
            code, checks = examine()
            [crashed] = named(checks, "endpoints")
            assert (code, crashed["status"]) == (0, "warn")
            assert "endpoints down embedder" in crashed["hint"]
        finally:
            host.delete("embedder")


def test_a_live_generation_whose_store_is_gone_fails(examine: Examine, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from ragwright.documents import Fingerprint
    from ragwright.index.catalog import Catalog, Entry

    fingerprint = Fingerprint("m", "r", "mean", True, 384)
    entry = Entry(sequence=1, kind="publish", generation=4, space="s", fingerprint=fingerprint, at=datetime.now(UTC))
    with Catalog(str(tmp_path / "home" / "catalog"), "faq") as catalog:
        catalog.append(entry)
    code, checks = examine()
    [index] = named(checks, "index")
    assert (code, index["status"]) == (1, "fail")
    assert "generation 4" in index["detail"]
    (tmp_path / "home" / "store").mkdir()
    code, checks = examine()
    assert (code, named(checks, "index")[0]["detail"]) == (0, "index 'faq': generation 4 is live")
