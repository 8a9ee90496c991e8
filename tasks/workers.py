"""Where the mapped stages of a re-index run: threads of the flow's process, or Dask's workers anywhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from prefect import Task, unmapped
from prefect.client.orchestration import get_client
from prefect.futures import wait
from prefect.settings import PREFECT_API_URL, temporary_settings

from ragwright.errors import ConfigurationError, Unavailable
from ragwright.index.lease import WriterLease
from ragwright.settings import Settings
from tasks.portions import Portion
from tasks.progress import SharedProgress, shared_progress

if TYPE_CHECKING:
    from prefect_dask.task_runners import DaskTaskRunner

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
        self._settings, self._lease, self._stack = settings, lease, stack
        self._runner: DaskTaskRunner | None = None

    def run(self, stage: Stage[R], generation: int, portions: Sequence[Portion]) -> list[R]:
        from distributed import KilledWorker

        if not portions:
            return []
        if self._runner is None:
            self._runner = self._start()
        parameters = {"settings": unmapped(_anywhere(self._settings)), "generation": generation, "portion": portions}
        with self._lease.lent(), _same_server(), _bar(self._settings.index, stage, portions) as bar:
            futures: Any = self._runner.map(stage, parameters)  # typed as futures of futures
            for future, portion in zip(futures, portions, strict=True):
                future.add_done_callback(lambda _, portion=portion: bar.tell(portion, 1.0))
            wait(futures)
            if any(future.wrapped_future.cancelled() for future in futures):
                raise Unavailable(
                    "Dask's scheduler is gone, and with it what its workers did",
                    place=self._place,
                    hint="Run again, once it is back: what was written is reused.",
                )
        try:
            return list(futures.result())
        except KilledWorker as error:
            raise Unavailable(
                f"one portion ended {error.allowed_failures + 1} of Dask's workers",
                place=self._place,
                hint="Most often memory is short: give workers more, or lower source.partition_rows. Then run again.",
            ) from error

    @property
    def _place(self) -> str:
        return self._settings.dask.address or "the cluster on this machine"

    def _start(self) -> DaskTaskRunner:
        from prefect_dask.task_runners import DaskTaskRunner

        dask = self._settings.dask
        timeout = dask.start_timeout_seconds
        if dask.address:
            runner = DaskTaskRunner(address=dask.address, client_kwargs={"timeout": timeout})
        else:
            self._stack.enter_context(_quiet())
            # One thread a process: what is slow holds Python's lock. No port beyond this machine, and no dashboard.
            cluster = {
                "n_workers": dask.workers,
                "threads_per_worker": 1,
                "host": "127.0.0.1",
                "dashboard_address": "127.0.0.1:0",
                "scheduler_kwargs": {"dashboard": False},
            }
            runner = DaskTaskRunner(cluster_kwargs=cluster, client_kwargs={"timeout": timeout})
        self._stack.enter_context(runner)
        try:
            runner.client.wait_for_workers(1, timeout=timeout)
            found = runner.client.run(version, "ragwright") if dask.address else {}
        except PackageNotFoundError as error:
            raise ConfigurationError(
                "ragwright is not installed where Dask's workers run",
                place=self._place,
                hint="Start them from the image that flows run in, or install the same version there.",
            ) from error
        except (OSError, CancelledError) as error:  # OSError: TimeoutError and Dask's own of its connections
            raise Unavailable(
                f"Dask has no worker to offer within {timeout:g} s: {error}",
                place=self._place,
                hint="Look whether scheduler and workers run, and whether this machine reaches them.",
            ) from error
        other = {worker: theirs for worker, theirs in found.items() if theirs != version("ragwright")}
        if other:
            raise ConfigurationError(
                f"Dask's workers have another ragwright than the flow's {version('ragwright')!r}: {other!r}",
                place=self._place,
                hint="Start them from the image that flows run in.",
            )
        return runner


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
def _quiet() -> Iterator[None]:
    """A cluster that starts, and ends, says nothing but what went wrong; there is no dashboard to point at."""
    import dask

    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        key = "distributed.nanny.pre-spawn-environ"
        of_workers = {**dask.config.get(key), "DASK_LOGGING__DISTRIBUTED": "warning"}
        with dask.config.set({key: of_workers, "distributed.dashboard.link": ""}):
            yield
    finally:
        log.setLevel(level)


@contextmanager
def _same_server() -> Iterator[None]:
    """Tasks that start meanwhile use this process's Prefect server, also a temporary one, which they would not find."""
    if PREFECT_API_URL.value():
        yield
        return
    with get_client(sync_client=True) as client, temporary_settings({PREFECT_API_URL: str(client.api_url)}):
        yield
