"""Readers back to an older generation."""

from __future__ import annotations

from prefect import flow

from tasks.index import roll_back
from tasks.secrets import flow_settings


@flow(name="rollback", flow_run_name="Roll back index {index}")
def rollback(index: str = "faq", to: int | None = None, reason: str = "") -> int:
    """Let readers see an older generation again, at once; returns its number.

    Args:
        index: Name of the index.
        to: The generation; none: the one that was live before.
        reason: Why, for the index's log.
    """
    return roll_back(flow_settings(index=index), to, reason)


if __name__ == "__main__":
    rollback()
