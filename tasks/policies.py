"""How tasks are retried: in this one place, on errors that say of themselves that trying again may help."""

from __future__ import annotations

import time
from typing import Any, TypedDict

from prefect import Task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from ragwright.errors import TransientError

LONGEST_WISH = 60.0
"""Seconds of a Retry-After that a task honours by itself; a longer one makes the run fail with it in the message."""


def is_transient(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again; waits first for as long as the other side asked, on top of the backoff."""
    error = state.result(raise_on_failure=False)
    if not isinstance(error, TransientError):
        return False
    wish = error.retry_after or 0.0
    if wish > LONGEST_WISH:
        return False
    time.sleep(wish)
    return True


class Policy(TypedDict):
    """Keyword arguments of `prefect.task`."""

    retries: int
    retry_delay_seconds: Any
    retry_jitter_factor: float
    retry_condition_fn: Any
    cache_policy: CachePolicy
    persist_result: bool


# Live state is in the catalog and the stores; a cached task result could only contradict it.
TRANSIENT: Policy = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(backoff_factor=1),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": is_transient,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
"""For a call to something that may be busy, slow or briefly away."""

ONCE: Policy = TRANSIENT | {"retries": 0}
"""For a step whose failure says something about its input."""
