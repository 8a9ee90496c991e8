"""What staging refuses before anything is sent to a store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ragwright.errors import QualityError, SourceError
from ragwright.index import reindex as stages
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.reindex import ReindexReport
from ragwright.quality import QualityGate
from ragwright.settings import Settings, SourceSettings

FAQ = [(f"What is thing number {n}?", f"Thing {n} is the one that comes after thing {n - 1}.") for n in range(12)]

Write = Callable[[Sequence[tuple[str, str]]], str]


def run(settings: Settings, source: str, **options: object) -> ReindexReport:
    return stages.reindex(settings, ReindexRequest(source=source, **options))


def live(settings: Settings) -> int:
    with open_catalog(settings) as catalog:
        return catalog.head().live


def test_rows_too_large_for_a_store_count_as_unfit(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "wide.csv"
    settings = settings.model_copy(update={"source": SourceSettings(metadata_columns=("note",))})
    rows = [f"{question},{answer},short" for question, answer in FAQ]
    source.write_text("\n".join(["question,answer,note", *rows]))
    run(settings, str(source))
    long = "x" * 50_000
    source.write_text("\n".join(["question,answer,note", *rows[:11], f"What is long?,It is.,{long}"]))
    assert run(settings, str(source)).to_json()["quality"]["quarantined"] == {"metadata-bytes": 1}
    source.write_text("\n".join(["question,answer,note", *(row.replace("short", long) for row in rows)]))
    with pytest.raises(QualityError, match=r"wide\.csv: none of the 12 records is fit.*row 0, metadata"):
        run(settings, str(source), allow_mass_delete=True)
    assert live(settings) == 2


def test_a_source_that_changes_while_it_is_read_is_refused(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_faq(FAQ)

    def gate_after_an_edit(*given: object, **options: object) -> QualityGate:
        write_faq([*FAQ[:-1], ("Is this in time?", "It came between the two readings.")])
        return QualityGate(*given, **options)

    with monkeypatch.context() as patched:
        patched.setattr(stages, "QualityGate", gate_after_an_edit)
        with pytest.raises(SourceError, match=r"faq\.csv.*changed while it was read"):
            run(settings, source)
    assert run(settings, source).ledger.added == 12


def test_a_source_of_several_partitions_is_the_same_however_they_are_cut(settings: Settings, write_faq: Write) -> None:
    for size in (5, 5, 7, 100):
        cut = settings.model_copy(update={"source": SourceSettings(partition_rows=size)})
        changed = [*FAQ[:-1], (FAQ[-1][0], f"Read {size} rows at a time.")]
        assert run(cut, write_faq(changed)).ledger.source_rows == 12
        assert run(cut, write_faq(changed)).embedded == 0
