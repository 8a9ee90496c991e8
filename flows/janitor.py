"""What is past its time goes away: endpoints whose lease has lapsed, records that no retained generation shows."""

from __future__ import annotations

from prefect import flow, get_run_logger

from flows import run_names
from flows.parameters import Index, Kept
from ragwright.errors import WriterBusy
from ragwright.index.vacuum import Vacuumed
from tasks.endpoints import reap_endpoints
from tasks.index import vacuum_index
from tasks.secrets import flow_settings


@flow(name="janitor", flow_run_name=run_names.janitor)
def janitor(index: Index = "faq", keep: Kept = 0) -> Vacuumed | None:
    """Remove lapsed endpoints, and what an index no longer needs; nothing of an index that is being written.

    Args:
        index: Name of the index.
        keep: Generations that can still be read, the live one among them; 0: retention.generations of the settings.
    """
    settings = flow_settings(index=index)
    reap_endpoints(settings)
    try:
        # Not tried again while somebody writes: the janitor comes back soon enough.
        return vacuum_index.with_options(retries=0)(settings, keep or settings.retention.generations)
    except WriterBusy as busy:
        get_run_logger().info("left for the next time: %s", busy.what)
        return None


if __name__ == "__main__":
    janitor()
