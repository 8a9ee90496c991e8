"""`ragwright endpoints` against real servers with a model that needs no files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ragwright import cli
from ragwright.endpoints import EndpointSpec, Lease, open_endpoint, open_host
from ragwright.settings import load_settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """The command line on a home of its own; nothing it started is left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "embedder")
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__MODEL", "hashing-384")
    monkeypatch.setenv("RAGWRIGHT_GENERATION__ENDPOINT", "none")

    def call(*arguments: str, **environment: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.app(list(arguments), prog_name="ragwright")
        output = capfd.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    yield call
    with open_host(load_settings()) as host:
        for info in host.list():
            host.delete(info.name)


def ls(run: Run, *flags: str) -> list[dict[str, Any]]:
    code, out, _ = run("endpoints", "ls", "--json", *flags)
    assert code == 0
    return list(json.loads(out))


def other_owners_endpoint(name: str) -> None:
    spec = EndpointSpec(name=name, model="hashing-384", contract="tei")
    with open_host(load_settings()) as host:
        host.deploy(spec, Lease.lasting(owner="somebody", minutes=5))


def test_endpoints_go_up_are_listed_extended_and_go_down(run: Run) -> None:
    code, out, err = run("endpoints", "up", "--minutes", "5", "--json")
    assert code == 0
    [up] = json.loads(out)
    assert (up["name"], up["host"], up["status"], up["model"]) == ("embedder", "local", "InService", "hashing-384")
    assert "endpoints in service: 1 of 1" in err
    with open_endpoint("embedder", "tei", load_settings()) as endpoint:
        [vector] = endpoint.invoke({"inputs": ["What is Managed Spot Training?"]})
    assert len(vector) == 384

    assert ls(run) == [up]
    ends = datetime.fromisoformat(up["lease_expires_at"])
    assert timedelta(minutes=4) < ends - datetime.now(UTC) <= timedelta(minutes=5)

    code, out, _ = run("endpoints", "extend", "embedder", "--minutes", "20", "--json")
    assert code == 0
    assert datetime.fromisoformat(json.loads(out)[0]["lease_expires_at"]) > ends + timedelta(minutes=14)

    code, out, _ = run("endpoints", "ls")
    assert code == 0
    assert up["url"] in out
    assert run("endpoints", "down", "--json")[:2] == (0, '{"deleted": ["embedder"], "missing": []}\n')
    assert ls(run) == []


def test_down_of_nothing_says_so_and_is_fine(run: Run) -> None:
    assert run("endpoints", "down") == (0, "", "No endpoints to stop.\n")
    code, out, err = run("endpoints", "down", "nobody", "--json")
    assert (code, json.loads(out)) == (0, {"deleted": [], "missing": ["nobody"]})
    assert "There is no endpoint 'nobody'." in err


def test_ls_of_nothing_says_so(run: Run) -> None:
    assert run("endpoints", "ls") == (0, "", "No endpoints.\n")
    assert ls(run) == []


def test_up_with_nothing_to_deploy_says_so(run: Run) -> None:
    code, out, err = run("endpoints", "up", "--json", RAGWRIGHT_EMBEDDING__ENDPOINT="hashing:384")
    assert (code, json.loads(out)) == (0, [])
    assert "no endpoint to deploy" in err


def test_other_owners_endpoints_are_left_alone_unless_told(run: Run) -> None:
    other_owners_endpoint("embedder")
    assert ls(run) == []
    assert [info["owner"] for info in ls(run, "--all-owners")] == ["somebody"]
    for arguments in (["down", "embedder"], ["extend", "embedder", "--minutes", "9"], ["up"]):
        code, out, _ = run("endpoints", *arguments, "--json")
        assert code == 1
        error = json.loads(out)["error"]
        assert error["type"] == "GuardRefused"
        assert "'somebody'" in error["message"]
    assert run("endpoints", "down")[2] == "No endpoints to stop.\n"
    assert len(ls(run, "--all-owners")) == 1
    assert run("endpoints", "down", "--all")[:2] == (0, "stopped embedder\n")
    assert ls(run, "--all-owners") == []


def test_a_failed_start_shows_the_servers_log_and_is_listed_with_its_reason(run: Run) -> None:
    code, out, err = run("endpoints", "up", "--json", RAGWRIGHT_EMBEDDING__MODEL="scripted")
    assert code == 1
    error = json.loads(out)["error"]
    assert error["type"] == "EndpointError"
    assert "'scripted'" in error["message"]
    assert error["place"].endswith("server.log")
    assert "Traceback" not in err
    [listed] = ls(run)
    assert listed["status"] == "Failed"
    assert "process is gone" in listed["failure_reason"]
    assert "process is gone" in run("endpoints", "ls")[1]


def test_an_unknown_model_is_refused_before_anything_starts(run: Run) -> None:
    code, out, _ = run("endpoints", "up", "--json", RAGWRIGHT_EMBEDDING__MODEL="no-such-model")
    assert code == 1
    error = json.loads(out)["error"]
    assert error["type"] == "ConfigurationError"
    assert "'no-such-model'" in error["message"]
    assert ls(run) == []


@pytest.mark.parametrize("name", ["../x", "a b", ""])
def test_a_name_no_endpoint_can_have_is_refused(run: Run, name: str) -> None:
    code, out, _ = run("endpoints", "down", name, "--json")
    assert code == 1
    assert json.loads(out)["error"]["type"] == "EndpointError"


@pytest.mark.parametrize(
    "arguments", [["extend", "x"], ["up", "--minutes", "0"], ["up", "--minutes", "soon"], ["stop"]]
)
def test_wrong_usage_exits_2(run: Run, arguments: list[str]) -> None:
    assert run("endpoints", *arguments)[0] == 2
