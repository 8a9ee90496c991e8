"""A blocked candidate goes live by a person's word."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.runtime import flow_run

from ragwright.index.reindex import writing
from ragwright.index.release import release
from ragwright.settings import Settings
from tasks import events
from tasks.policies import TRANSIENT


@task(name="Publish by hand", task_run_name="Publish generation {generation} by hand", **TRANSIENT)
def publish_blocked(settings: Settings, generation: int, reason: str) -> int:
    """Verify a blocked candidate once more and publish it, under the writer's lease."""
    run_id = flow_run.id or ""
    with writing(settings, run_id) as (catalog, store, lease):
        entry = release(catalog, store, lease, generation, reason=reason, run_id=run_id)
    events.generation_published(settings.index, entry.generation, reason)
    get_run_logger().info("generation %d is live: %s", entry.generation, reason)
    return entry.generation
