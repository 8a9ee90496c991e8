from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragwright.folders import files_under


@pytest.fixture
def restless(tmp_path: Path) -> Iterator[Path]:
    """A folder with one lasting file, and folders beside it that come and go all the time, as pip's do."""
    lasting = tmp_path / "a" / "lasting"
    lasting.parent.mkdir()
    lasting.touch()
    enough = threading.Event()

    def come_and_go() -> None:
        while not enough.is_set():
            inner = tmp_path / "b" / "c"
            inner.mkdir(parents=True)
            (inner / "short-lived").touch()
            (inner / "short-lived").unlink()
            inner.rmdir()
            inner.parent.rmdir()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    yield tmp_path
    enough.set()
    thread.join()


def test_what_lasts_is_found_while_other_folders_come_and_go(restless: Path) -> None:
    for _ in range(2000):
        assert restless / "a" / "lasting" in set(files_under(restless))


def test_every_file_is_found_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").touch()
    (tmp_path / ".d").touch()
    assert set(files_under(tmp_path)) == {tmp_path / "a" / "b" / "c", tmp_path / ".d"}


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert list(files_under(tmp_path / "nowhere")) == []
