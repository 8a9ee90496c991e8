"""Looking at an index and changing what readers see: history, rollback, vacuum, verify, repair, plan."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from small_index import FAQ, Write, run, shown

from ragwright.documents import FOREVER
from ragwright.errors import CatalogError, GuardRefused, PublishConflict, SourceError
from ragwright.index import writing
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.history import generations, rollback
from ragwright.index.preview import preview
from ragwright.index.reindex import writer_lease
from ragwright.index.vacuum import Vacuumed, is_space_of, vacuum
from ragwright.maintenance import audit_live, mend
from ragwright.settings import Settings
from ragwright.stores import open_store

pytestmark = pytest.mark.usefixtures("cheap_validation")

CHANGED = [*FAQ[:3], (FAQ[3][0], "Thing 3 is new."), *FAQ[5:], ("Is this new?", "Yes, it is.")]


def go_back(settings: Settings, to: int | None = None) -> int:
    with open_catalog(settings) as catalog:
        return rollback(catalog, to, reason="a test").generation


@pytest.fixture(autouse=True)
def no_reader_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run after a rollback waits for: nobody reads here until it has ended."""
    monkeypatch.setattr(writing, "HEAD_TTL", -1.0)


def clean(settings: Settings, keep: int) -> Vacuumed:
    with (
        open_catalog(settings) as catalog,
        open_store(settings.store_spec) as store,
        writer_lease(settings) as lease,
    ):
        return vacuum(catalog, store, lease, keep=keep, settle=0)


def states(settings: Settings) -> dict[int, str]:
    with open_catalog(settings) as catalog:
        return {info.generation: info.state for info in generations(catalog)}


def stored(settings: Settings) -> int:
    with open_store(settings.store_spec) as store:
        return sum(len(batch) for space in store.spaces() for batch in store.scan(space, columns=["record_id"]))


def test_rollback_shows_the_older_generation_and_the_next_run_converges(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    run(settings, write_faq(CHANGED))
    assert go_back(settings) == 1
    assert shown(settings) == dict(enumerate(FAQ))
    assert states(settings) == {2: "abandoned", 1: "live"}
    report = run(settings, write_faq(CHANGED))
    assert (report.generation, report.embedded) == (3, 0)  # what generation 2 wrote is taken over
    assert shown(settings) == dict(enumerate(CHANGED))


@pytest.mark.parametrize("to", [None, 1, 2, 7])
def test_there_is_no_going_back_to_what_is_not_there(settings: Settings, write_faq: Write, to: int | None) -> None:
    run(settings, write_faq(FAQ))
    with pytest.raises(CatalogError, match="retained before it: none"):
        go_back(settings, to)


def test_an_abandoned_generation_is_never_a_target_again(settings: Settings, write_faq: Write) -> None:
    for source in (FAQ, CHANGED, FAQ):
        run(settings, write_faq(source))
    go_back(settings, 1)
    run(settings, write_faq(CHANGED))
    assert states(settings) == {4: "live", 3: "abandoned", 2: "abandoned", 1: "retained"}
    with pytest.raises(CatalogError, match="generation 3 cannot be gone back to"):
        go_back(settings, 3)


def test_a_run_that_was_overtaken_by_a_rollback_does_not_publish(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings, write_faq(FAQ))
    run(settings, write_faq(CHANGED))
    from ragwright.index import reindex as stages

    verify = stages.verify_candidate

    def overtaken(attempt: object) -> object:
        go_back(settings)
        return verify(attempt)

    monkeypatch.setattr(stages, "verify_candidate", overtaken)
    with pytest.raises(PublishConflict):
        run(settings, write_faq(FAQ))
    assert shown(settings) == dict(enumerate(FAQ))
    assert states(settings)[3] == "failed"


def test_vacuum_removes_what_no_retained_generation_shows(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    run(settings, write_faq(CHANGED))
    run(settings, write_faq(FAQ), full=True)
    assert stored(settings) == 12 + 2 + 12
    assert clean(settings, keep=3).records == 0
    done = clean(settings, keep=2)
    assert (done.floor, done.records) == (2, 2)
    assert states(settings) == {3: "live", 2: "retained", 1: "vacuumed"}
    assert go_back(settings) == 2
    assert shown(settings) == dict(enumerate(CHANGED))
    assert run(settings, write_faq(CHANGED)).embedded == 0
    assert clean(settings, keep=1).spaces == 1  # the rebuild that the rollback abandoned
    assert stored(settings) == len(CHANGED)
    assert shown(settings) == dict(enumerate(CHANGED))


def test_vacuum_touches_no_other_index(settings: Settings, write_faq: Write) -> None:
    other = settings.model_copy(update={"index": "faq-eu"})
    run(settings, write_faq(FAQ))
    run(other, write_faq(FAQ))
    clean(settings, keep=1)
    assert shown(other) == dict(enumerate(FAQ))
    assert is_space_of("faq", "faq-0123456789ab-3")
    assert not is_space_of("faq", "faq-eu-0123456789ab-3")


def break_store(settings: Settings, how: str) -> None:
    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store:
        entry = catalog.head().last
        assert entry is not None
        records = pa.Table.from_batches(list(store.scan(entry.space)))
        one = records.slice(0, 1)
        if how == "missing":
            store.delete(entry.space, one["record_id"].to_pylist())
        elif how == "ended":
            store.mark(entry.space, one["record_id"].to_pylist(), entry.generation)
        elif how == "altered":
            store.upsert(entry.space, one.set_column(one.schema.get_field_index("text"), "text", pa.array(["Lies."])))
        else:
            born = entry.generation + (how == "from the future")
            stranger = {"record_id": f"stranger.{born}", "born": born, "died": FOREVER}
            for name, value in stranger.items():
                at = one.schema.get_field_index(name)
                one = one.set_column(at, one.schema.field(at), pa.array([value], one.schema.field(at).type))
            store.upsert(entry.space, one)


@pytest.mark.parametrize("how", ["missing", "ended", "altered", "unpromised"])
def test_verify_finds_what_is_broken_and_repair_mends_it(settings: Settings, write_faq: Write, how: str) -> None:
    source = write_faq(FAQ)
    run(settings, source)
    assert audit_live(settings).true
    break_store(settings, how)
    found = audit_live(settings)
    assert not found.true
    kind = {"ended": "missing"}.get(how, how)
    assert found.to_json()["damage"] == {kind: 1}
    report = mend(settings, found)
    assert report.embedded == (0 if how == "unpromised" else 1)
    assert audit_live(settings).true
    assert shown(settings) == dict(enumerate(FAQ))
    assert run(settings, source).written == 0


def test_a_record_that_would_appear_with_the_next_generation_is_mended_too(
    settings: Settings, write_faq: Write
) -> None:
    source = write_faq(FAQ)
    run(settings, source)
    break_store(settings, "from the future")
    assert audit_live(settings).true
    assert run(settings, source, repair=True).plan["delete"] == 1
    assert audit_live(settings).true


def test_verify_tells_a_source_that_moved_on(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    write_faq(CHANGED)
    found = audit_live(settings)
    assert found.source == {"added": 1, "updated": 1, "removed": 1}
    assert not found.true
    assert "reindex --source" in found.repairs[0]


def test_verify_cannot_tell_without_the_source(settings: Settings, write_faq: Write) -> None:
    source = write_faq(FAQ)
    run(settings, source)
    Path(source).unlink()
    with pytest.raises(SourceError):
        audit_live(settings)


def test_a_plan_is_what_the_run_then_does_and_writes_nothing(settings: Settings, write_faq: Write) -> None:
    source = write_faq(FAQ)
    first = preview(settings, ReindexRequest(source=source))
    assert (first.embed, first.new_space, first.seconds) == (12, True, None)
    run(settings, source)
    before = (stored(settings), states(settings))
    write_faq(CHANGED)
    found = preview(settings, ReindexRequest(source=source))
    assert (stored(settings), states(settings)) == before
    report = run(settings, source)
    assert found.ledger == report.ledger
    assert (found.embed, found.end, found.keep) == (report.embedded, report.plan["mark"], report.plan["keep"])
    assert found.tokens == report.tokens > 0
    assert found.seconds is not None


def test_a_plan_refuses_what_the_run_would_refuse(settings: Settings, write_faq: Write) -> None:
    source = write_faq(FAQ)
    run(settings, source)
    write_faq(FAQ[:3])
    with pytest.raises(GuardRefused):
        preview(settings, ReindexRequest(source=source))


def test_resume_goes_on_in_the_space_of_an_unfinished_rebuild(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_faq(FAQ)
    run(settings, source)
    from ragwright.index import reindex as stages

    def fail(*_: object, **__: object) -> None:
        raise CatalogError("broken on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(stages, "verify_candidate", fail)
        with pytest.raises(CatalogError):
            run(settings, source, full=True)
    resumed = run(settings, source, resume=True)
    assert resumed.embedded == 0
    with open_catalog(settings) as catalog:
        begins = [catalog.begin_of(number) for number in (1, 2, 3)]
    assert begins[2].space == begins[1].space != begins[0].space
    assert shown(settings) == dict(enumerate(FAQ))


def test_a_rollback_past_a_repair_does_not_count_on_what_was_broken(settings: Settings, write_faq: Write) -> None:
    """A record that ended too early by accident may be shown by the older generation and not by the next one."""
    run(settings, write_faq(FAQ))
    run(settings, write_faq([*FAQ, CHANGED[-1]]))
    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store:
        space = catalog.begin_of(1).space
        shared = next(store.scan(space, as_of=1, columns=["record_id"]))["record_id"].to_pylist()[:1]
        store.mark(space, shared, 2)
    mend(settings, audit_live(settings))
    assert go_back(settings, 1) == 1
    assert shown(settings) == dict(enumerate(FAQ))
    run(settings, write_faq(CHANGED))
    assert shown(settings) == dict(enumerate(CHANGED))


def test_verify_tells_a_quarantined_row_that_was_mended(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq([*FAQ, ("Is this blank?", " ")]))
    assert audit_live(settings).true
    write_faq([*FAQ, ("Is this blank?", "Not any more.")])
    assert audit_live(settings).source == {"added": 1, "updated": 0, "removed": 0}
