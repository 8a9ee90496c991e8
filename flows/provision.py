"""Endpoints up, concurrently, under a lease."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import flow
from prefect.futures import wait

from flows import run_names
from flows.parameters import Minutes
from ragwright.assembly import in_service, wanted_endpoints
from ragwright.endpoints import EndpointInfo, Lease
from ragwright.settings import Settings
from tasks.endpoints import deploy_endpoint, fetch_model_files, stopped_afterwards, wait_in_service
from tasks.runs import root_run_id
from tasks.secrets import flow_settings


@flow(name="provision", flow_run_name=run_names.provision)
def provision(minutes: Minutes = 60, generator: bool = True) -> list[EndpointInfo]:
    """Start the embedding endpoint and the language model, and wait until both answer.

    Args:
        minutes: Length of the lease. An endpoint whose lease has ended goes away by itself.
        generator: Start the language model too; an index alone needs only the embedder.
    """
    settings = flow_settings()
    specs = wanted_endpoints(settings, generator=generator)
    lease = Lease.lasting(owner=settings.endpoints.owner, minutes=minutes, run_id=root_run_id())
    fetch_model_files(settings, specs)
    deployed = [deploy_endpoint.submit(settings, spec, lease) for spec in specs]
    wait(deployed)
    for future in deployed:
        future.result()
    return wait_in_service(settings, [spec.name for spec in specs])


@contextmanager
def embedder_in_service(settings: Settings) -> Iterator[None]:
    """The embedding endpoint is up meanwhile; if this run had to start it, it goes away with the run."""
    specs, minutes = wanted_endpoints(settings, generator=False), settings.endpoints.ask_lease_minutes
    with (
        stopped_afterwards(settings),
        in_service(settings, specs, minutes=minutes, run_id=root_run_id()),
    ):
        yield


if __name__ == "__main__":
    provision()
