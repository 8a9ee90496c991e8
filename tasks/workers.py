"""Where the mapped stages of a re-index run: threads of the flow's process, or Dask's workers anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from prefect import Task, unmapped
from prefect.client.orchestration import get_client
from prefect.futures import wait
from prefect.settings import PREFECT_API_URL, temporary_settings

from ragwright.errors import ConfigurationError
from ragwright.index.lease import WriterLease
from ragwright.settings import Settings
from tasks.dask_cluster import Cluster, connected
from tasks.portions import Portion
from tasks.progress import SharedProgress, shared_progress

AT_ONCE = 8
"""Portions at a time on threads: each holds a partition in memory, and a few suffice to keep an encoder busy."""

R = TypeVar("R")
Stage = Task[[Settings, int, Portion], R]


class Workers(Protocol):
    """Run a stage over portions of partitions."""

    def run(self, stage: Stage[R], generation: int, portions: Sequence[Portion]) -> list[R]:
        """What each portion gave, in their order, once all have ended; the first one's error if any failed."""


@contextmanager
def workers(settings: Settings, lease: WriterLease) -> Iterator[Workers]:
    """Those that the settings name; a cluster of this run's own starts with its first stage and ends with the block.

    Args:
        settings: What the stages are given.
        lease: The right under which they write.

    Raises:
        ConfigurationError: These settings and Dask do not go together, or it is not installed.
    """
    if settings.task_runner == "threads":
        yield _Threads(settings)
        return
    _check(settings)
    with ExitStack() as stack:
        yield _Dask(settings, lease, stack)


class _Threads:
    def __init__(self, settings: Settings) -> None:
        self._index = settings.index
        self._settings = unmapped(settings)  # the tree would count as something to map over

    def run(self, stage: Stage[R], generation: int, portions: Sequence[Portion]) -> list[R]:
        if not portions:
            return []
        with _bar(self._index, stage, portions):
            futures = stage.map(self._settings, generation, portions)
            wait(futures)  # all of them: none may write after the flow has failed and given its lease back
            return futures.result()


class _Dask:
    def __init__(self, settings: Settings, lease: WriterLease, stack: ExitStack) -> None:
        self._settings, self._lease, self._stack = _anywhere(settings), lease, stack
        self._cluster: Cluster | None = None

    def run(self, stage: Stage[R], generation: int, portions: Sequence[Portion]) -> list[R]:
        if not portions:
            return []
        if self._cluster is None:
            self._cluster = self._stack.enter_context(connected(self._settings, generation))
        parameters = {"settings": unmapped(self._settings), "generation": generation, "portion": portions}
        with self._lease.lent(), _same_server(), _bar(self._settings.index, stage, portions) as bar:
            futures = self._cluster.submit(stage, parameters)
            for future, portion in zip(futures, portions, strict=True):
                future.add_done_callback(lambda _, portion=portion: bar.tell(portion, 1.0))
            states = self._cluster.settle(futures)
        return [state.result() for state in states]


def _bar(index: str, stage: Stage[R], portions: Sequence[Portion]) -> AbstractContextManager[SharedProgress]:
    """How far a stage is, under a key such as `faq-embed-and-write`."""
    return shared_progress(f"{index}-{stage.name.lower().replace(' ', '-')}", stage.name, portions[0].of)


def _check(settings: Settings) -> None:
    if settings.store_spec.startswith("memory:"):
        raise ConfigurationError(
            f"store is {settings.store!r}, which Dask's workers would not share",
            hint="Take lancedb:FOLDER or pinecone:INDEX, or task_runner threads.",
        )
    try:
        import prefect_dask  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"task_runner is 'dask', which cannot be imported: {error}",
            hint="Install the `dask` extra: pip install 'ragwright[dask]'.",
        ) from error


def _anywhere(settings: Settings) -> Settings:
    """The same settings where the working directory is another: folders are named in full."""
    kind, _, where = settings.store_spec.partition(":")
    catalog = settings.catalog_url
    changed: dict[str, Any] = {
        "home": settings.home.absolute(),
        "model_cache": settings.model_folder.absolute(),
        "store": f"{kind}:{Path(where).absolute()}" if kind == "lancedb" else settings.store,
        "catalog": catalog if "://" in catalog else str(Path(catalog).absolute()),
    }
    return settings.model_copy(update=changed)


@contextmanager
def _same_server() -> Iterator[None]:
    """Tasks that start meanwhile use this process's Prefect server, also a temporary one, which they would not find."""
    if PREFECT_API_URL.value():
        yield
        return
    with get_client(sync_client=True) as client, temporary_settings({PREFECT_API_URL: str(client.api_url)}):
        yield
