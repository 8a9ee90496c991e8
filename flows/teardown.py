"""Endpoints down."""

from __future__ import annotations

from prefect import flow, get_run_logger, unmapped

from flows import run_names
from flows.parameters import Checked
from ragwright.endpoints import open_host
from tasks.endpoints import delete_endpoint
from tasks.secrets import flow_settings


@flow(name="teardown", flow_run_name=run_names.teardown)
def teardown(names: Checked[list[str] | None] = None, run_id: str = "", dry_run: bool = True) -> list[str]:
    """Stop endpoints that this owner started, and say what is left alone.

    Args:
        names: Which endpoints; None: all of this owner's, an empty list: none.
        run_id: Only those that this flow run, or one of its subflows, started; empty: whichever run did.
        dry_run: Only say what would be stopped.
    """
    settings, log = flow_settings(), get_run_logger()
    with open_host(settings) as host:
        infos = host.list()
    mine = [info.name for info in infos if info.owner == settings.endpoints.owner and run_id in ("", info.run_id)]
    chosen = [name for name in (mine if names is None else names) if name in mine]
    for info in infos:
        if info.name not in chosen:
            started = f"started by run {info.run_id}" if info.run_id else "started by hand"
            log.info("%s of owner %r, %s, is left alone", info.name, info.owner, started)
    if dry_run:
        log.info("dry run: would stop %s", ", ".join(chosen) or "nothing")
        return []
    delete_endpoint.map(unmapped(settings), chosen).result()
    return chosen


if __name__ == "__main__":
    teardown()
