"""What a generation answers to a question set: measured now, or known from before; with the embedder that made it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ragwright.assembly import evaluate_index, in_service, wanted_endpoints
from ragwright.documents import Fingerprint
from ragwright.embedding import open_embedder
from ragwright.endpoints import open_host
from ragwright.errors import ConfigurationError, FingerprintMismatch, RagwrightError
from ragwright.evaluation.questions import QuestionSet
from ragwright.evaluation.run import EvaluationResult
from ragwright.evaluation.stored import Conditions, recall
from ragwright.index.attempt import open_catalog, same_vectors
from ragwright.index.catalog import nothing_published
from ragwright.models import get_model
from ragwright.progress import Progress, silent
from ragwright.settings import Settings


@dataclass(frozen=True)
class Calls:
    """How a measurement reaches whoever waits for it.

    Attributes:
        progress: Told of downloads, starts and questions.
        started: Told the names of endpoints that had to be started.
        run_id: Named in the lease of those.
    """

    progress: Progress = silent
    started: Callable[[list[str]], None] = lambda names: None
    run_id: str = ""


@dataclass(frozen=True)
class Measured:
    """An evaluation, and how many questions were asked for it; none if it was known."""

    result: EvaluationResult
    asked: int


def measure(
    settings: Settings, questions: QuestionSet, generation: int, *, again: bool = False, calls: Calls | None = None
) -> Measured:
    """Evaluate a generation, published or not; endpoints that it needs are started under a short lease.

    Args:
        settings: Of the index; the embedder is the one that made the generation, whichever is set.
        questions: What to ask.
        generation: Its number.
        again: Ask even if an evaluation under the same conditions is known.
        calls: Who wants to know.

    Raises:
        FingerprintMismatch: The embedder that made it cannot be had.
    """
    calls = calls or Calls()
    with open_catalog(settings) as catalog:
        known = None if again else recall(catalog, generation, Conditions.of(settings, questions))
        fingerprint = catalog.begin_of(generation).fingerprint
    if known is not None:
        return Measured(known, 0)
    own = settings_of(settings, fingerprint)
    minutes = settings.endpoints.ask_lease_minutes
    with in_service(
        own, wanted_endpoints(own), minutes=minutes, run_id=calls.run_id, progress=calls.progress
    ) as started:
        calls.started([info.name for info in started])
        try:
            result = evaluate_index(own, questions, generation=generation, progress=calls.progress)
        finally:
            if own is not settings:
                _stop(own, [info.name for info in started if info.name == own.embedding.endpoint])
    return Measured(result, len(questions))


def live_generation(settings: Settings) -> int:
    """The number of the generation that readers see.

    Raises:
        CatalogError: There is none.
    """
    with open_catalog(settings) as catalog:
        live = catalog.head().live
    if not live:
        raise nothing_published(settings.index)
    return live


def settings_of(settings: Settings, made_with: Fingerprint) -> Settings:
    """The settings under which a generation can be asked: as they are, or with the embedder that made it.

    Raises:
        FingerprintMismatch: That embedder cannot be had here.
    """
    with open_embedder(settings, connect=False) as embedder:
        set_now = embedder.fingerprint
    if same_vectors(set_now, made_with):
        return settings
    for endpoint in _earlier_endpoints(settings, made_with):
        embedding = settings.embedding.model_copy(update={"model": made_with.model, "endpoint": endpoint})
        own = settings.model_copy(update={"embedding": embedding})
        with open_embedder(own, connect=False) as embedder:
            if same_vectors(embedder.fingerprint, made_with):
                return own
    raise FingerprintMismatch(
        f"the generation was made with {made_with}, set is {set_now}, and the former cannot be started here",
        hint="Name its model and endpoint in RAGWRIGHT_EMBEDDING__MODEL and RAGWRIGHT_EMBEDDING__ENDPOINT.",
    )


def _earlier_endpoints(settings: Settings, made_with: Fingerprint) -> list[str]:
    """Where an embedder that is not the one set could run."""
    if hashing := re.fullmatch(r"hashing-(\d+)", made_with.model):
        return [f"hashing:{hashing[1]}"]
    try:
        get_model(made_with.model)
    except ConfigurationError:
        return []
    # A name of its own, so that the endpoint that is set goes on running.
    return [f"{made_with.model}-earlier"] if settings.endpoints.host == "local" else []


def _stop(settings: Settings, names: list[str]) -> None:
    """Nobody else will ask an embedder of the past; its lease would end it a little later."""
    with open_host(settings) as host:
        for name in names:
            try:
                host.delete(name)
            except RagwrightError:
                continue
