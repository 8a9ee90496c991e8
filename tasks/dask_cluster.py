"""A Dask cluster that a run relies on no further than it can see.

The cluster is found or started, asked whether its processes can do the work, and asked again and again while they do
it: a scheduler that vanishes, freezes or loses its last worker says nothing of that by itself, and whoever waits for
its results would wait for ever.
"""

# distributed is annotated in part only.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from ragwright.cloud_settings import DaskSettings
from ragwright.errors import ConfigurationError, RagwrightError, Unavailable
from ragwright.index.reindex import opened
from ragwright.settings import Settings

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

ASK_SECONDS = 5.0
"""Between two looks at the scheduler while a stage is under way."""

SAME = ("ragwright", "prefect", "prefect-dask", "dask", "distributed", "cloudpickle", "pydantic")
"""Packages whose objects cross between the flow and the workers, in pickles that other versions may not read."""

_SHOWN = 3  # processes that an error names; the others are counted


@contextmanager
def connected(settings: Settings, generation: int) -> Iterator[Cluster]:
    """Workers, at least one of them, that can do the work; those of a cluster of this machine end with the block.

    Args:
        settings: As the workers will be given them.
        generation: Which they will write.

    Raises:
        Unavailable: The scheduler does not answer in time, or has no worker.
        ConfigurationError: Its processes have other versions than the flow, or do not reach the catalog or the store.
    """
    from prefect_dask.task_runners import DaskTaskRunner

    dask = settings.dask
    client = {"timeout": dask.start_timeout_seconds}
    if dask.address:
        runner = DaskTaskRunner(address=dask.address, client_kwargs=client)
    else:
        # One thread a process: what is slow holds Python's lock. No port beyond this machine, and no dashboard.
        cluster = {
            "n_workers": dask.workers,
            "threads_per_worker": 1,
            "host": "127.0.0.1",
            "dashboard_address": "127.0.0.1:0",
            "scheduler_kwargs": {"dashboard": False},
        }
        runner = DaskTaskRunner(cluster_kwargs=cluster, client_kwargs=client)
    with nullcontext() if dask.address else _quiet(), runner:
        found = Cluster(runner, dask)
        found.await_worker()
        if dask.address:
            found.compare_versions()
            found.try_out(settings, generation)
        yield found


class Cluster:
    """Workers of a connected scheduler."""

    def __init__(self, runner: DaskTaskRunner, dask: DaskSettings) -> None:
        self._runner, self._dask = runner, dask

    @property
    def place(self) -> str:
        """For people."""
        return self._dask.address or "the cluster on this machine"

    # Before the work

    def await_worker(self) -> None:
        """Connect, and wait for the first worker.

        Raises:
            Unavailable: There is none in time.
        """
        within = self._dask.start_timeout_seconds
        try:
            if self._dask.address:
                asyncio.run(_greet(self._dask.address, within))
            self._runner.client.wait_for_workers(1, timeout=within)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"dask.address is {self._dask.address!r}: {error}",
                hint="It is tcp://HOST:PORT; tls:// needs the certificates that DASK_DISTRIBUTED__COMM__TLS__... name.",
            ) from error
        except (OSError, CancelledError, RuntimeError) as error:  # OSError: TimeoutError and Dask's own of connections
            raise Unavailable(
                f"Dask has no worker to offer within {within:g} s: {error}",
                place=self.place,
                hint="Look whether scheduler and workers run, and whether this machine reaches them.",
            ) from error

    def compare_versions(self) -> None:
        """See to it that what this process pickles can be read over there.

        Raises:
            ConfigurationError: Not by all processes.
        """
        from distributed.versions import get_versions

        asked = {"packages": list(SAME)}
        ours = _versions(get_versions(**asked))
        scheduler = self._client.scheduler
        theirs = {"the scheduler": self._ask(scheduler.versions, **asked)}
        theirs |= self._ask(scheduler.broadcast, msg={"op": "versions", **asked}, on_error="ignore")
        different = {
            who: [f"{name} {found[name] or 'missing'} for {mine}" for name, mine in ours.items() if found[name] != mine]
            for who, found in ((who, _versions(said)) for who, said in theirs.items())
        }
        if said := _told({who: ", ".join(found) for who, found in different.items() if found}):
            raise ConfigurationError(
                f"Dask's processes have other versions than the flow: {said}",
                place=self.place,
                hint="Start scheduler and workers from the image that flows run in, with ragwright's `dask` extra.",
            )

    def try_out(self, settings: Settings, generation: int) -> None:
        """See to it that the workers find what the flow has written.

        Raises:
            ConfigurationError: Not all of them do.
        """
        found: dict[str, str] = self._ask(self._client._run, lacking, settings, generation)
        if said := _told({worker: lack for worker, lack in found.items() if lack}):
            raise ConfigurationError(
                f"Dask's workers do not reach the index: {said}",
                place=self.place,
                hint="The catalog goes to S3, or to a disk that all machines share under the same path; the store to "
                "Pinecone, or to such a disk. Workers need the rights that the flow has.",
            )

    # While it is done

    def submit(self, stage: Any, parameters: Mapping[str, Any]) -> Any:
        """Futures of a stage's task runs.

        Raises:
            Unavailable: The scheduler is gone.
        """
        from distributed.client import ClosedClientError

        try:
            return self._runner.map(stage, dict(parameters))
        except ClosedClientError as error:
            raise self._gone() from error

    def settle(self, futures: Sequence[PrefectDaskFuture[Any]]) -> list[State[Any]]:
        """What became of each task run, once all have ended.

        Raises:
            Unavailable: The scheduler or the last worker is gone, or a portion ended one worker after the other.
            ConfigurationError: The workers cannot run it at all.
        """
        from distributed import wait

        raw = [future.wrapped_future for future in futures]
        watch = _Watch(self._dask)
        while True:
            try:
                with self._client.as_current():
                    wait(raw, timeout=min(ASK_SECONDS, self._dask.silence_seconds / 4))
                return [self._state(one) for one in raw]
            except CancelledError as error:
                raise self._gone() from error
            except TimeoutError:
                lost = watch.look(self._workers())
            if lost == "scheduler":
                raise self._gone(f"has not said anything for {self._dask.silence_seconds:g} s")
            if lost == "workers":
                raise Unavailable(
                    f"Dask has lost its last worker, and has had no other for {self._dask.start_timeout_seconds:g} s",
                    place=self.place,
                    hint="Start workers and look at their logs for why they ended; then run again: what was written is "
                    "reused.",
                )

    def _state(self, future: Any) -> State[Any]:
        """What Prefect says of an ended task run; it is an error of Dask's own if there is no such thing."""
        from distributed import KilledWorker

        try:
            state: State[Any] = future.result(timeout=self._dask.silence_seconds)  # also of a task run that failed
        except KilledWorker as error:
            raise Unavailable(
                f"one portion ended {error.allowed_failures + 1} of Dask's workers",
                place=self.place,
                hint="Most often memory is short: give workers more, or lower source.partition_rows. Then run again.",
            ) from error
        except (OSError, CancelledError) as error:
            raise self._gone() from error
        except (ImportError, AttributeError, RuntimeError, TypeError, ValueError) as error:  # of unpickling
            raise ConfigurationError(
                f"a worker could not begin a portion: {type(error).__name__}: {error}",
                place=self.place,
                hint="Start scheduler and workers from the image that flows run in, with ragwright's `dask` extra.",
            ) from error
        return state

    def _workers(self) -> int | None:
        """How many there are; None: the scheduler does not say."""
        scheduler = self._client.scheduler
        if scheduler is None:  # the client has given up
            return None
        try:
            return len(self._client.sync(scheduler.ncores, callback_timeout=self._dask.silence_seconds / 2))
        except OSError:
            return None

    def _ask(self, what: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What the cluster's processes say to a request."""
        within = self._dask.start_timeout_seconds
        try:
            found: dict[str, Any] = self._client.sync(what, *args, callback_timeout=within, **kwargs)
        except OSError as error:
            raise Unavailable(
                f"Dask's processes have not answered within {within:g} s: {error}",
                place=self.place,
                hint="One of them may hang: look at the dashboard of the scheduler, and restart it.",
            ) from error
        return found

    @property
    def _client(self) -> Any:
        return self._runner.client

    def _gone(self, why: str = "is gone") -> Unavailable:
        return Unavailable(
            f"Dask's scheduler {why}, and with it what its workers did",
            place=self.place,
            hint="Run again once it is back and the writer's lease has ended: what was written is reused.",
        )


class _Watch:
    """For how long there has been no sign of the scheduler, or of any worker."""

    def __init__(self, dask: DaskSettings) -> None:
        self._dask = dask
        self._heard = self._manned = time.monotonic()

    def look(self, workers: int | None) -> Literal["scheduler", "workers"] | None:
        """Note how many workers the scheduler has, None if it does not say; what has been away for too long."""
        now = time.monotonic()
        if workers is not None:
            self._heard = now
        if workers:
            self._manned = now
        if now - self._heard > self._dask.silence_seconds:
            return "scheduler"
        if workers == 0 and now - self._manned > self._dask.start_timeout_seconds:
            return "workers"
        return None


async def _greet(address: str, within: float) -> None:
    """Exchange a word with a scheduler: Dask's client waits for ever for one that takes a call and is silent."""
    from distributed.comm.core import connect
    from distributed.security import Security

    arguments = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(address, timeout=within, **arguments), within)
    comm.abort()


def lacking(settings: Settings, generation: int) -> str:
    """What keeps this process from working on a generation; empty: nothing. Runs in a worker."""
    try:
        with opened(settings, generation) as attempt:
            # Other stores have a key, which is asked for by the work itself.
            if settings.store_spec.startswith("lancedb:") and attempt.space not in attempt.store.spaces():
                return f"there is no space {attempt.space!r} in {settings.store_spec!r}"
    except RagwrightError as error:
        return f"catalog {settings.catalog_url!r}: {error}"
    return ""


def _versions(said: Mapping[str, Any]) -> dict[str, str | None]:
    """Versions by package, Python's without its patch level."""
    packages = said["packages"]
    python = ".".join(packages["python"].split(".")[:2])
    return {"python": python} | {name: packages.get(name) for name in SAME}


def _told(by_process: Mapping[str, str]) -> str:
    """What is wrong with some processes, for people."""
    shown = [f"{who}: {what}" for who, what in list(by_process.items())[:_SHOWN]]
    more = len(by_process) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


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
