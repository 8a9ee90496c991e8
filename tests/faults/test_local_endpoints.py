"""Local endpoints when processes are killed, files are damaged and ids lie."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from ragwright.endpoints import EndpointSpec, EndpointStatus, Lease
from ragwright.endpoints.local import LocalHost
from ragwright.endpoints.registry import Folder
from ragwright.errors import ConfigurationError, EndpointError, StorageFull, TimedOut

STANDIN = Path(__file__).resolve().parents[1] / "emulators" / "endpoint_server.py"
GARBAGE = [b"", b"{", b"\xff\xfe\x00", b"[]", b"null", b'{"pid": 1}', b'{"pid": -1, "created": 0.5}']


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LocalHost]:
    with LocalHost(tmp_path, cache=tmp_path / "models", grace=2, server=(sys.executable, str(STANDIN))) as host:
        yield host
        for folder in (tmp_path / "endpoints").glob("*"):
            host.delete(folder.name)
    assert servers(tmp_path) == []


def servers(home: Path) -> list[psutil.Process]:
    """Living stand-ins of any endpoint under `home`, told by their command line alone."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        mine = str(STANDIN) in command and any(argument.startswith(f"{home}/") for argument in command)
        if mine and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def gone(process: psutil.Process, *, within: float = 10) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def spec(model: str = "good", **options: str) -> EndpointSpec:
    return EndpointSpec(name="minilm", model=model, contract="tei", options=options)


def lease(seconds: float = 120) -> Lease:
    return Lease.lasting(owner="me", minutes=seconds / 60)


def deployed(host: LocalHost, model: str = "good") -> int:
    host.deploy(spec(model), lease())
    host.wait(["minilm"], timeout=30)
    with host.connect("minilm") as endpoint:
        return int(endpoint.invoke({})["pid"])


def test_a_killed_server_is_reported_and_replaced(host: LocalHost) -> None:
    first = deployed(host)
    os.kill(first, signal.SIGKILL)
    assert gone(psutil.Process(first)) if psutil.pid_exists(first) else True
    info = host.describe("minilm")
    assert info.status is EndpointStatus.FAILED
    assert "exit code -9" in (info.failure_reason or "")
    assert info.url is None
    with pytest.raises(EndpointError, match="exit code -9"):
        host.connect("minilm")
    assert [entry.status for entry in host.list()] == [EndpointStatus.FAILED]
    assert deployed(host) != first


ROUNDS = """
import os, random, signal, sys, time
from pathlib import Path
import psutil
from ragwright.endpoints import EndpointSpec, Lease
from ragwright.endpoints.local import LocalHost
from ragwright.endpoints.processes import scan

home, standin, story, rounds = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
lease_file = home / "endpoints" / "minilm" / "lease.json"
spec = EndpointSpec(name="minilm", model="good", contract="tei")
randomness = random.Random(7)

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            with LocalHost(home, cache=home, grace=2, server=(sys.executable, standin)) as host:
                work(host)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid

def finish(*pids):
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0, "a child failed"

def deploy(host):
    host.deploy(spec, Lease.lasting(owner="me", minutes=2))

def deploy_and_wait(host):
    deploy(host)
    host.wait(["minilm"], timeout=30)

for number in range(rounds):
    if story == "killed":
        victim = child(deploy)
        time.sleep(randomness.uniform(0, 0.025))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
    elif story == "killed-deleting":
        finish(child(deploy_and_wait))
        victim = child(lambda host: host.delete("minilm"))
        time.sleep(randomness.uniform(0, 0.04))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
    else:
        finish(*[child(deploy_and_wait) for _ in range(3)])
        assert len(scan(lease_file)) == 1, f"round {number}: {len(scan(lease_file))} servers"
    if number % 2 or story == "together":
        finish(child(lambda host: host.delete("minilm")))
        assert not scan(lease_file), f"round {number}: a server outlived its deletion"
    else:
        finish(child(deploy_and_wait))
        assert len(scan(lease_file)) == 1, f"round {number}: {len(scan(lease_file))} servers"
"""


@pytest.mark.parametrize(("story", "rounds"), [("killed", 24), ("killed-deleting", 10), ("together", 10)])
def test_whatever_dies_or_races_one_deployment_leaves_one_server_and_one_deletion_none(
    host: LocalHost, tmp_path: Path, story: str, rounds: int
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", ROUNDS, str(tmp_path), str(STANDIN), story, str(rounds)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("offset", [0.0, -3600.0])
def test_a_stranger_with_a_recorded_process_id_is_left_alone(host: LocalHost, tmp_path: Path, offset: float) -> None:
    """Even one created at the recorded time: its command line is not the endpoint's."""
    os.kill(deployed(host), signal.SIGKILL)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        created = psutil.Process(stranger.pid).create_time() + offset
        record = tmp_path / "endpoints" / "minilm" / "process.json"
        record.write_text(json.dumps({"pid": stranger.pid, "created": created}))
        assert host.describe("minilm").status is EndpointStatus.FAILED
        assert host.delete("minilm") is True
        assert stranger.poll() is None
        stranger.kill()


def test_a_lapsed_lease_ends_the_server_without_anyones_help(host: LocalHost, tmp_path: Path) -> None:
    host.deploy(spec(), lease(seconds=1))
    [server] = servers(tmp_path)
    assert gone(server)
    info = host.describe("minilm")
    assert info.status is EndpointStatus.FAILED
    assert "lease lapsed" in (info.failure_reason or "")
    with pytest.raises(EndpointError, match="lease"):
        host.extend("minilm", datetime.now(UTC) + timedelta(hours=1))


def test_the_janitor_reaps_what_has_lapsed_and_nothing_else(host: LocalHost, tmp_path: Path) -> None:
    host.deploy(spec(), lease(seconds=60))
    kept = EndpointSpec(name="kept", model="good", contract="tei")
    host.deploy(kept, lease(seconds=600))
    assert host.reap(datetime.now(UTC)) == []
    assert host.reap(datetime.now(UTC) + timedelta(seconds=61)) == ["minilm"]
    assert [info.name for info in host.list()] == ["kept"]
    assert len(servers(tmp_path)) == 1
    assert host.reap(datetime.now(UTC) + timedelta(seconds=61)) == []


def test_an_endpoint_whose_lease_cannot_be_read_is_reaped(host: LocalHost, tmp_path: Path) -> None:
    deployed(host)
    (tmp_path / "endpoints" / "minilm" / "lease.json").unlink()
    assert host.reap(datetime.now(UTC)) == ["minilm"]
    assert servers(tmp_path) == []


@pytest.mark.parametrize("file", ["spec.json", "lease.json", "process.json", "ready.json", "token"])
@pytest.mark.parametrize("content", GARBAGE)
def test_damaged_files_neither_hide_nor_block_an_endpoint(
    host: LocalHost, tmp_path: Path, file: str, content: bytes
) -> None:
    folder = tmp_path / "endpoints" / "minilm"
    host.deploy(spec("slow-30"), lease())
    (folder / file).write_bytes(content)
    [info] = host.list()
    if file in ("spec.json", "lease.json"):
        assert info.status is EndpointStatus.FAILED
        assert file in (info.failure_reason or "")
    else:
        assert info.status is EndpointStatus.CREATING
    host.deploy(spec("slow-31"), lease())
    assert host.describe("minilm").status is EndpointStatus.CREATING
    assert len(servers(tmp_path)) == 1
    (folder / file).write_bytes(content)
    assert host.delete("minilm") is True
    assert servers(tmp_path) == []


def test_files_of_a_deployment_that_never_began_are_cleared(host: LocalHost, tmp_path: Path) -> None:
    folder = tmp_path / "endpoints" / "minilm"
    folder.mkdir(parents=True)
    for name in ("lease.json", ".spec.json.draft", "token"):
        (folder / name).write_text("half")
    with pytest.raises(EndpointError, match="no endpoint"):
        host.describe("minilm")
    assert host.list() == []
    assert host.delete("minilm") is False
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_stubborn_server_is_killed_with_its_children(host: LocalHost, tmp_path: Path) -> None:
    os_process = psutil.Process(deployed(host, "stubborn"))
    begun = time.monotonic()
    host.delete("minilm")
    assert 1.5 < time.monotonic() - begun < 8
    assert gone(os_process, within=0.1)
    [child] = psutil.Process(deployed(host, "parent")).children()
    host.delete("minilm")
    assert gone(child, within=0.1)


def test_the_server_is_out_of_reach_of_the_terminals_signals(host: LocalHost) -> None:
    process = deployed(host)
    assert os.getsid(process) == process
    assert os.getpgid(process) != os.getpgid(0)


def test_the_token_is_for_this_user_only(host: LocalHost, tmp_path: Path) -> None:
    process = psutil.Process(deployed(host))
    folder = tmp_path / "endpoints" / "minilm"
    token = (folder / "token").read_text()
    assert len(token) > 30
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert token not in " ".join(process.cmdline())
    assert token not in host.describe("minilm").model_dump_json()
    with host.connect("minilm") as endpoint:
        assert token not in repr(endpoint)


def test_a_failed_start_shows_the_log_without_the_token(host: LocalHost, tmp_path: Path) -> None:
    host.deploy(spec("crash-3"), lease())
    token = (tmp_path / "endpoints" / "minilm" / "token").read_text()
    with pytest.raises(EndpointError, match=r"exit code 3") as caught:
        host.wait(["minilm"], timeout=30)
    assert "log line 99 ***" in str(caught.value)
    assert "log line 70 " not in str(caught.value)
    assert token not in str(caught.value)


def test_the_last_logs_are_kept(host: LocalHost, tmp_path: Path) -> None:
    folder = tmp_path / "endpoints" / "minilm"
    for code in range(1, 6):
        host.deploy(spec(f"crash-{code}"), lease())
        with pytest.raises(EndpointError):
            host.wait(["minilm"], timeout=30)
        host.delete("minilm")
    assert sorted(path.name for path in folder.glob("*log*")) == ["server.log", "server.log.1", "server.log.2"]
    assert "loading crash-5" in (folder / "server.log").read_text()
    assert "loading crash-3" in (folder / "server.log.2").read_text()


def test_a_server_that_never_gets_ready_times_out(host: LocalHost) -> None:
    host.deploy(spec("mute"), lease())
    with pytest.raises(TimedOut, match="loading mute"):
        host.wait(["minilm"], timeout=0.5)


def test_a_port_in_use_is_named(host: LocalHost) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(EndpointError, match=port):
            host.deploy(spec(port=port), lease())
    assert host.list() == []


@pytest.mark.parametrize("options", [{"port": "x"}, {"port": "70000"}, {"port": "-1"}, {"gpu": "1"}])
def test_options_the_host_does_not_know_are_refused(host: LocalHost, options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        host.deploy(spec(**options), lease())


def test_a_lease_that_is_over_is_refused(host: LocalHost) -> None:
    with pytest.raises(ConfigurationError, match="over already"):
        host.deploy(spec(), Lease(owner="me", expires_at=datetime.now(UTC) - timedelta(seconds=1)))


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    host = LocalHost(tmp_path / "home", cache=tmp_path)
    with pytest.raises(ConfigurationError, match="home"):
        host.deploy(spec(), lease())
    assert host.list() == []
    assert host.delete("minilm") is False


def test_a_full_disk_leaves_no_endpoint_and_keeps_none_alive(
    host: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull, match="no room"):
            host.deploy(spec(), lease())
    assert sorted(path.name for path in (tmp_path / "endpoints" / "minilm").iterdir()) == ["lock", "server.log"]
    deployed(host)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert host.delete("minilm") is True
    assert servers(tmp_path) == []


def test_a_missing_server_program_leaves_no_endpoint(tmp_path: Path) -> None:
    host = LocalHost(tmp_path, cache=tmp_path, server=("/nowhere/python",))
    with pytest.raises(EndpointError, match="cannot be started") as caught:
        host.deploy(spec(), lease())
    assert caught.value.place == "/nowhere/python"
    assert host.list() == []


def test_a_lock_is_waited_for_and_dies_with_its_holder(host: LocalHost, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from ragwright.endpoints.registry import Folder\n"
        "with Folder(Path(sys.argv[1]), 'minilm').locked():\n    print('held', flush=True); time.sleep(60)"
    )
    root = tmp_path / "endpoints"
    with subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        folder = Folder(root, "minilm")
        with pytest.raises(TimedOut, match="'minilm'"), folder.locked(timeout=0.1):
            raise AssertionError("two holders")
        holder.kill()
    with folder.locked(timeout=5):
        pass


def test_a_deletion_that_was_cut_short_is_told_and_can_be_finished(host: LocalHost, tmp_path: Path) -> None:
    deployed(host)
    folder = Folder(tmp_path / "endpoints", "minilm")
    [server] = servers(tmp_path)
    with folder.locked():
        folder.begin_deletion()
    assert host.describe("minilm").status is EndpointStatus.DELETING
    with pytest.raises(EndpointError, match="being deleted"):
        host.wait(["minilm"], timeout=5)
    server.kill()
    assert gone(server)
    info = host.describe("minilm")
    assert (info.status, info.failure_reason) == (EndpointStatus.FAILED, "its deletion was cut short")
    assert host.delete("minilm") is True
    assert host.list() == []


def test_the_server_that_comes_along_serves_and_ends_with_its_lease(tmp_path: Path) -> None:
    with LocalHost(tmp_path, cache=tmp_path / "models") as host:
        host.deploy(spec("hashing-384"), lease())
        host.wait(["minilm"], timeout=60)
        with host.connect("minilm") as endpoint:
            assert [len(vector) for vector in endpoint.invoke({"inputs": ["a", "b"]})] == [384, 384]
        folder = Folder((tmp_path / "endpoints").resolve(), "minilm")
        identity = folder.identity
        assert identity is not None
        server = psutil.Process(identity.pid)
        with folder.locked():
            folder.write_lease(lease(seconds=0.5))
        assert gone(server)
        assert "lease lapsed" in (host.describe("minilm").failure_reason or "")
        assert host.reap(datetime.now(UTC)) == ["minilm"]
        assert host.list() == []
