"""Re-indexing a source that says what the live generation says."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_index import FAQ, Write, run, shown

from ragwright.errors import SourceError, StoreError
from ragwright.index import reindex as stages
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.settings import Settings
from ragwright.sources import Source


def work_on(settings: Settings, source: str) -> tuple[stages.ReindexReport, set[str]]:
    """The report of a re-index and what it did to the source."""
    seen: set[str] = set()
    report = stages.reindex(
        settings, ReindexRequest(source=source), progress=lambda what, *_: seen.add(what) if "rows" in what else None
    )
    return report, seen


def test_the_same_bytes_are_not_parsed(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    report, done = work_on(settings, write_faq(FAQ))
    assert (report.chunks, report.embedded, report.written, report.plan["keep"]) == (12, 0, 0, 12)
    assert report.published
    assert done == set()
    assert shown(settings) == dict(enumerate(FAQ))


def test_the_same_rows_in_other_bytes_are_read_once(settings: Settings, write_faq: Write) -> None:
    source = Path(write_faq(FAQ))
    run(settings, str(source))
    source.write_text(source.read_text().replace("\n", "\n\n"))
    report, done = work_on(settings, str(source))
    assert (report.embedded, report.written, report.ledger.unchanged) == (0, 0, 12)
    assert done == {"reading rows"}
    assert work_on(settings, str(source))[1] == set()


def test_verdicts_are_taken_over(settings: Settings, write_faq: Write) -> None:
    rows = [*FAQ, FAQ[3], (FAQ[4][0], "Another answer to it.")]
    first, again = run(settings, write_faq(rows)), run(settings, write_faq(rows))
    assert again.quality == first.quality != {}
    assert (again.ledger.source_rows, again.ledger.quarantined) == (14, first.ledger.quarantined)
    with open_catalog(settings) as catalog:
        for name in ("manifest", "quarantine", "warnings", "statistics"):
            one, two = (catalog.read_table(f"generations/0000000{n}/{name}.parquet") for n in (1, 2))
            assert one is not None
            assert one.equals(two)


@pytest.mark.parametrize("rows", [FAQ, FAQ[::-1]])
def test_going_back_after_a_failed_attempt_undoes_it(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[str, str]]
) -> None:
    run(settings, write_faq(FAQ))

    def fail(*_: object, **__: object) -> None:
        raise StoreError("broken on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(stages, "verify_candidate", fail)
        with pytest.raises(StoreError):
            run(settings, write_faq([(FAQ[0][0], "A new answer."), *FAQ[1:]]))
    report = run(settings, write_faq(rows))
    assert (report.embedded, report.plan["revive"], report.plan["delete"]) == (0, 1, 1)
    assert shown(settings) == dict(enumerate(rows))


def test_the_same_bytes_read_in_another_way_are_another_source(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "faq.csv"
    rows = (f"{question},{answer},It is thing {number}." for number, (question, answer) in enumerate(FAQ))
    source.write_text("\n".join(["question,answer,short", *rows]))
    run(settings, str(source))
    other = settings.model_copy(update={"source": settings.source.model_copy(update={"answer_column": "short"})})
    assert run(other, str(source)).ledger.updated == 12
    assert shown(settings)[3] == (FAQ[3][0], "It is thing 3.")


def test_rows_are_not_taken_for_those_of_bytes_that_came_later(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_faq(FAQ)
    digest = Source.digest

    def digest_then_edit(self: Source) -> str:
        value = digest(self)
        write_faq(FAQ[:-1])
        return value

    with monkeypatch.context() as patched:
        patched.setattr(Source, "digest", digest_then_edit)
        with pytest.raises(SourceError, match="changed while it was read"):
            run(settings, source)
    assert run(settings, write_faq(FAQ)).ledger.added == 12
