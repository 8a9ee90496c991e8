"""Endpoints up, in service, down."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import get_run_logger, task

from ragwright.assembly import fetch_models, wait_for_endpoints
from ragwright.endpoints import EndpointInfo, EndpointSpec, Lease, open_host
from ragwright.settings import Settings
from tasks.policies import ONCE, TRANSIENT
from tasks.progress import progress_artifact


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
    get_run_logger().info("reaped %s", ", ".join(gone) or "nothing")
    return gone
