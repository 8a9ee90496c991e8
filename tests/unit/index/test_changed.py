"""Re-indexing a changed source leaves what an index built from scratch would have."""

from __future__ import annotations

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as testing
from hypothesis import strategies as st
from small_index import run

from ragwright.index.attempt import manifest_of, open_catalog
from ragwright.index.catalog import folder
from ragwright.settings import QualitySettings, Settings, SourceSettings

QUESTIONS = [f"What is thing number {n}?" for n in range(6)]
ANSWERS = ["It's the first of them.", "It’s the naïve one.", "The last thing, running.", " ", "Bad \ufffd text."]  # noqa: RUF001

faqs = st.lists(st.tuples(st.sampled_from(QUESTIONS), st.sampled_from(ANSWERS)), max_size=12).map(
    lambda rows: [*rows, ("Is there a row that is always fit?", "Yes, this one.")]
)


def settings_at(home: Path) -> Settings:
    return Settings(
        home=home,
        store=f"memory:{home}",
        embedding={"endpoint": "hashing:16"},
        generation={"endpoint": "none"},
        source=SourceSettings(partition_rows=5),
        quality=QualitySettings(max_bad_share=1),
    )


def left_behind(settings: Settings, generation: int) -> dict[str, list[object]]:
    with open_catalog(settings) as catalog:
        tables: dict[str, pa.Table | None] = {
            name: catalog.read_table(f"{folder(generation)}/{name}.parquet")
            for name in ("quarantine", "warnings", "statistics")
        }
        tables["manifest"] = manifest_of(catalog, generation).drop_columns(["record_id", "born"])
    found = {name: table.to_pylist() for name, table in tables.items() if table is not None}
    assert len(found) == 4
    return found


@pytest.mark.long
@pytest.mark.slow
@testing(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(faqs, min_size=2, max_size=3))
def test_verdicts_statistics_and_manifest_are_those_of_a_new_index(versions: list[list[tuple[str, str]]]) -> None:
    with TemporaryDirectory() as name:
        place = Path(name)
        for number, rows in enumerate(versions, 1):
            with (place / "faq.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("question", "answer"), *rows])
            report = run(settings_at(place / "kept"), str(place / "faq.csv"), allow_mass_delete=True)
            assert report.generation == number
            fresh = run(settings_at(place / f"new-{number}"), str(place / "faq.csv"))
            assert left_behind(settings_at(place / "kept"), number) == left_behind(
                settings_at(place / f"new-{number}"), 1
            )
            assert report.quality == fresh.quality
