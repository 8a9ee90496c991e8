"""`make up` and `make down`: a Prefect server, a work pool, a worker and the deployments on this machine.

    python deploy/local.py up [--port N]     # in a folder with a prefect.yaml; a second time mends what died
    python deploy/local.py down

Everything listens on 127.0.0.1. The server's database, the logs and what is noted here are in `<home>/prefect`; a
Prefect profile of the user's own is neither read nor changed. So that `prefect` finds the server when called in this
folder, its address is put into `prefect.toml`, which Prefect prefers to profiles.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import psutil
import typer
from background import Local
from dotenv import dotenv_values
from prefect_api import POOL, Api, address

from ragwright.cli.session import Session, verb
from ragwright.endpoints import processes
from ragwright.errors import ConfigurationError

if TYPE_CHECKING:
    from ragwright.settings import Settings

PORTS = range(4200, 4220)
CANCEL_SECONDS = 30.0
STOP_SECONDS = 10.0
AUTOMATIONS = Path("deploy/automations.yaml")
TOML = Path("prefect.toml")
TOML_NOTE = "# Written by `make up`, removed by `make down`: where `prefect`, called in this folder, finds the server."

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


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
