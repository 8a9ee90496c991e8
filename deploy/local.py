"""`make up` and `make down`: a Prefect server, a work pool, a worker and the deployments on this machine.

    python deploy/local.py up [--port N]     # in a folder with a prefect.yaml; a second time mends what died
    python deploy/local.py down

Everything listens on 127.0.0.1. The server's database, the logs and what is noted here are in `<home>/prefect`; a
Prefect profile of the user's own is neither read nor changed. So that `prefect` finds the server when called in this
folder, its address is put into `prefect.toml`, which Prefect prefers to profiles.

The server and the worker are known by a mark in their own command lines that names the state folder. No process id is
written down, so none can be stale or belong to a stranger.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import psutil
import typer
from dotenv import dotenv_values

from ragwright.cli.session import Session, verb
from ragwright.endpoints import processes
from ragwright.errors import ConfigurationError, RagwrightError, TimedOut

if TYPE_CHECKING:
    from ragwright.settings import Settings

Role = Literal["server", "worker"]

POOL = "ragwright"
PORTS = range(4200, 4220)
START_SECONDS = 180.0  # a first start migrates a new database, which takes half a minute on two busy cores
CANCEL_SECONDS = 30.0
STOP_SECONDS = 10.0
AUTOMATIONS = Path("deploy/automations.yaml")
TOML = Path("prefect.toml")
TOML_NOTE = "# Written by `make up`, removed by `make down`: where `prefect`, called in this folder, finds the server."
# Of the caller's Prefect settings only these hold here: the others may name another server, its key or its database.
KEPT = "PREFECT_LOGGING_"
UNFINISHED = ("PENDING", "RUNNING", "CANCELLING", "PAUSED")

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


class Local:
    """What runs on this machine for one state folder, found anew at every look."""

    def __init__(self, home: Path) -> None:
        self.home = home.resolve() / "prefect"
        self.notes = self.home / "local.json"

    @contextmanager
    def alone(self, say: Callable[[str], None]) -> Iterator[None]:
        """Be the only one who starts and stops things here; the lock dies with its holder."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.home / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Another `make up` or `make down` is at work; waiting for it.")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def find(self, role: Role) -> psutil.Process | None:
        """The living process that was started here in that role."""
        mark = self._mark(role)
        for process in psutil.process_iter(["cmdline"]):
            if mark in (process.info["cmdline"] or []) and processes.is_alive(process):
                return process
        return None

    def start(self, role: Role, *command: str, port: int) -> processes.Identity:
        """Start `python -m prefect ...` in the background; its output goes into a log of its own."""
        log = self.log(role)
        log.unlink(missing_ok=True)
        marked = [sys.executable, "-X", self._mark(role), "-m", "prefect", *command]
        return processes.spawn(marked, env=self.environment(port), log=log)

    def run(self, *command: str, port: int, log: str) -> None:
        """Run a command to its end, with its output in a log.

        Raises:
            RagwrightError: It failed; the end of its log is in the message.
        """
        with self.log(log).open("wb") as output:
            done = subprocess.run(  # noqa: S603 # our own
                [sys.executable, *command],
                env=self.environment(port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise RagwrightError(
                f"`{' '.join(command[1:])}` ended with exit code {done.returncode}{self.tail(log)}",
                place=str(self.log(log)),
                hint="Mend what the log says and run `make up` again; what runs already stays up.",
            )

    def await_start(self, role: Role, started: processes.Identity | None, ready: Callable[[], bool]) -> None:
        """Return once a process is ready.

        Raises:
            RagwrightError: It ended, or takes too long; the end of its log is in the message.
        """
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self.find(role) is None:
                code = processes.exit_code(started) if started else None
                ended = "ended while starting" + ("" if code is None else f" (exit code {code})")
                raise RagwrightError(
                    f"the {role} {ended}{self.tail(role)}", place=str(self.log(role)), hint="Mend what the log says."
                )
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"the {role} is not ready after {START_SECONDS:g} s{self.tail(role)}",
                    place=str(self.log(role)),
                    hint="Run `make up` again, which goes on waiting; `make down` stops it.",
                )
            time.sleep(0.2)

    def flow_runs(self) -> dict[str, psutil.Process]:
        """Processes of flow runs that the worker started, by the run's id; they outlive a worker that was killed."""
        found = {}
        for process in psutil.process_iter(["cmdline"]):
            try:
                # Servers of models are children of flow runs and inherit the variables.
                if "prefect.engine" in (process.info["cmdline"] or []) and processes.is_alive(process):
                    environment = process.environ()
                    if environment.get("PREFECT_HOME") == str(self.home):
                        found[environment.get("PREFECT__FLOW_RUN_ID", "")] = process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def environment(self, port: int) -> dict[str, str]:
        """What the processes are started with."""
        kept = {n: value for n, value in os.environ.items() if not n.startswith("PREFECT_") or n.startswith(KEPT)}
        return kept | {
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": f"{address(port)}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # Lets the automation for runs whose process has died notice within minutes.
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            # In memory, the default, leases of places end with the server: a restart crashes a run that lasts more than
            # four minutes after it, and one that died meanwhile keeps its place for ever.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_WORKER_QUERY_SECONDS": "2",  # a person waits for the run; 10, the default, is for many workers
            "PYTHONUNBUFFERED": "1",
        }

    def log(self, name: str) -> Path:
        """Where the output of one process is."""
        return self.home / f"{name}.log"

    def tail(self, name: str, lines: int = 15) -> str:
        """The end of a log, for a message."""
        try:
            text = self.log(name).read_text("utf-8", "replace").rstrip()
        except FileNotFoundError:
            return ""
        return "\nEnd of its log:\n" + "\n".join(text.splitlines()[-lines:]) + "\n" if text else ""

    def noted(self) -> dict[str, Any]:
        """What an earlier `up` wrote down: the server's port, and what was deployed."""
        try:
            notes = json.loads(self.notes.read_bytes())
        except (OSError, ValueError):
            return {}
        return notes if isinstance(notes, dict) else {}

    def note(self, **notes: Any) -> None:
        """Write something down beside what is noted already."""
        draft = self.notes.with_suffix(".draft")
        draft.write_text(json.dumps(self.noted() | notes), encoding="utf-8")
        draft.replace(self.notes)

    def _mark(self, role: Role) -> str:
        return f"ragwright={self.home}/{role}"  # -X takes any name


class Api:
    """The few calls of Prefect's REST API that are needed here; importing Prefect would take longer than they do."""

    def __init__(self, port: int) -> None:
        import httpx

        # No proxy of the environment may come between.
        self._client = httpx.Client(base_url=f"{address(port)}/api", timeout=10, trust_env=False)
        self._error = httpx.HTTPError

    def healthy(self) -> bool:
        """Whether the server answers."""
        try:
            return self._client.get("/health").is_success
        except self._error:
            return False

    def worker_seen(self, name: str, since: float) -> bool:
        """Whether a worker has told the server since a moment (epoch seconds) that it is there."""
        from datetime import datetime

        reply = self._client.post(f"/work_pools/{POOL}/workers/filter", json={})
        workers = reply.json() if reply.is_success else []
        return any(
            worker["name"] == name and datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() >= since
            for worker in workers
        )

    def deployments(self) -> int:
        """How many there are."""
        return int(self._post("/deployments/count", {}))

    def unfinished(self) -> dict[str, str]:
        """Runs of the pool that have begun and not ended: their names by their ids."""
        wanted = {"flow_runs": {"state": {"type": {"any_": UNFINISHED}}}, "work_pools": {"name": {"any_": [POOL]}}}
        return {run["id"]: run["name"] for run in self._post("/flow_runs/filter", wanted)}

    def pause(self, paused: bool) -> None:
        """Let the worker take no more runs, or take them again."""
        self._client.patch(f"/work_pools/{POOL}", json={"is_paused": paused}).raise_for_status()

    def set_state(self, run: str, state: str, message: str, *, force: bool = False) -> None:
        """Bring a flow run into another state."""
        self._post(f"/flow_runs/{run}/set_state", {"state": {"type": state, "message": message}, "force": force})

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        reply = self._client.post(path, json=body)
        reply.raise_for_status()
        return reply.json()


@app.command()
@verb
def up(
    session: Session,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="For the server and its UI.")] = None,
) -> None:
    """Start what is not running yet, and say where the UI is."""
    if not Path("prefect.yaml").exists():
        raise ConfigurationError(
            "there is no prefect.yaml in this folder", place=str(Path.cwd()), hint="Run `make up` in the checkout."
        )
    settings = session.settings()
    local = Local(settings.home)
    with local.alone(session.say):
        chosen, did = _server_up(local, port, session)
        note = _leave_address(chosen)
        api = Api(chosen)
        did += _worker_up(local, api, chosen, session)
        did += _deployments_up(local, api, chosen, session)
        deployments = api.deployments()
    value = {"ui": address(chosen), "did": did, "deployments": deployments, "logs": str(local.home), "note": note}
    session.show(value, lambda out: out.print(_told(value), markup=False, highlight=False, soft_wrap=True))


@app.command()
@verb
def down(session: Session) -> None:
    """Stop the worker, its runs, the server, and the endpoints of this machine that flow runs started."""
    settings = session.settings()
    local = Local(settings.home)
    with local.alone(session.say):
        did = _worker_down(local)
        if server := local.find("server"):
            processes.end(server, grace=STOP_SECONDS)
            did.append("server stopped")
        gone, left = _endpoints_down(settings)
        did += [f"endpoint {name} stopped" for name in gone]
        if TOML.exists() and TOML.read_text("utf-8").startswith(TOML_NOTE):
            TOML.unlink()
    value = {"did": did, "left": left}
    text = "\n".join([*(did or ["Nothing was running."]), *left])
    session.show(value, lambda out: out.print(text, markup=False, highlight=False, soft_wrap=True))


def address(port: int) -> str:
    """Where the server and its UI are."""
    return f"http://127.0.0.1:{port}"


def _server_up(local: Local, wanted: int | None, session: Session) -> tuple[int, list[str]]:
    """The server's port, and what was done."""
    did = []
    if found := local.find("server"):
        port = _port_of(found)
        if wanted not in (None, port):
            raise ConfigurationError(f"the server is up already, at {address(port)}", hint="`make down` comes first.")
        if Api(port).healthy():
            return port, []
        session.say(f"The server does not answer at {address(port)}; it is started again.")
        processes.end(found, grace=STOP_SECONDS)
        did.append("a server that did not answer stopped")
    port = _free_port(wanted, local.noted().get("port"))
    session.say(f"Starting the Prefect server at {address(port)} (the first time takes about half a minute)")
    local.note(port=port)
    started = local.start("server", "server", "start", "--host", "127.0.0.1", "--port", str(port), port=port)
    local.await_start("server", started, Api(port).healthy)
    return port, [*did, "server started"]


def _worker_up(local: Local, api: Api, port: int, session: Session) -> list[str]:
    if local.noted().get("paused"):
        api.pause(False)
        local.note(paused=False)
    if local.find("worker"):
        return []
    # Without its worker nobody else would notice that a run's process is gone, and its slot would stay taken.
    alive = local.flow_runs()
    lost = {run: name for run, name in api.unfinished().items() if run not in alive}
    for run in lost:
        api.set_state(run, "CRASHED", "Its process ended while no worker was running.", force=True)
    session.say("Starting the worker")
    began, name = time.time(), f"ragwright-{socket.gethostname()}"
    started = local.start(
        "worker", "worker", "start", "--pool", POOL, "--type", "process", "--name", name, port=port
    )  # makes the pool where there is none
    local.await_start("worker", started, lambda: api.worker_seen(name, began))
    return ["worker started", *(f"run {name!r} marked as crashed" for name in lost.values())]


def _deployments_up(local: Local, api: Api, port: int, session: Session) -> list[str]:
    digest = _surface()
    if local.noted().get("deployed") == digest and api.deployments():
        return []
    session.say("Registering the deployments and automations")
    local.run("-m", "prefect", "--no-prompt", "deploy", "--all", port=port, log="deploy")
    local.run("-m", "tasks.automations", str(AUTOMATIONS), port=port, log="automations")
    local.note(deployed=digest)
    return ["deployments and automations registered"]


def _worker_down(local: Local) -> list[str]:
    """End the worker and its runs; those that are known to a living server are cancelled first, as from the UI."""
    did: list[str] = []
    server, worker = local.find("server"), local.find("worker")
    api = Api(_port_of(server)) if server else None
    if api and api.healthy():
        did += _runs_cancelled(local, api, wait=worker is not None)
    if worker:
        processes.end(worker, grace=STOP_SECONDS)
        did.append("worker stopped")
    for process in local.flow_runs().values():
        processes.end(process, grace=STOP_SECONDS)
    if api and api.healthy():
        for run in api.unfinished():
            api.set_state(run, "CANCELLED", "`make down` ended its process.", force=True)
    return did


def _runs_cancelled(local: Local, api: Api, *, wait: bool) -> list[str]:
    runs = api.unfinished()
    if runs:  # the place of one that ends is not for the next in the queue
        local.note(paused=True)
        api.pause(True)
    for run in runs:
        api.set_state(run, "CANCELLING", "`make down`")
    deadline = time.monotonic() + CANCEL_SECONDS
    while wait and runs and (api.unfinished() or local.flow_runs()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return [f"run {name!r} cancelled" for name in runs.values()]


def _endpoints_down(settings: Settings) -> tuple[list[str], list[str]]:
    """Names of the endpoints stopped, and what to say of those that are left."""
    from ragwright.endpoints import open_host

    if settings.endpoints.host != "local":
        return [], [f"Endpoints on {settings.endpoints.host} are left to their leases: see `ragwright endpoints ls`."]
    gone, left = [], []
    with open_host(settings) as host:
        for info in host.list():
            if info.owner == settings.endpoints.owner and info.run_id:
                host.delete(info.name)
                gone.append(info.name)
            else:
                left.append(f"Endpoint {info.name} was started by hand or by others and is left alone.")
    return gone, left


def _port_of(server: psutil.Process) -> int:
    command = server.cmdline()
    return int(command[command.index("--port") + 1])


def _free_port(wanted: int | None, before: int | None) -> int:
    """The port asked for; else the one of last time, Prefect's usual one, or the next free one.

    Raises:
        ConfigurationError: It is taken, or all are.
    """
    ports = [wanted] if wanted else [*([before] if before else []), *PORTS]
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ConfigurationError(
        f"port {ports[0] if wanted else f'{PORTS[0]} to {PORTS[-1]}'} is taken by another program",
        place="127.0.0.1",
        hint="Name another one: make up PORT=5200",
    )


def _surface() -> str:
    """Stands for everything that is registered."""
    digest = hashlib.sha256(str(Path.cwd()).encode())
    for path in [Path("prefect.yaml"), AUTOMATIONS, *sorted(Path("flows").glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _leave_address(port: int) -> str:
    """Write `prefect.toml`; what the user should know about it, if anything."""
    url = f"{address(port)}/api"
    note = ""
    if TOML.exists() and not TOML.read_text("utf-8").startswith(TOML_NOTE):
        note = f"This folder has a prefect.toml of your own, which is left as it is. Put into it: api.url = {url!r}"
    else:
        TOML.write_text(f'{TOML_NOTE}\n[api]\nurl = "{url}"\n', encoding="utf-8")
    for place, set_there in (("your shell", os.environ), (".env", dotenv_values(".env"))):
        if set_there.get("PREFECT_API_URL") not in (None, url):
            note = f"PREFECT_API_URL is set in {place} and names another server. Here it would be {url}"
    return note


def _told(value: dict[str, Any]) -> str:
    program = os.path.relpath(Path(sys.executable).with_name("prefect"))
    did = ", ".join(value["did"]) or "already up"
    return "\n".join(
        [
            f"Prefect is up: {did}; {value['deployments']} deployments.",
            f"UI:    {value['ui']}",
            f"Logs:  {os.path.relpath(value['logs'])}/*.log",
            *([f"Note:  {value['note']}"] if value["note"] else []),
            f"Next:  {program} deployment run 'reindex/nightly-reindex' --watch",
            "Stop:  make down",
        ]
    )


if __name__ == "__main__":
    app(prog_name="deploy/local.py")
