"""A reader that lives long: it follows the log, and questions do not wait for the generation that comes next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_index import FAQ, Write, run

from ragwright.embedding import open_embedder
from ragwright.errors import StoreError
from ragwright.index import reader as reader_module
from ragwright.index import writing
from ragwright.index.attempt import open_catalog
from ragwright.index.history import rollback
from ragwright.index.reader import IndexReader
from ragwright.settings import Settings
from ragwright.stores.lancedb import LanceDBStore

pytestmark = pytest.mark.usefixtures("cheap_validation")

NEW = [*FAQ[:11], (FAQ[11][0], "Thing 11 is new.")]
QUESTION = "What is thing number 11?"


class SlowStore(LanceDBStore):
    """Reads ahead when it is let, and fails when it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may_read, self.fails = threading.Event(), False
        self.may_read.set()
        self.held: list[int] = []

    def hold(self, space: str, as_of: int) -> None:
        assert self.may_read.wait(30)
        if self.fails:
            raise StoreError("the disk is on fire.")
        super().hold(space, as_of)
        self.held.append(as_of)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(reader_module, "HEAD_TTL", -1.0)
    monkeypatch.setattr(writing, "HEAD_TTL", -1.0)
    return Settings(
        home=tmp_path / "home",
        embedding={"endpoint": "hashing:64"},
        generation={"endpoint": "none"},
        answering={"calibration_rows": 0},
    )


@contextmanager
def open_reader(settings: Settings) -> Iterator[tuple[IndexReader, SlowStore]]:
    with (
        open_catalog(settings) as catalog,
        SlowStore(settings.home / "store") as store,
        open_embedder(settings) as embedder,
    ):
        yield IndexReader(catalog, store, embedder), store


def answer(reader: IndexReader) -> tuple[int, str]:
    found = reader.search(QUESTION, 1)
    return found.generation, found.matches[0].text


def until(reader: IndexReader, generation: int) -> None:
    for thread in threading.enumerate():
        if thread.name == "next-generation":
            thread.join(30)
    assert reader.generation == generation


OLD_ANSWER, NEW_ANSWER = FAQ[11][1], NEW[11][1]


def test_questions_are_answered_from_the_generation_before_while_the_next_is_read(
    settings: Settings, write_faq: Write
) -> None:
    run(settings, write_faq(FAQ))
    with open_reader(settings) as (reader, store):
        assert answer(reader) == (1, OLD_ANSWER)
        run(settings, write_faq(NEW))
        store.may_read.clear()
        assert [answer(reader) for _ in range(3)] == [(1, OLD_ANSWER)] * 3
        store.may_read.set()
        until(reader, 2)
        assert answer(reader) == (2, NEW_ANSWER)
        assert store.held == [1, 2]


def test_a_generation_that_was_given_up_answers_nothing_more(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    run(settings, write_faq(NEW))
    with open_reader(settings) as (reader, _):
        assert answer(reader) == (2, NEW_ANSWER)
        with open_catalog(settings) as catalog:
            rollback(catalog, None, reason="a test")
        assert answer(reader) == (1, OLD_ANSWER)


def test_a_reader_that_nobody_asked_for_long_waits_for_the_next_generation(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings, write_faq(FAQ))
    with open_reader(settings) as (reader, _):
        assert answer(reader) == (1, OLD_ANSWER)
        run(settings, write_faq(NEW))
        monkeypatch.setattr(reader_module, "_BEHIND", 0.0)
        assert answer(reader) == (2, NEW_ANSWER)


def test_what_goes_wrong_in_reading_ahead_is_told_to_who_asks_and_tried_again(
    settings: Settings, write_faq: Write, caplog: pytest.LogCaptureFixture
) -> None:
    run(settings, write_faq(FAQ))
    with open_reader(settings) as (reader, store):
        assert answer(reader) == (1, OLD_ANSWER)
        run(settings, write_faq(NEW))
        store.fails = True
        assert answer(reader) == (1, OLD_ANSWER)
        with pytest.raises(StoreError, match="on fire"):
            until(reader, 2)
        assert "generation 2 cannot be read ahead" in caplog.text
        store.fails = False
        until(reader, 1)  # it is being read again
        until(reader, 2)
