"""The whole index machinery over Pinecone: publish, keep, change, roll back, verify, vacuum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from emulators.indexed_faq import faq, run, shown
from emulators.pinecone_server import PineconeServer
from pinecone_on_loopback import pinecone_on_loopback

from ragwright.assembly import open_answerer
from ragwright.errors import Unavailable
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.history import rollback
from ragwright.index.preview import preview
from ragwright.index.reindex import writer_lease
from ragwright.index.vacuum import vacuum
from ragwright.maintenance import audit_live
from ragwright.settings import Settings
from ragwright.stores import open_store

pytestmark = pytest.mark.usefixtures("cheap_validation")

FAQ = faq(30)
CHANGED = [*FAQ[:7], (FAQ[7][0], "Thing 7 is another thing altogether."), *FAQ[8:]]


@pytest.fixture(scope="module")
def server() -> Iterator[PineconeServer]:
    with pinecone_on_loopback() as running:
        # Reads lag behind writes, and fetches and queries do not agree.
        running.visibility.query, running.visibility.fetch, running.visibility.jitter = 0.1, 0.05, 0.05
        yield running


@pytest.fixture
def settings(server: PineconeServer, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        store="pinecone:faq",
        embedding={"endpoint": "hashing:64"},
        generation={"endpoint": "none"},
        answering={"calibration_rows": 0},
        retry={"first_pause_seconds": 0.01},
    )


def test_an_index_on_pinecone_is_published_kept_changed_rolled_back_verified_and_vacuumed(
    settings: Settings, server: PineconeServer, tmp_path: Path
) -> None:
    first = run(settings, tmp_path, FAQ)
    assert (first.generation, first.embedded) == (1, 30)
    assert shown(settings) == dict(FAQ)

    server.reset_counters()
    again = run(settings, tmp_path, FAQ)
    assert again.embedded == 0
    assert not server.requests["upsert"] + server.requests["update"]

    server.reset_counters()
    changed = run(settings, tmp_path, CHANGED)
    assert changed.embedded == 1
    assert (server.requests["upsert"], server.requests["update"]) == (1, 1)
    assert shown(settings) == dict(CHANGED)
    assert audit_live(settings).true

    with open_catalog(settings) as catalog:
        rollback(catalog, reason="a test")
    assert shown(settings) == dict(FAQ)
    assert run(settings, tmp_path, CHANGED).embedded == 0  # what the generation given up had written is taken over
    assert shown(settings) == dict(CHANGED)

    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store, writer_lease(settings) as lease:
        removed = vacuum(catalog, store, lease, keep=1, settle=0)
        store.wait_visible(catalog.head().last.space)
    assert removed.records == 1
    assert audit_live(settings).true
    assert shown(settings) == dict(CHANGED)


def test_faults_while_writing_cost_time_and_nothing_else(
    settings: Settings, server: PineconeServer, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"index": "stormy"})
    server.faults.retry_after = 0.01
    server.faults.share = {"429": 0.1, "503": 0.05, "reset after": 0.05, "partial upsert": 0.1}
    server.faults.operations = frozenset({"upsert", "update", "delete"})
    try:
        run(settings, tmp_path, FAQ)
        run(settings, tmp_path, CHANGED[5:])
    finally:
        server.faults.clear()
    assert shown(settings) == dict(CHANGED[5:])
    assert audit_live(settings).true


def asked(settings: Settings) -> None:
    with open_answerer(settings) as answerer:
        answerer.answer(FAQ[3][0])


def looked_ahead(settings: Settings) -> None:
    preview(settings, ReindexRequest(source=str(settings.home.parent / "faq.csv")))


def changed(settings: Settings) -> None:
    run(settings, settings.home.parent, CHANGED[1:])


def test_every_verb_tries_requests_again_as_often_as_the_settings_say(
    settings: Settings, server: PineconeServer, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"index": "patient"})
    run(settings, tmp_path, FAQ[:4])
    settings = settings.model_copy(update={"retry": settings.retry.model_copy(update={"attempts": 2})})
    verbs: dict[str, Callable[[Settings], object]] = {
        "fetch_by_metadata": audit_live,
        "list_namespaces": looked_ahead,
        "describe_namespace": asked,
        "upsert": changed,
    }
    requests = {}
    for operation, verb in verbs.items():
        server.reset_counters()
        server.faults.operations, server.faults.share = frozenset({operation}), {"503": 1.0}
        try:
            with pytest.raises(Unavailable):
                verb(settings)
        finally:
            server.faults.clear()
        requests[operation] = server.requests[operation]
    assert requests == dict.fromkeys(verbs, 2)
