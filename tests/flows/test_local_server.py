"""`make up` and `make down` with real processes, and what happens by itself on the server that they start.

The tests of this module share one server, worker and set of deployments, and run in the order they stand here: the last
but two takes everything down.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import httpx
import psutil
import pytest
import yaml
from prefect import flow
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.objects import StateType
from prefect.events import DoNothing, EventTrigger, emit_event
from prefect.events.schemas.automations import AutomationCore
from prefect.states import AwaitingConcurrencySlot, Failed, Pending, Running
from prefect_on_loopback import CACHE, PrefectServer, settings_of
from pydantic import SecretStr

from flows.watch_source import watch_source
from ragwright.endpoints.local import LocalHost
from ragwright.endpoints.processes import is_alive
from tasks import events
from tasks.automations import apply

ROOT = Path(__file__).resolve().parents[2]
AUTOMATIONS = ROOT / "deploy" / "automations.yaml"
PATIENCE = 60.0  # seconds

pytestmark = pytest.mark.long


@flow
def stands_for_ours() -> None:
    """Never called: its runs only change their states."""


def until(happened: Callable[[], Any]) -> Any:
    """Wait for something; what it was."""
    deadline = time.monotonic() + PATIENCE
    while not (found := happened()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


class Outside:
    """A source at a URL that says it has changed but is slow to read, and the receiver of messages."""

    def __init__(self) -> None:
        self.tag, self.messages, self.answer = '"1"', cast("list[str]", []), threading.Event()
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.send_response(200)
                self.send_header("ETag", outside.tag)
                self.end_headers()

            def do_GET(self) -> None:
                outside.answer.wait(PATIENCE)
                self.send_error(503)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outside.messages.append(json.loads(body)["text"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@dataclass
class Project:
    """A checkout with state and a Prefect profile of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shutil.copy(ROOT / "prefect.yaml", self.folder)
        (self.folder / "deploy").mkdir()
        shutil.copy(ROOT / "deploy" / "automations.yaml", self.folder / "deploy")
        shutil.copytree(ROOT / "flows", self.folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "data").symlink_to(ROOT / "data")
        self.profiles = self.folder / "user" / ".prefect" / "profiles.toml"
        self.profiles.parent.mkdir(parents=True)
        self.profiles.write_text('active = "work"\n[profiles.work]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n')
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RAGWRIGHT_"))},
            "HOME": str(self.profiles.parents[1]),
            "RAGWRIGHT_EMBEDDING__MODEL": "hashing-384",
            "RAGWRIGHT_EMBEDDING__ENDPOINT": "local-server-embedder",
            "RAGWRIGHT_GENERATION__ENDPOINT": "none",
        }

    @property
    def home(self) -> Path:
        return self.folder / ".ragwright"

    def make(self, *target: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, ROOT / "deploy" / "local.py", *target, "--json"]
        return self.run(*map(str, command))

    def made(self, *target: str) -> dict[str, Any]:
        done = self.make(*target)
        assert done.returncode == 0, done.stderr
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def processes(self) -> dict[str, psutil.Process]:
        """What was started for this project, by role."""
        found = {}
        for process in psutil.process_iter(["cmdline"]):
            for part in process.info["cmdline"] or []:
                if part.startswith(f"ragwright={self.home}"):
                    found[Path(part).name] = process
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("project"))
    if (CACHE / "home").is_dir():  # what a first start takes most of its time for
        shutil.copytree(CACHE / "home", project.home / "prefect")
    # What `up` starts is meant to outlive who started it, but not these tests, even if they are killed.
    down = [sys.executable, str(ROOT / "deploy" / "local.py"), "down"]
    guard = [sys.executable, "-c", f"import subprocess, sys; sys.stdin.read(); subprocess.run({down!r})"]
    place: dict[str, Any] = {"cwd": project.folder, "env": project.environment, "start_new_session": True}
    with subprocess.Popen(guard, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, **place):
        yield project


@pytest.fixture(scope="module")
def started(project: Project) -> dict[str, Any]:
    return project.made("up", "--port", str(free_port()))


@pytest.fixture
def client(started: dict[str, Any], tmp_path: Path) -> Iterator[SyncPrefectClient]:
    server = SimpleNamespace(url=f"{started['ui']}/api")
    with settings_of(cast("PrefectServer", server), tmp_path), get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    outside = Outside()
    yield outside
    outside.answer.set()
    outside.server.shutdown()


def test_up_leaves_everything_ready(project: Project, started: dict[str, Any]) -> None:
    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert started["deployments"] == len(deployed)
    assert httpx.get(started["ui"], follow_redirects=True).is_success
    running = project.processes()
    assert running.keys() == {"server", "worker"}
    listening = {at.laddr.ip for at in running["server"].net_connections() if at.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_prefect_in_this_folder_finds_the_server_and_the_user_s_profile_is_as_it_was(
    project: Project, started: dict[str, Any]
) -> None:
    before = project.profiles.read_text()
    ask = "from prefect.settings import get_current_settings; print(get_current_settings().api.url)"
    assert project.run(sys.executable, "-c", ask).stdout.strip() == f"{started['ui']}/api"
    assert project.profiles.read_text() == before
    assert sorted(project.profiles.parent.iterdir()) == [project.profiles]


def test_a_second_up_changes_nothing(project: Project, started: dict[str, Any]) -> None:
    before = {role: process.pid for role, process in project.processes().items()}
    assert project.made("up") == started | {"did": []}
    assert {role: process.pid for role, process in project.processes().items()} == before


def test_up_mends_what_died(project: Project, started: dict[str, Any]) -> None:
    before = project.processes()
    before["server"].kill()
    again = project.made("up")
    assert (again["did"], again["ui"]) == (["server started"], started["ui"])
    assert project.processes()["worker"].pid == before["worker"].pid


def test_up_refuses_a_port_that_another_program_has(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = project.make("up", "--port", str(port))
    assert refused.returncode == 1
    assert f"port {port} is taken" in json.loads(refused.stdout)["error"]["message"]
    assert not project.processes()


def test_a_failed_start_shows_the_end_of_the_log(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / ".env").write_text("PREFECT_SERVER_API_PORT=none\n", encoding="utf-8")
    failed = project.make("up", "--port", str(free_port()))
    assert failed.returncode == 1
    assert "input_value='none'" in json.loads(failed.stdout)["error"]["message"]
    assert not project.processes()


def test_automations_are_brought_to_what_the_file_says_and_others_are_left_alone(
    client: SyncPrefectClient, outside: Outside
) -> None:
    # `up` has applied the file already.
    def act() -> dict[str, Any]:
        return {"trigger": EventTrigger(expect={"nothing"}), "actions": [DoNothing()]}

    strange = client.create_automation(AutomationCore(name="ragwright: a run failed", **act()))
    client.create_automation(AutomationCore(name="of an earlier file", tags=["ragwright"], **act()))
    late = next(one.id for one in client.read_automations() if one.name == "ragwright: a run waited too long")
    client.pause_automation(late)

    planned = apply(AUTOMATIONS, dry_run=True)
    assert {one["did"] for one in planned["automations"]} == {"unchanged", "removed"}
    assert (planned["blocks"], len(planned["mute"])) == ([], 4)

    cast("Webhook", Webhook(url=SecretStr(outside.url))).save("ragwright-notify", _sync=True)  # type: ignore[call-arg]
    done = apply(AUTOMATIONS)
    did = {one["name"]: one["did"] for one in done["automations"]}
    assert {name for name, what in did.items() if what == "updated"} == set(planned["mute"])
    assert (did["of an earlier file"], done["blocks"]) == ("removed", ["webhook/ragwright-notify"])
    assert {one["did"] for one in apply(AUTOMATIONS)["automations"]} == {"unchanged"}
    there = {one.id: one for one in client.read_automations()}
    assert not there[late].enabled
    assert there[strange].tags == []
    assert "of an earlier file" not in {one.name for one in there.values()}


def test_the_command_says_that_messages_go_nowhere(project: Project) -> None:
    rules = yaml.safe_load(AUTOMATIONS.read_text(encoding="utf-8")) | {"notify": "nobody"}
    (project.folder / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    command = Path(sys.executable).with_name("ragwright")
    told = project.run(str(command), "automations", "apply", "--dry-run", "--file", "rules.yaml").stdout
    assert "4 of them have a message for you and nobody to send it" in told
    assert "would be updated ragwright: a run failed" in told


@pytest.mark.usefixtures("client")
def test_a_blocked_gate_and_a_leaked_lease_reach_a_person(outside: Outside) -> None:
    events.gate_blocked("faq", 7, 6, 'recall fell by "9 %"')
    events.lease_leaked("minilm-demo", "local")
    until(lambda: len(outside.messages) >= 2)
    assert (
        'Index faq: generation 7 is blocked\nrecall fell by "9 %"\nReaders still see generation 6.' in outside.messages
    )
    assert any(message.startswith("Endpoint minilm-demo outlived its lease") for message in outside.messages)


def test_a_failed_run_reaches_a_person_once_and_only_if_it_is_ours(client: SyncPrefectClient, outside: Outside) -> None:
    for tags in ([], ["ragwright"]):
        run = client.create_flow_run(stands_for_ours, name=f"run with {len(tags)} tags", tags=tags, state=Running())
        client.set_flow_run_state(run.id, Failed(message="the store is full"), force=True)
    told = until(lambda: [message for message in outside.messages if "the store is full" in message])
    assert [message.splitlines()[0] for message in told] == ["run with 1 tags: failed"]


def test_runs_that_fall_silent_or_wait_too_long_are_ended(client: SyncPrefectClient, tmp_path: Path) -> None:
    rules = yaml.safe_load(AUTOMATIONS.read_text(encoding="utf-8"))
    for rule in rules["automations"]:
        if rule["trigger"].get("posture") == "Proactive":
            rule["trigger"]["within"] = 10  # seconds, the least that Prefect takes
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    apply(tmp_path / "rules.yaml")
    for one in client.read_automations():
        client.resume_automation(one.id)
    silent = client.create_flow_run(stands_for_ours, tags=["ragwright"], state=Running())
    # As the flow's process does; afterwards it is heard no more.
    tag = {"prefect.resource.id": "prefect.tag.ragwright", "prefect.resource.role": "tag"}
    emit_event("prefect.flow-run.heartbeat", {"prefect.resource.id": f"prefect.flow-run.{silent.id}"}, related=[tag])
    waiting = client.create_flow_run(stands_for_ours, tags=["ragwright"], state=Pending())
    client.set_flow_run_state(waiting.id, AwaitingConcurrencySlot(), force=True)

    def ended() -> bool:
        states = [client.read_flow_run(run.id).state_type for run in (silent, waiting)]
        return states == [StateType.CRASHED, StateType.CANCELLED]

    until(ended)
    apply(AUTOMATIONS)


def test_a_changed_source_starts_a_reindex_once(
    client: SyncPrefectClient, project: Project, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGWRIGHT_HOME", str(project.home))
    source = f"{outside.url}/faq.csv"
    deployment = client.read_deployment_by_name("reindex/nightly-reindex")
    mine = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
    assert watch_source(source=source)
    (run,) = until(lambda: client.read_flow_runs(deployment_filter=mine))
    assert (run.parameters["source"], run.parameters["index"]) == (source, "faq")
    assert not watch_source(source=source)
    assert len(client.read_flow_runs(deployment_filter=mine)) == 1


def test_a_bucket_s_notification_starts_a_reindex_too(client: SyncPrefectClient, started: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (template,) = re.findall(r"^```json\n(\[.*?\])\n```$", page, re.DOTALL | re.MULTILINE)
    told = {"id": str(uuid4()), "time": "2026-11-22T05:00:00Z", "bucket": "faqs", "key": "team/faq.csv", "etag": "9f3c"}
    body = re.sub(r"<(\w+)>", lambda name: told[name[1]], template)
    for _ in range(2):  # EventBridge delivers at least once
        sent = httpx.post(f"{started['ui']}/api/events", content=body, headers={"Content-Type": "application/json"})
        assert sent.is_success
    queued = until(
        lambda: [run for run in client.read_flow_runs() if run.parameters.get("source", "").startswith("s3:")]
    )
    assert [run.parameters["source"] for run in queued] == ["s3://faqs/team/faq.csv"]


def test_down_cancels_what_runs_and_leaves_nothing(client: SyncPrefectClient, project: Project) -> None:
    host = LocalHost(project.home, cache=project.home)
    until(host.list)  # the re-index that the changed source started has its embedder
    (run,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=FlowRunFilterState(name={"any_": ["Running"]})))
    before = [*project.processes().values(), *project.processes()["worker"].children(recursive=True)]
    by_hand = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=project.environment)
    done = project.made("down")
    assert f"run {run.name!r} cancelled" in done["did"]
    assert not [process for process in before if is_alive(process)]
    assert host.list() == []
    assert not (project.folder / "prefect.toml").exists()
    assert by_hand.poll() is None
    by_hand.communicate()
    with sqlite3.connect(project.home / "prefect" / "prefect.db") as database:
        query = "select state_type from flow_run where id = ?"
        assert database.execute(query, [str(run.id)]).fetchall() == [("CANCELLED",)]
        # What waited for its place was not started instead.
        query = "select count(*) from flow_run where state_type = 'SCHEDULED' and parameters like '%s3://faqs%'"
        assert database.execute(query).fetchall() == [(1,)]
    assert project.made("down")["did"] == []
