"""Readers, writers and rollbacks that come between two steps of somebody else."""

from __future__ import annotations

import time

import pytest
from small_index import FAQ, Write, run, shown

from ragwright.errors import CatalogError, LeaseLost
from ragwright.index import reindex as stages
from ragwright.index import vacuum as vacuuming
from ragwright.index import writing
from ragwright.index.attempt import Attempt, open_catalog
from ragwright.index.history import rollback
from ragwright.index.lease import WriterLease
from ragwright.settings import Settings
from ragwright.stores import open_store

pytestmark = pytest.mark.usefixtures("cheap_validation")

SHORTER = FAQ[:-2]


def clean(settings: Settings, keep: int, *, settle: float = 0) -> None:
    with (
        open_catalog(settings) as catalog,
        open_store(settings.store_spec) as store,
        stages.writer_lease(settings) as lease,
    ):
        vacuuming.vacuum(catalog, store, lease, keep=keep, settle=settle)


def go_back(settings: Settings, to: int | None = None) -> None:
    with open_catalog(settings) as catalog:
        rollback(catalog, to)


def at_generation(settings: Settings, generation: int) -> set[str]:
    """Questions that a reader of a generation sees."""
    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store:
        space = catalog.begin_of(generation).space
        batches = list(store.scan(space, as_of=generation, columns=["question"]))
    return {question for batch in batches for question in batch["question"].to_pylist()}


@pytest.mark.parametrize("last", [FAQ, SHORTER[:-1]])
def test_a_reader_that_missed_the_rollback_sees_its_generation_whole(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch, last: list[tuple[str, str]]
) -> None:
    run(settings, write_faq(FAQ))
    run(settings, write_faq(SHORTER))
    go_back(settings)
    seen_until_it_looked_again = []

    def wait(seconds: float) -> None:
        seen_until_it_looked_again.append(at_generation(settings, 2))

    with monkeypatch.context() as patched:
        patched.setattr(writing.time, "sleep", wait)
        run(settings, write_faq(last))
    assert seen_until_it_looked_again == [{question for question, _ in SHORTER}]
    assert shown(settings) == dict(enumerate(last))


@pytest.mark.timeout(30)
def test_a_writer_that_was_taken_over_from_does_not_blame_the_store(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings, write_faq(FAQ))
    source = write_faq(SHORTER)
    verify = stages.verify_candidate

    def overtaken(attempt: Attempt) -> object:
        patched.undo()
        lapsed = attempt.fence._lease
        assert lapsed is not None
        lapsed._valid_until = time.monotonic() - 1
        with monkeypatch.context() as forgotten:
            forgotten.setattr(WriterLease, "_refuse_if_held", lambda *_: None)
            run(settings, source)
        return verify(attempt)

    with monkeypatch.context() as patched:
        patched.setattr(stages, "verify_candidate", overtaken)
        with pytest.raises(LeaseLost):
            run(settings, source)
    assert shown(settings) == dict(enumerate(SHORTER))


def test_nobody_goes_back_to_what_a_vacuum_is_about_to_remove(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings, write_faq(FAQ))
    run(settings, write_faq(SHORTER))
    refused = []

    def meanwhile(seconds: float) -> None:
        with pytest.raises(CatalogError, match="generation 1 cannot be gone back to") as found:
            go_back(settings, 1)
        refused.append(found)

    with monkeypatch.context() as patched:
        patched.setattr(vacuuming.time, "sleep", meanwhile)
        clean(settings, keep=1)
    assert refused
    assert shown(settings) == dict(enumerate(SHORTER))


def test_a_vacuum_keeps_what_somebody_went_back_to_just_before(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings, write_faq(FAQ))
    run(settings, write_faq(SHORTER))
    decide = vacuuming.retained_generations

    def too_late(*given: object) -> set[int]:
        retained = decide(*given)
        patched.undo()
        go_back(settings, 1)
        return retained

    with monkeypatch.context() as patched:
        patched.setattr(vacuuming, "retained_generations", too_late)
        clean(settings, keep=1)
    assert shown(settings) == dict(enumerate(FAQ))


def test_a_vacuum_that_was_taken_over_from_leaves_the_log_alone(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    run(settings, write_faq(SHORTER))
    with (
        open_catalog(settings) as catalog,
        open_store(settings.store_spec) as store,
        stages.writer_lease(settings) as lease,
    ):
        lease._valid_until = time.monotonic()
        with pytest.raises(LeaseLost):
            vacuuming.vacuum(catalog, store, lease, keep=1, settle=0)
        assert catalog.head().sequence == 2
