"""What happened, told to Prefect's event feed, where automations and deployment triggers wait for it.

| event | about | sent when |
| --- | --- | --- |
| `ragwright.source.changed` | `ragwright.source.<digest>` | a source is not what it was at the last look |
| `ragwright.generation.published` | `ragwright.index.<index>` | readers see another generation |
| `ragwright.gate.blocked` | `ragwright.index.<index>` | a candidate was kept from readers |
| `ragwright.lease.leaked` | `ragwright.endpoint.<name>` | the janitor found an endpoint that outlived its lease |

Inside a run Prefect adds the flow run, its flow, deployment and tags as related resources. Events are sent in the
background, and one that cannot be sent is a line in the log: what a run did is in the catalog, whoever was told. Only a
changed source is told at once, or not at all: its event is the purpose of that run.
"""

from __future__ import annotations

from typing import Any

import httpx
from prefect import get_client
from prefect.events import Event, emit_event
from prefect.exceptions import EventTooLarge
from prefect.logging import get_logger

from ragwright.errors import Unavailable
from ragwright.index.watching import Change

MAX_TEXT = 2_000
"""Characters of a reason that go into an event; the whole is in the catalog."""


def generation_published(index: str, generation: int, reason: str = "") -> None:
    """Readers see another generation."""
    _emit("generation.published", _index(index), {"generation": generation, "reason": reason[:MAX_TEXT]})


def gate_blocked(index: str, generation: int, live: int | None, reason: str) -> None:
    """A candidate was kept from readers; `live` is what they still see."""
    _emit("gate.blocked", _index(index), {"generation": generation, "live": live, "reason": reason[:MAX_TEXT]})


def lease_leaked(endpoint: str, host: str) -> None:
    """An endpoint outlived its lease and had to be removed."""
    resource = {"prefect.resource.id": f"ragwright.endpoint.{endpoint}", "prefect.resource.name": endpoint}
    _emit("lease.leaked", resource, {"host": host})


def source_changed(index: str, change: Change) -> None:
    """A source is not what it was at the last look; returns once the server has the event.

    Raises:
        Unavailable: The server does not take it.
    """
    event = Event(
        event="ragwright.source.changed",
        resource={
            "prefect.resource.id": f"ragwright.source.{change.digest}",
            "prefect.resource.name": change.source,
            "ragwright.index": index,
        },
        payload={"source": change.source, "index": index, "version": change.version, "before": change.before},
    )
    try:
        with get_client(sync_client=True) as client:
            client._client.post("/events", json=[event.model_dump(mode="json")]).raise_for_status()
    except httpx.HTTPError as error:
        raise Unavailable(
            f"Prefect's server did not take the event {event.event!r}: {type(error).__name__}",
            place=change.source,
            hint="The next look at the source tells it again.",
        ) from error


def _index(index: str) -> dict[str, str]:
    return {"prefect.resource.id": f"ragwright.index.{index}", "prefect.resource.name": index}


def _emit(name: str, resource: dict[str, str], payload: dict[str, Any]) -> None:
    try:
        emit_event(f"ragwright.{name}", resource=resource, payload=payload)
    except EventTooLarge as error:
        get_logger(__name__).warning("ragwright.%s was not sent: %s", name, error)
