"""Endpoints up, in service, down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from prefect import Flow, get_run_logger, task
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger
from prefect.runtime import flow_run as this_run

from ragwright.assembly import fetch_models, wait_for_endpoints
from ragwright.endpoints import EndpointInfo, EndpointSpec, Lease, open_host
from ragwright.endpoints.stopping import stop_started_by
from ragwright.settings import Settings
from tasks import events
from tasks.policies import ONCE, TRANSIENT
from tasks.progress import progress_artifact
from tasks.secrets import flow_settings


@task(name="Fetch models", task_run_name="Fetch model files", **TRANSIENT)
def fetch_model_files(settings: Settings, specs: list[EndpointSpec]) -> None:
    """Bring the files of models that run on this machine, once."""
    with progress_artifact("model-files", "Fetching model files") as progress:
        fetch_models(settings, specs, progress=progress)


@task(name="Deploy endpoint", task_run_name="Deploy {spec.name} ({spec.model})", **TRANSIENT)
def deploy_endpoint(settings: Settings, spec: EndpointSpec, lease: Lease) -> EndpointInfo:
    """Start one endpoint under a lease; deploying it again is harmless."""
    with open_host(settings) as host:
        info = host.deploy(spec, lease)
    get_run_logger().info("%s is %s; its lease ends %s", info.name, info.status, info.lease_expires_at)
    return info


@task(name="Wait for endpoints", task_run_name="Wait until all are in service", **ONCE)
def wait_in_service(settings: Settings, names: list[str]) -> list[EndpointInfo]:
    """Return once every endpoint answers, or fail with the end of its log."""
    with progress_artifact("endpoints", "Waiting for endpoints") as progress:
        return wait_for_endpoints(settings, names, progress=progress)


@task(name="Delete endpoint", task_run_name="Delete {name}", **TRANSIENT)
def delete_endpoint(settings: Settings, name: str) -> bool:
    """Stop one endpoint; one that is already gone is fine."""
    with open_host(settings) as host:
        gone = host.delete(name)
    get_run_logger().info("%s %s", name, "is stopped" if gone else "was not there")
    return gone


@task(name="Reap endpoints", task_run_name="Remove endpoints whose lease has lapsed", **TRANSIENT)
def reap_endpoints(settings: Settings) -> list[str]:
    """Remove what is left of endpoints whose lease has lapsed, whoever started them."""
    with open_host(settings) as host:
        gone = list(host.reap(datetime.now(UTC)))
    for name in gone:
        events.lease_leaked(name, settings.endpoints.host)
    get_run_logger().info("reaped %s", ", ".join(gone) or "nothing")
    return gone


@contextmanager
def stopped_afterwards(settings: Settings) -> Iterator[None]:
    """No endpoint that this flow run starts outlives the block, whatever ends it.

    By plain calls: a run that is cancelled, or whose Prefect server is gone, can start no task or subflow any more.
    """
    try:
        yield
    finally:
        for name in stop_started_by(settings, this_run.id or ""):
            get_run_logger().info("%s is stopped", name)


def stop_endpoints(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """As a flow's hook: the worker calls it after a run whose process was killed or did not end when cancelled."""
    for name in stop_started_by(flow_settings(), str(flow_run.id)):
        flow_run_logger(flow_run, flow).info("%s is stopped", name)
