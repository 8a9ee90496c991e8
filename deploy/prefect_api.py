"""What `make up` and `make down` ask of a Prefect server on this machine."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import httpx

from ragwright.errors import EndpointError

POOL = "ragwright"
_BUSY = 503
_PATIENCE = 30.0
UNFINISHED = ("PENDING", "RUNNING", "CANCELLING", "PAUSED")


def address(port: int) -> str:
    """Where the server and its UI are."""
    return f"http://127.0.0.1:{port}"


class Api:
    """The few calls of Prefect's REST API that are needed here; importing Prefect would take longer than they do."""

    def __init__(self, port: int) -> None:
        # No proxy of the environment may come between.
        self._client = httpx.Client(base_url=f"{address(port)}/api", timeout=10, trust_env=False)

    def healthy(self) -> bool:
        """Whether the server answers."""
        try:
            return self._client.get("/health").is_success
        except httpx.HTTPError:
            return False

    def worker_seen(self, name: str, since: float) -> bool:
        """Whether a worker has told the server since a moment (epoch seconds) that it is there."""
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
        self._send("PATCH", f"/work_pools/{POOL}", {"is_paused": paused})

    def set_state(self, run: str, state: str, message: str, *, force: bool = False) -> None:
        """Bring a flow run into another state."""
        body = {"state": {"type": state, "message": message}, "force": force}
        self._send("POST", f"/flow_runs/{run}/set_state", body)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._send("POST", path, body).json()

    def _send(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        """The reply to what may be said twice; a server whose database is busy says so, and is asked again.

        Raises:
            EndpointError: It refuses, or stays busy for `_PATIENCE` seconds.
        """
        end = time.monotonic() + _PATIENCE
        while (reply := self._client.request(method, path, json=body)).status_code == _BUSY and time.monotonic() < end:
            time.sleep(0.5)
        if not reply.is_success:
            raise EndpointError(
                f"Prefect's server answers {method} {path} with {reply.status_code}: {reply.text[:200]}",
                place=str(self._client.base_url),
                hint="Look into .ragwright/prefect/server.log, and try again.",
            )
        return reply
