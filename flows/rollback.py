"""Readers back to an older generation."""

from __future__ import annotations

from prefect import flow

from flows import run_names
from flows.parameters import GenerationOrUsual, Index, Reason
from tasks.index import roll_back
from tasks.secrets import flow_settings


@flow(name="rollback", flow_run_name=run_names.rollback)
def rollback(index: Index = "faq", to: GenerationOrUsual = 0, reason: Reason = "") -> int:
    """Let readers see an older generation again, at once; returns its number.

    Args:
        index: Name of the index.
        to: The generation; 0: the one that was live before.
        reason: Why, for the index's log.
    """
    return roll_back(flow_settings(index=index), to or None, reason)


if __name__ == "__main__":
    rollback()
