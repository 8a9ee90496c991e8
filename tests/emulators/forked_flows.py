"""Runs of the flow `pipeline` that start at once: children of a process that has done the slow imports.

`python forked_flows.py` reads one JSON request a line: `{"run": {...}}` forks a flow run and answers with its pid,
`{"wait": PID}` answers with its exit code (negative: the signal that ended it). `WarmFlows` talks to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self


@dataclass(frozen=True)
class FlowRun:
    """A run of the main job under way in a process of its own."""

    pid: int
    flows: WarmFlows
    log: Path

    def wait(self) -> int:
        """Exit code: 0 if the flow completed, 1 if it failed; negative: the signal that ended it."""
        return int(self.flows.ask({"wait": self.pid})["code"])

    def ended(self) -> bool:
        """Whether there is nothing left to signal."""
        return bool(self.flows.ask({"ended": self.pid})["ended"])

    def signal(self, number: int) -> None:
        """Send a signal; one to a process that has ended is lost."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    @property
    def said(self) -> str:
        """What it printed."""
        return self.log.read_text() if self.log.exists() else ""


class WarmFlows:
    """The process that forks; a context manager. Prefect's server must be up before: its address is read at import."""

    def __init__(self, folder: Path, *, api_url: str) -> None:
        self._folder, self._api_url = folder, api_url
        self._process: subprocess.Popen[str] | None = None
        self._runs = 0

    def __enter__(self) -> Self:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAGWRIGHT_", "PREFECT_"))}
        own = {
            "PREFECT_API_URL": self._api_url,
            "PREFECT_HOME": str(self._folder / "prefect"),
            "PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "true",  # no certificates are read for a server on loopback
            "PREFECT_LOGGING_TO_API_ENABLED": "false",  # logs are read from files
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, __file__], env=inherited | own, **pipes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.communicate()

    def start(self, environment: Mapping[str, str], cwd: Path, **parameters: Any) -> FlowRun:
        """Fork a run of the flow `pipeline` with these parameters (JSON-ready) in this environment."""
        self._runs += 1
        log = self._folder / f"flow-{self._runs:03d}.log"
        request = {"environment": dict(environment), "cwd": str(cwd), "parameters": parameters, "log": str(log)}
        return FlowRun(self.ask({"run": request})["pid"], self, log)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and return the answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def serve() -> None:
    """Import what the flow needs, then fork whenever asked. Nothing is connected before a fork."""
    import boto3
    import pinecone.client.indexes
    import pinecone.index
    import prefect.flow_engine
    import prefect.task_engine
    import prefect.utilities.visualization

    import flows.pipeline
    import ragwright.endpoints.aws
    import ragwright.endpoints.sagemaker
    import ragwright.endpoints.sagemaker_runtime
    import ragwright.retry
    import ragwright.stores.pinecone

    # Reading the SDK's descriptions of services takes longest; the children find them read. No client is used here.
    aws = ragwright.endpoints.aws.Aws("us-east-1", retry=ragwright.retry.ONCE)
    for service in ("sagemaker", "sagemaker-runtime", "scheduler", "s3"):
        aws.client(service)
    warmed = (boto3, pinecone.index, pinecone.client.indexes, flows.pipeline, ragwright.endpoints.sagemaker)
    assert all((*warmed, prefect.flow_engine, prefect.task_engine, prefect.utilities.visualization))
    sys.path.append(str(Path(__file__).parents[1]))
    from warm_imports import warm

    warm()
    codes: dict[int, int] = {}
    running: set[int] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        if "run" in asked:
            pid = os.fork()
            if not pid:
                _child(asked["run"])
            running.add(pid)
            answer: dict[str, Any] = {"pid": pid}
        elif "ended" in asked:
            pid, status = os.waitpid(asked["ended"], os.WNOHANG) if asked["ended"] not in codes else (0, 0)
            if pid:
                codes[pid] = os.waitstatus_to_exitcode(status)
            answer = {"ended": asked["ended"] in codes}
        else:
            pid = asked["wait"]
            if pid not in codes:
                codes[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            answer = {"code": codes[pid]}
        print(json.dumps(answer), flush=True)
    for pid in running - codes.keys():
        os.kill(pid, signal.SIGKILL)


def _child(run: dict[str, Any]) -> NoReturn:
    """One flow run; its log ends with the error if it fails."""
    log = os.open(run["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(run["environment"])
    os.chdir(run["cwd"])
    from flows.pipeline import pipeline

    code = 1
    try:
        pipeline(**run["parameters"])
        code = 0
    finally:
        if code:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
