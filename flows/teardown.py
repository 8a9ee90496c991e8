"""Endpoints down."""

from __future__ import annotations

from prefect import flow, get_run_logger, unmapped

from ragwright.endpoints import open_host
from ragwright.settings import load_settings
from tasks.endpoints import delete_endpoint


@flow(name="teardown", flow_run_name="Tear down endpoints (dry run: {dry_run})")
def teardown(names: list[str] | None = None, dry_run: bool = True) -> list[str]:
    """Stop endpoints that this owner started, and say what is left alone.

    Args:
        names: Which endpoints; none means all of this owner's.
        dry_run: Only say what would be stopped.
    """
    settings, log = load_settings(), get_run_logger()
    with open_host(settings) as host:
        infos = host.list()
    mine = [info.name for info in infos if info.owner == settings.endpoints.owner]
    chosen = [name for name in (mine if names is None else names) if name in mine]
    for info in infos:
        if info.name not in chosen:
            log.info("%s of owner %r is left alone", info.name, info.owner)
    if dry_run:
        log.info("dry run: would stop %s", ", ".join(chosen) or "nothing")
        return []
    delete_endpoint.map(unmapped(settings), chosen).result()
    return chosen


if __name__ == "__main__":
    teardown()
