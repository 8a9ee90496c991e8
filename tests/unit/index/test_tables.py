"""Tables that are read and written in parts, and what is made of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from small_index import FAQ, Write, run, shown

from ragwright.errors import CatalogError
from ragwright.index import tables
from ragwright.index.catalog import Catalog
from ragwright.index.reindex import opened
from ragwright.index.verify import Verified, _differences, _verified
from ragwright.settings import Settings

NUMBERS = pa.schema([("number", pa.int64()), ("name", pa.string())])


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(str(tmp_path), "faq")


def numbers(*given: int) -> pa.Table:
    return pa.table({"number": given, "name": [str(number) for number in given]}, schema=NUMBERS)


def test_parts_are_read_by_themselves_and_by_column(catalog: Catalog) -> None:
    with tables.writing(catalog, "some.parquet", NUMBERS) as written:
        for part in (numbers(1, 2), numbers(), numbers(3)):
            written.write(part)
        written.note({"said": "so"})
    assert catalog.read_table("some.parquet").to_pylist() == numbers(1, 2, 3).to_pylist()
    assert tables.facts(catalog, "some.parquet") == tables.Facts(3, {"said": "so"} | _schema_note(catalog))
    second = tables.table_of(tables.batches(catalog, "some.parquet", NUMBERS.names, groups=[1]), NUMBERS)
    assert second.to_pylist() == numbers(3).to_pylist()
    assert [batch.schema.names for batch in tables.batches(catalog, "some.parquet", ["name"])] == [["name"]]


def _schema_note(catalog: Catalog) -> dict[str, str]:
    found = tables.facts(catalog, "some.parquet").metadata
    return {key: value for key, value in found.items() if key == "ARROW:schema"}


def test_what_fails_on_its_way_leaves_what_was_there(catalog: Catalog) -> None:
    with tables.writing(catalog, "some.parquet", NUMBERS) as written:
        written.write(numbers(1))
    with pytest.raises(ZeroDivisionError), tables.writing(catalog, "some.parquet", NUMBERS) as written:
        written.write(numbers(1 // 0))
    assert len(catalog.read_table("some.parquet")) == 1


def test_a_file_that_is_missing_or_damaged(catalog: Catalog) -> None:
    assert tables.facts(catalog, "none.parquet") is None
    assert list(tables.batches(catalog, "none.parquet", ["number"])) == []
    catalog.write("some.parquet", b"not Parquet at all")
    with pytest.raises(CatalogError, match=r"some\.parquet"):
        tables.facts(catalog, "some.parquet")


def test_changes_are_planned_in_small_runs(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ROWS", 3)
    settings = settings.model_copy(update={"source": settings.source.model_copy(update={"partition_rows": 2})})
    edited = [FAQ[5], *FAQ[:5], (FAQ[7][0], "Edited."), *FAQ[8:], ("A new question?", "A new answer.")]
    for rows, embedded in ((FAQ, 12), (edited, 2), (edited[::-1], 0), (FAQ, 2)):
        report = run(settings, write_faq(rows))
        assert report.embedded == embedded
        assert shown(settings) == dict(enumerate(rows))


def test_a_generation_made_from_nothing_is_verified_in_one_reading(settings: Settings, write_faq: Write) -> None:
    generation = run(settings, write_faq(FAQ)).generation
    with opened(settings, generation) as attempt:
        assert _verified(attempt, 3, 0) == Verified(12, 12)
        lines = attempt.table("manifest.parquet")["record_id"].to_pylist()
        attempt.store.delete(attempt.space, lines[4:5])
        assert _differences(attempt) == [f"{lines[4]!r} is shown 0 times"]
        with_stranger = attempt.store.fetch(attempt.space, lines[:1])
        at = with_stranger.schema.get_field_index("record_id")
        attempt.store.upsert(
            attempt.space, with_stranger.set_column(at, with_stranger.schema.field(at), pa.array(["stranger.1"]))
        )
        assert "'stranger.1' is shown and not promised" in _differences(attempt)
