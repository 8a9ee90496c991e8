"""Which run this is a part of."""

from __future__ import annotations

from functools import cache

from prefect.runtime import flow_run


def root_run_id() -> str:
    """Id of the flow run that somebody started, of which this one may be a part; empty outside of any.

    Prefect's server is asked once in each flow run: it may be away later, when a long stage begins.
    """
    return _root_of(flow_run.id or "")


@cache
def _root_of(run_id: str) -> str:
    return (flow_run.root_flow_run_id or "") if run_id else ""
