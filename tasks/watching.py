"""Looking at a source, and telling that it has changed."""

from __future__ import annotations

from prefect import get_run_logger, task

from ragwright.index.attempt import open_catalog
from ragwright.index.watching import Change, look, note
from ragwright.settings import Settings
from tasks import events
from tasks.policies import TRANSIENT


@task(name="Look at source", task_run_name="Look at the source", **TRANSIENT)
def look_at_source(settings: Settings, source: str) -> Change | None:
    """What has changed since the last look, without reading the source."""
    with open_catalog(settings) as catalog:
        change = look(catalog, source, settings.source)
    get_run_logger().info("the source %s", f"is now {change.version}" if change else "is what it was")
    return change


@task(name="Tell change", task_run_name="Tell that the source has changed", **TRANSIENT)
def tell_change(settings: Settings, change: Change) -> None:
    """Send the event, then note it: one that got lost is sent again at the next look."""
    events.source_changed(settings.index, change)
    with open_catalog(settings) as catalog:
        note(catalog, change)
