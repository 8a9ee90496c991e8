"""The project's deployments as people run them: a Prefect server, a process worker, and runs that can be held up.

A run is a process that the worker starts. It is held where a test wants it by the two services it talks to: its source,
an HTTP server that may keep a reader waiting, and its embedder, which may stop answering after some texts.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psutil
import yaml
from emulators.model_server import ModelServer, serve
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import State, StateType
from prefect.workers.process import ProcessWorker
from prefect_on_loopback import PrefectServer, answers

from ragwright.endpoints.local import LocalHost
from ragwright.hashing import hash_embed
from ragwright.index.attempt import open_catalog
from ragwright.maintenance import audit_live
from ragwright.settings import Settings
from ragwright.stores import open_store

ROOT = Path(__file__).resolve().parents[2]
POOL = "ragwright"
DIMENSION = 384
PATIENCE = 150.0
"""Seconds that anything here may take on a machine that does other things too."""


def until(happened: Callable[[], object], why: Callable[[], str] = str) -> None:
    """Wait until something has happened. It is not asked often, for a server's answer takes it some work."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, why()
        time.sleep(0.3)


class Faq:
    """An FAQ behind a URL. Readers wait while it is held."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str]] = []
        self._open = threading.Event()
        self._open.set()
        self.waiting = 0
        faq = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                faq.waiting += 1
                faq._open.wait(PATIENCE)
                faq.waiting -= 1
                text = io.StringIO()
                csv.writer(text).writerows([("question", "answer"), *faq._rows])
                body = text.getvalue().encode()
                with contextlib.suppress(ConnectionError):  # its reader was killed
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/faq.csv"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def write(self, version: str, *, rows: int = 12) -> None:
        """Each version has answers of its own."""
        self._rows = [(f"What is thing number {n}?", f"In {version} it comes after {n - 1}.") for n in range(rows)]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep readers waiting meanwhile."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def close(self) -> None:
        """Serve no more."""
        self._open.set()
        self._server.shutdown()
        self._server.server_close()


class Embedder:
    """Hashed vectors behind a URL, for as many texts as it is told to embed; then callers wait."""

    def __init__(self, server: ModelServer) -> None:
        self.url = server.url
        self._changed = threading.Condition()
        self._left = float("inf")
        self.waiting = 0
        server.reply = self._reply

    def _reply(self, payload: dict[str, Any]) -> Any:
        texts = payload["inputs"]
        with self._changed:
            self.waiting += 1
            self._changed.wait_for(lambda: self._left > 0, PATIENCE)
            self.waiting -= 1
            self._left -= len(texts)
        return hash_embed(texts, DIMENSION).tolist()

    @contextmanager
    def held(self, *, after: int) -> Iterator[None]:
        """Answer for so many texts, and then not before the block ends."""
        self.allow(after)
        try:
            yield
        finally:
            self.allow(float("inf"))

    def allow(self, texts: float) -> None:
        """Answer for so many texts more."""
        with self._changed:
            self._left = texts
            self._changed.notify_all()


@dataclass
class Index:
    """An index of a test's own, and what must be true of it whatever befell those who wrote it."""

    home: Path
    faq: Faq
    embedder: Embedder
    hosted: bool = False
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.settings = Settings(
            home=self.home,
            embedding={"endpoint": self.embedding, "model": f"hashing-{DIMENSION}", "write_batch": 4},
            generation={"endpoint": "none"},
        )

    @property
    def embedding(self) -> str:
        """What embeds: an endpoint that a run starts, or the embedder that can be held."""
        return "test-embedder" if self.hosted else self.embedder.url

    @property
    def environment(self) -> dict[str, str]:
        """What a run is told."""
        return {
            "RAGWRIGHT_HOME": str(self.home),
            "RAGWRIGHT_EMBEDDING__ENDPOINT": self.embedding,
            "RAGWRIGHT_EMBEDDING__MODEL": f"hashing-{DIMENSION}",
            "RAGWRIGHT_EMBEDDING__WRITE_BATCH": "4",
            "RAGWRIGHT_GENERATION__ENDPOINT": "none",
            "RAGWRIGHT_ANSWERING__CALIBRATION_ROWS": "0",
            "RAGWRIGHT_GATE__MODE": "off",
        }

    def live(self) -> int:
        """The generation that readers see; 0 if none."""
        with open_catalog(self.settings) as catalog:
            return catalog.head().live

    def shown(self) -> set[str]:
        """The versions of the FAQ that readers see; more than one would be a mixture."""
        with open_catalog(self.settings) as catalog, open_store(self.settings.store_spec) as store:
            head = catalog.head().last
            if head is None:
                return set()
            texts = [r["text"] for batch in store.scan(head.space, as_of=head.generation) for r in batch.to_pylist()]
        return {text.partition(" it comes")[0].removeprefix("In ") for text in texts}

    def verified(self) -> bool:
        """What `ragwright verify` says: source, manifest and store are one."""
        return audit_live(self.settings, self.faq.url).true

    def endpoints(self) -> list[str]:
        """Names of endpoints that are up, or half way."""
        with LocalHost(self.home, cache=self.home / "models") as host:
            return [info.name for info in host.list()]

    def servers(self) -> list[int]:
        """Their processes."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = " ".join(process.info["cmdline"] or [])
            if "ragwright.serving" in command and str(self.home) in command:
                found.append(process.pid)
        return found


@dataclass
class Run:
    """A flow run of a deployment."""

    id: UUID
    place: Workplace

    @property
    def state(self) -> State[Any]:
        """As the server has it."""
        state = self.place.client.read_flow_run(self.id).state
        assert state is not None
        return state

    @property
    def count(self) -> int:
        """How often it was started."""
        return self.place.client.read_flow_run(self.id).run_count

    def reaches(self, *kinds: StateType, name: str = "") -> State[Any]:
        """Wait for a state."""
        until(lambda: (s := self.state).type in kinds and name in s.name, lambda: f"{self.state!r}\n{self.place.said}")
        return self.state

    def change(self, state: State[Any]) -> None:
        """Set a state as the UI's buttons do."""
        self.place.client.set_flow_run_state(self.id, state)

    def processes(self) -> list[psutil.Process]:
        """Those of the run itself, its supervisor among them."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if "prefect" in " ".join(process.cmdline()) and process.environ().get("PREFECT__FLOW_RUN_ID") == str(
                    self.id
                ):
                    found.append(process)
        return found

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


class Workplace:
    """A Prefect server, a process worker, and this project's deployments; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = {
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "0.5",
            "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1",
            # Leases of concurrency slots outlive the server's process.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        }
        self.server = PrefectServer(folder, settings)
        self.client = SyncPrefectClient(self.server.url)
        self.deployments: dict[str, UUID] = {}
        self._log = folder / "worker.log"
        self._worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.server.__enter__()
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template)
        self.client.create_work_pool(pool)
        self._deploy("flows.pipeline.pipeline", "flows.reindex.reindex")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_worker(signal.SIGTERM)
        self.server.__exit__(kind, error, trace)

    @property
    def environment(self) -> dict[str, str]:
        """Of processes that work with this server."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAGWRIGHT_", "PREFECT_"))}
        return inherited | self.server.environment() | {"PREFECT_CLIENT_RETRY_JITTER_FACTOR": "0"}

    @property
    def said(self) -> str:
        """The worker's log, with that of its runs."""
        return self._log.read_text(errors="replace")[-6000:] if self._log.exists() else ""

    def _deploy(self, *entrypoints: str) -> None:
        declared = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
        names = {one["entrypoint"]: one["name"] for one in declared if one["entrypoint"] in entrypoints}
        chosen = [flag for entrypoint in entrypoints for flag in ("--name", names[entrypoint])]
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", *chosen]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stdout + done.stderr
        for entrypoint in entrypoints:
            flow = entrypoint.rpartition(".")[2]
            self.deployments[flow] = self.client.read_deployment_by_name(f"{flow}/{names[entrypoint]}").id

    def serve(self) -> None:
        """See to it that the server is up."""
        if not answers(self.server.port):
            self.server.start()

    def ready(self) -> None:
        """See to it that the server and the worker are up."""
        self.serve()
        if self._worker is None:
            self._start_worker()

    def _start_worker(self) -> None:
        quick = {
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",  # logs are read from files
        }
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
        with self._log.open("ab") as log:
            self._worker = subprocess.Popen(
                command, cwd=self.folder, env=self.environment | quick, stdout=log, stderr=log, start_new_session=True
            )

    def end_worker(self, number: int) -> None:
        """Signal the worker, and it alone, and wait for its end."""
        if self._worker is not None:
            self._worker.send_signal(number)
            self._worker.wait(timeout=PATIENCE)
            self._worker = None

    def start(self, flow: str, index: Index, **parameters: Any) -> Run:
        """Run a deployment by hand, as its button does."""
        given = {
            "source": index.faq.url,
            **({"questions": {"evaluate": False}} if flow == "pipeline" else {}),
            **parameters,
        }
        made = self.client.create_flow_run_from_deployment(
            self.deployments[flow], parameters=given, job_variables={"env": index.environment}
        )
        return Run(made.id, self)

    def let_leases_end(self) -> None:
        """Let the time pass that slots outlive a run that says nothing any more; five minutes otherwise."""
        leases = self.server.home / "concurrency_leases"
        over = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        for path in leases.glob("*.json"):
            kept = json.loads(path.read_text())
            changed = dict.fromkeys(kept, over) if path.name == "expirations.json" else kept | {"expiration": over}
            path.write_text(json.dumps(changed))

    def slots(self, flow: str) -> int:
        """How many of a deployment's slots are taken."""
        limit = self.client.read_deployment(self.deployments[flow]).global_concurrency_limit
        assert limit is not None
        return limit.active_slots


@contextmanager
def services() -> Iterator[tuple[Faq, Embedder]]:
    """What runs talk to."""
    faq = Faq()
    with serve(lambda payload: payload) as server:
        try:
            yield faq, Embedder(server)
        finally:
            faq.close()
