"""A generation that the gate blocked goes live by a person's word."""

from __future__ import annotations

from prefect import flow

from flows import run_names
from flows.parameters import Generation, GivenReason, Index
from tasks.release import publish_blocked
from tasks.secrets import flow_settings


@flow(name="publish", flow_run_name=run_names.publish)
def publish(generation: Generation, reason: GivenReason, index: Index = "faq") -> int:
    """Let readers see a generation that the gate blocked, after it was verified once more; returns its number.

    Args:
        generation: The blocked generation.
        reason: Why it goes live all the same, for the index's log.
        index: Name of the index.
    """
    return publish_blocked(flow_settings(index=index), generation, reason)
