"""Endpoints up, concurrently, under a lease."""

from __future__ import annotations

from prefect import flow
from prefect.futures import wait
from prefect.runtime import flow_run

from ragwright.assembly import wanted_endpoints
from ragwright.endpoints import EndpointInfo, Lease
from tasks.endpoints import deploy_endpoint, fetch_model_files, wait_in_service
from tasks.secrets import flow_settings


@flow(name="provision", flow_run_name="Provision endpoints for {minutes:g} minutes")
def provision(minutes: float = 60, generator: bool = True) -> list[EndpointInfo]:
    """Start the embedding endpoint and the language model, and wait until both answer.

    Args:
        minutes: Length of the lease. An endpoint whose lease has ended goes away by itself.
        generator: Start the language model too; an index alone needs only the embedder.
    """
    settings = flow_settings()
    specs = wanted_endpoints(settings, generator=generator)
    lease = Lease.lasting(owner=settings.endpoints.owner, minutes=minutes, run_id=flow_run.root_flow_run_id or "")
    fetch_model_files(settings, specs)
    deployed = [deploy_endpoint.submit(settings, spec, lease) for spec in specs]
    wait(deployed)
    for future in deployed:
        future.result()
    return wait_in_service(settings, [spec.name for spec in specs])


if __name__ == "__main__":
    provision()
