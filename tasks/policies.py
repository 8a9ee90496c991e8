"""How tasks are retried: on errors that say that trying again may help, with the numbers of `RetryPolicy`.

Requests to endpoints and writes to stores are tried again next to the call (`settings.retry`). A task whose error that
layer has given up on is not repeated; what is left for this one is everything else that a task talks to, Prefect's
server included.
"""

from __future__ import annotations

import time
from typing import Any, TypedDict

import httpx
from prefect import Task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from ragwright.retry import RetryPolicy

_POLICY = RetryPolicy()


def is_transient(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again; waits first for as long as the other side asked, on top of the backoff."""
    error = state.result(raise_on_failure=False)
    if isinstance(error, httpx.TransportError):
        return True  # ours never leave their adapters: this is Prefect's server, which may be about to be back
    if not isinstance(error, BaseException) or not _POLICY.applies(error):
        return False
    time.sleep(getattr(error, "retry_after", None) or 0.0)
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
    "retries": _POLICY.attempts - 1,
    "retry_delay_seconds": exponential_backoff(backoff_factor=_POLICY.first_pause_seconds),
    "retry_jitter_factor": _POLICY.jitter,
    "retry_condition_fn": is_transient,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
"""For a call to something that may be busy, slow or briefly away."""

ONCE: Policy = TRANSIENT | {"retries": 0}
"""For a step whose failure says something about its input."""
