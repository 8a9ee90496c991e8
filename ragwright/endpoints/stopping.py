"""Ending what a run started, without anybody's help: an orchestrator may be gone by then."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ragwright.endpoints import open_host
from ragwright.settings import Settings


def stop_started_by(settings: Settings, run_id: str) -> list[str]:
    """End the endpoints that a run of this owner started, all at once; those of others stay.

    Args:
        settings: Name the host and the owner.
        run_id: As in the endpoints' leases. What was started by hand has none and is never meant.

    Returns:
        Names of those that were there.

    Raises:
        RagwrightError: One could not be ended; the others are gone all the same.
    """
    with open_host(settings) as host:
        infos = host.list(owner=settings.endpoints.owner) if run_id else []
        names = [info.name for info in infos if info.run_id == run_id]
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            ending = [pool.submit(settings.retry.call, partial(host.delete, name)) for name in names]
        return [name for name, ended in zip(names, ending, strict=True) if ended.result()]
