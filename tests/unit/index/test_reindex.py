"""Re-indexing over real stores: what readers see, what it costs, what is refused."""

from __future__ import annotations

import pytest
from small_index import FAQ, Write, run, shown

from ragwright.documents import Match
from ragwright.embedding import open_embedder
from ragwright.errors import CatalogError, FingerprintMismatch, GuardRefused, QualityError, SourceError, StoreError
from ragwright.index import reindex as stages
from ragwright.index.attempt import open_catalog
from ragwright.index.reader import IndexReader
from ragwright.settings import Settings
from ragwright.stores import open_store


def search(settings: Settings, question: str, *, embedding: Settings | None = None) -> tuple[Match, ...]:
    with (
        open_catalog(settings) as catalog,
        open_store(settings.store_spec) as store,
        open_embedder(embedding or settings) as embedder,
    ):
        return tuple(IndexReader(catalog, store, embedder).search(question, 1).matches)


def test_every_row_is_indexed_and_the_ledger_adds_up(settings: Settings, write_faq: Write) -> None:
    report = run(settings, write_faq(FAQ))
    assert report.to_json()["ledger"] == {
        "source_rows": 12,
        "added": 12,
        "updated": 0,
        "unchanged": 0,
        "removed": 0,
        "quarantined": 0,
        "failed": 0,
    }
    assert (report.generation, report.published, report.embedded, report.written) == (1, True, 12, 12)
    assert shown(settings) == dict(enumerate(FAQ))


def test_an_unchanged_source_costs_no_embedding_and_no_write(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    report = run(settings, write_faq(FAQ))
    assert (report.embedded, report.written, report.ledger.unchanged) == (0, 0, 12)
    assert shown(settings) == dict(enumerate(FAQ))


def test_a_change_costs_what_changed(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    changed = [("Is this new?", "Yes, it stands at the top."), *FAQ[:5], (FAQ[5][0], "Thing 5 is new."), *FAQ[7:]]
    report = run(settings, write_faq(changed))
    ledger = report.ledger
    assert (ledger.added, ledger.updated, ledger.unchanged, ledger.removed) == (1, 1, 10, 1)
    assert report.embedded == 2
    assert report.plan == {"keep": 10, "insert": 2, "revive": 0, "rewrite": 0, "mark": 2, "delete": 0, "lost": 0}
    assert shown(settings) == dict(enumerate(changed))


def test_reordering_costs_nothing_and_citations_follow(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    report = run(settings, write_faq(FAQ[::-1]))
    assert (report.embedded, report.written) == (0, 0)
    assert [(match.row, match.question) for match in search(settings, FAQ[2][0])] == [(9, FAQ[2][0])]


def test_full_builds_a_new_space_beside_the_old_one(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    report = run(settings, write_faq(FAQ), full=True)
    assert (report.embedded, report.ledger.unchanged) == (12, 12)
    with open_catalog(settings) as catalog:
        spaces = [entry.space for entry in catalog.head().entries]
    assert len(set(spaces)) == 2
    assert run(settings, write_faq(FAQ)).embedded == 0


def test_another_chunker_opens_a_new_space(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    other = settings.model_copy(update={"chunking": settings.chunking.model_copy(update={"embed": "answer"})})
    assert run(other, write_faq(FAQ)).embedded == 12
    assert run(settings, write_faq(FAQ)).embedded == 0  # and the first space still stands
    assert shown(settings) == dict(enumerate(FAQ))


def test_a_query_with_another_embedder_is_refused_with_both_named(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    other = settings.model_copy(update={"embedding": settings.embedding.model_copy(update={"endpoint": "hashing:32"})})
    with pytest.raises(FingerprintMismatch, match=r"64 dimensions.*32 dimensions"):
        search(settings, "anything", embedding=other)


def test_mass_deletion_is_refused_unless_meant(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    with pytest.raises(GuardRefused, match=r"lost 7 of the 12 rows.*--allow-mass-delete"):
        run(settings, write_faq(FAQ[:5]))
    assert shown(settings) == dict(enumerate(FAQ))
    assert run(settings, write_faq(FAQ[:5]), allow_mass_delete=True).ledger.removed == 7
    assert shown(settings) == dict(enumerate(FAQ[:5]))


def test_unfit_rows_are_quarantined_and_the_rest_goes_live(settings: Settings, write_faq: Write) -> None:
    report = run(settings, write_faq([*FAQ, ("What is blank?", "  ")]))
    assert (report.ledger.source_rows, report.ledger.added, report.ledger.quarantined) == (13, 12, 1)
    with open_catalog(settings) as catalog:
        quarantine = catalog.read_table("generations/00000001/quarantine.parquet")
    assert quarantine is not None
    assert [(row["row"], row["column"]) for row in quarantine.to_pylist()] == [(12, "answer")]


@pytest.mark.parametrize(
    ("rows", "error"),
    [([], SourceError), ([("What is blank?", " ")], QualityError), ([*FAQ[:2], ("a?", ""), ("b?", "")], QualityError)],
)
def test_a_bad_source_changes_nothing(
    settings: Settings, write_faq: Write, rows: list[tuple[str, str]], error: type[Exception]
) -> None:
    run(settings, write_faq(FAQ))
    with pytest.raises(error):
        run(settings, write_faq(rows))
    assert shown(settings) == dict(enumerate(FAQ))
    assert run(settings, write_faq(FAQ)).embedded == 0


def test_a_run_that_fails_half_way_is_finished_by_the_next(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings, write_faq(FAQ))
    changed = [(question, answer + " Indeed.") for question, answer in FAQ]

    def fail(*_: object, **__: object) -> None:
        raise StoreError("broken on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(stages, "verify_candidate", fail)
        with pytest.raises(StoreError):
            run(settings, write_faq(changed))
    assert shown(settings) == dict(enumerate(FAQ))
    report = run(settings, write_faq(changed))
    assert report.embedded == 0  # the failed attempt's records are kept
    assert shown(settings) == dict(enumerate(changed))


def test_nothing_published_is_said_so(settings: Settings) -> None:
    with pytest.raises(CatalogError, match="nothing has been published"):
        search(settings, "anything")
