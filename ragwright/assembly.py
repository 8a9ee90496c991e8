"""The configured parts, put together: what a verb of the command line or a task needs open at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ragwright.answering import Answerer
from ragwright.embedding import open_embedder
from ragwright.endpoints import (
    EndpointInfo,
    EndpointSpec,
    EndpointStatus,
    Lease,
    embedder_spec,
    generator_spec,
    open_host,
)
from ragwright.errors import ConfigurationError, RagwrightError
from ragwright.evaluation.holdout import WithoutHidden
from ragwright.evaluation.judge import open_judge
from ragwright.evaluation.questions import QuestionSet, load, sample
from ragwright.evaluation.run import EvaluationResult, evaluate
from ragwright.evaluation.stored import Conditions, keep
from ragwright.generation import open_generator
from ragwright.index.attempt import open_catalog
from ragwright.index.reader import IndexReader
from ragwright.models import resolve
from ragwright.progress import Progress, silent
from ragwright.settings import Settings
from ragwright.stores import open_store

_LOOK_SECONDS = 5.0
"""Between two looks at endpoints that are coming up."""


def wanted_endpoints(settings: Settings, *, generator: bool = True) -> list[EndpointSpec]:
    """The endpoints that the settings need on their host; none where they name URLs."""
    specs = [embedder_spec(settings), generator_spec(settings) if generator else None]
    return [spec for spec in specs if spec is not None]


def fetch_models(settings: Settings, specs: Sequence[EndpointSpec], *, progress: Progress = silent) -> None:
    """Bring the models of local endpoints here before their servers start, where the download can be watched.

    Raises:
        ModelError: A file cannot be had; the message says where to get it.
    """
    if settings.endpoints.host == "local":
        for spec in specs:
            resolve(spec.model, cache=settings.model_folder, progress=progress)


def wait_for_endpoints(settings: Settings, names: Sequence[str], *, progress: Progress = silent) -> list[EndpointInfo]:
    """Return once all are in service, telling meanwhile how many are.

    Raises:
        EndpointError: One cannot be any more; the message ends with its log.
        TimedOut: They take longer than the settings allow.
    """
    over = threading.Event()

    def look() -> None:
        with open_host(settings) as host:
            while not over.wait(_LOOK_SECONDS):
                try:
                    status = {info.name: info.status for info in host.list()}
                except RagwrightError:  # who waits finds out too, and says it
                    continue
                ready = sum(status.get(name) == EndpointStatus.IN_SERVICE for name in names)
                progress("in service", ready, len(names))

    progress("in service", 0, len(names))
    thread = threading.Thread(target=look, name="endpoint-watcher", daemon=True)
    thread.start()
    try:
        with open_host(settings) as host:
            return host.wait(names, timeout=settings.endpoints.start_timeout_seconds)
    finally:
        over.set()
        thread.join()


@contextmanager
def in_service(
    settings: Settings,
    specs: Sequence[EndpointSpec],
    *,
    minutes: float,
    run_id: str = "",
    progress: Progress = silent,
) -> Iterator[list[EndpointInfo]]:
    """Endpoints that are up for as long as the block runs, and `minutes` longer; yields those it had to start.

    They are not stopped at the end, so that the next question finds them warm: their lease ends them.
    """
    lease = Lease.lasting(owner=settings.endpoints.owner, minutes=minutes, run_id=run_id)
    with open_host(settings) as host, ExitStack() as stack:
        before = {info.name for info in host.list() if info.status == EndpointStatus.IN_SERVICE}
        fetch_models(settings, [spec for spec in specs if spec.name not in before], progress=progress)
        with ThreadPoolExecutor(max(1, len(specs))) as pool:
            infos = list(pool.map(lambda spec: host.deploy(spec, lease), specs))
        started = [info for info in infos if info.name not in before]
        if started:
            progress("endpoints in service", 0, len(specs))
        host.wait([spec.name for spec in specs], timeout=settings.endpoints.start_timeout_seconds)
        if started:
            progress("endpoints in service", len(specs), len(specs))
        stack.enter_context(kept_alive(settings, [spec.name for spec in specs], minutes=minutes))
        yield started


@contextmanager
def kept_alive(settings: Settings, names: Sequence[str], *, minutes: float) -> Iterator[None]:
    """Extend the leases of endpoints for as long as the block runs; a killed process extends nothing any more."""
    stop = threading.Event()

    def extend() -> None:
        with open_host(settings) as host:
            while not stop.wait(minutes * 60 / 3):
                for name in names:
                    try:
                        host.extend(name, datetime.now(UTC) + timedelta(minutes=minutes))
                    except RagwrightError:  # its user finds out first, and says it better
                        continue

    thread = threading.Thread(target=extend, name="lease-extender", daemon=True)
    if names:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if names:
            thread.join()


@contextmanager
def open_answerer(settings: Settings, *, generation: int | None = None) -> Iterator[Answerer]:
    """Whatever answers from the index: its live generation, or one that is named."""
    with ExitStack() as stack:
        embedder = stack.enter_context(open_embedder(settings))
        generator = open_generator(settings)
        if generator is not None:
            stack.enter_context(generator)
        catalog = stack.enter_context(open_catalog(settings))
        memory = settings.lancedb.memory_mb
        store = stack.enter_context(open_store(settings.store_spec, retry=settings.retry, memory_mb=memory))
        reader = IndexReader(
            catalog, store, embedder, generation=generation, lexical=settings.answering.lexical_candidates
        )
        yield Answerer(
            WithoutHidden(reader),
            embedder,
            generator,
            settings.answering,
            max_new_tokens=settings.generation.max_new_tokens,
        )


def load_questions(settings: Settings, path: Path | None = None, *, at_most: int | None = None) -> QuestionSet:
    """A question set: the one named, or the settings' own; `at_most` draws a seeded sample, kinds in proportion.

    Raises:
        ConfigurationError: There is none to load.
    """
    path = path or settings.evaluation.questions
    if path is None:
        raise ConfigurationError(
            "no question set is configured", hint="Name one with --questions or RAGWRIGHT_EVALUATION__QUESTIONS."
        )
    questions = load(path)
    return questions if at_most is None else sample(questions, at_most)


def evaluate_index(
    settings: Settings, questions: QuestionSet, *, generation: int | None = None, progress: Progress = silent
) -> EvaluationResult:
    """Ask a generation (the live one by default) every question; the result is kept with the generation."""
    with open_answerer(settings, generation=generation) as answerer, open_judge(settings) as judge:
        result = evaluate(
            answerer, questions, progress=progress, concurrency=settings.evaluation.concurrency, judge=judge
        )
    if generation is not None:
        result = replace(result, generation=generation)  # also where not one question could be answered
    if result.generation is not None:
        with open_catalog(settings) as catalog:
            keep(catalog, result.generation, result, Conditions.of(settings, questions))
    return result
