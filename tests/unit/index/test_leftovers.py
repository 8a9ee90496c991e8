"""Half-written files of killed writers: nobody reads them, and they go."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_index import FAQ, Write, run, shown

from ragwright.index.attempt import open_catalog
from ragwright.index.catalog import Catalog
from ragwright.index.leftovers import unfinished_files
from ragwright.index.reindex import writer_lease
from ragwright.index.vacuum import vacuum
from ragwright.settings import Settings
from ragwright.stores import open_store

pytestmark = pytest.mark.usefixtures("cheap_validation")


def leave(settings: Settings, *names: str) -> list[Path]:
    """What a writer leaves that was killed while it wrote these files of the catalog."""
    files = [Path(settings.catalog_url) / settings.index / f"{name}#1" for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"ha")
    return files


def test_the_next_run_removes_what_a_killed_one_left(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    # Killed while it noted its end, and the next one at its begin.
    left = leave(settings, "generations/00000001/end.json", "generations/00000002/begin.json")
    run(settings, write_faq(FAQ))
    with open_catalog(settings) as catalog:
        assert catalog.attempts() == [1, 3]
    assert [file for file in left if file.exists()] == []
    assert shown(settings) == dict(enumerate(FAQ))


def test_vacuum_removes_all_of_it(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    run(settings, write_faq(FAQ))
    left = leave(settings, "generations/00000001/plan.parquet", "log/00000003.json", "writer/00000003.json")
    with open_catalog(settings) as catalog:
        assert set(unfinished_files(catalog)) == set(left)
        assert catalog.names("log") == ["00000001.json", "00000002.json"]
        with open_store(settings.store_spec) as store, writer_lease(settings) as lease:
            assert vacuum(catalog, store, lease, keep=2, settle=0).files >= 3
        assert unfinished_files(catalog) == []
    assert shown(settings) == dict(enumerate(FAQ))


def test_an_index_whose_name_holds_the_sign_is_not_mistaken(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path / "a#1"), "faq")
    catalog.write("log/00000001.json", b"{}")
    assert unfinished_files(catalog) == []
    assert unfinished_files(Catalog("s3://bucket/prefix", "faq")) == []
