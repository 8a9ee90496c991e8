"""Sections that only their words find become candidates, and look like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from small_index import FAQ, Write, run

from ragwright.assembly import open_answerer
from ragwright.documents import Match
from ragwright.embedding import open_embedder
from ragwright.errors import ConfigurationError
from ragwright.hashing import hash_embed
from ragwright.index.attempt import open_catalog
from ragwright.index.reader import IndexReader
from ragwright.settings import Settings, load_settings
from ragwright.stores import open_store
from ragwright.stores.views import Views

pytestmark = pytest.mark.usefixtures("cheap_validation")

RARE = ("Who keeps the books?", "The clerk of Zanzibar does.")
QUESTION = "What is thing number 3, in Zanzibar?"


@contextmanager
def open_reader(settings: Settings, **options: int) -> Iterator[IndexReader]:
    with (
        open_catalog(settings) as catalog,
        open_store(settings.store_spec) as store,
        open_embedder(settings) as embedder,
    ):
        yield IndexReader(catalog, store, embedder, **options)


def search(settings: Settings, k: int, **options: int) -> list[Match]:
    with open_reader(settings, **options) as reader:
        return list(reader.search(QUESTION, k).matches)


def test_a_row_that_only_words_find_becomes_a_candidate_with_its_cosine(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq([*FAQ, RARE]))
    near = search(settings, 2)
    assert [match.question for match in near] == [FAQ[3][0], near[1].question]
    assert RARE[0] not in {match.question for match in near}
    found = search(settings, 2, lexical=1)
    assert found[:2] == near
    assert [(match.question, match.row) for match in found[2:]] == [(RARE[0], 12)]
    asked, stored = hash_embed([QUESTION, "\n".join(RARE)], 64)
    assert found[2].score == pytest.approx(float(asked @ stored), abs=1e-6)


@pytest.mark.parametrize("lexical", [1, 5, 13, 200])
def test_no_section_comes_twice_and_every_score_is_the_one_that_a_search_by_meaning_gives(
    settings: Settings, write_faq: Write, lexical: int
) -> None:
    run(settings, write_faq([*FAQ, RARE]))
    every = {match.record_id: match for match in search(settings, 99)}
    for k in (1, 4, 13, 99):
        found = search(settings, k, lexical=lexical)
        assert len(found) == len({match.record_id for match in found}) <= k + lexical
        assert found == [every[match.record_id] for match in found]
        assert np.all(np.diff([match.score for match in found]) <= 0)


@pytest.mark.parametrize("lexical", [0, 3])
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_many_questions_at_once_find_what_each_alone_does(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch, where: str, lexical: int
) -> None:
    run(settings, write_faq([*FAQ, RARE]))
    if where == "disk":
        monkeypatch.setattr(Views, "fits", lambda *_: False)
    asked = [(QUESTION, 2), ("Who keeps the books?", 1), ("!", 4), (QUESTION, 5)]
    with open_reader(settings, lexical=lexical) as reader:
        for (question, k), found in zip(asked, reader.search_many(asked), strict=True):
            alone = reader.search(question, k)
            assert found.matches == alone.matches
            assert (found.generation, found.statistics) == (alone.generation, alone.statistics)
            assert np.array_equal(found.query_vector, alone.query_vector)
        assert reader.search_many([]) == []


def test_row_numbers_are_those_of_the_generation_that_is_read(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq([*FAQ, RARE]))
    run(settings, write_faq([RARE, *FAQ]))
    assert [(match.question, match.row) for match in search(settings, 1, lexical=1)[1:]] == [(RARE[0], 0)]


def test_words_are_looked_for_in_the_generation_that_is_read(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq([*FAQ, RARE]))
    run(settings, write_faq([*FAQ, (RARE[0], "Nobody does."), ("Where?", "In Zanzibar, Zanzibar, Zanzibar.")]))
    assert search(settings, 1, lexical=1)[1].question == "Where?"
    assert search(settings, 1, lexical=1, generation=1)[1].question == RARE[0]


def test_a_question_without_known_words_is_searched_by_meaning_alone(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    with open_reader(settings, lexical=9) as reader:
        for question in ("what is the", "???", '"AND ('):
            assert len(reader.search(question, 3).matches) == 3


def test_the_setting_reaches_the_answer(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq([*FAQ, RARE]))

    def offered(lexical: int) -> list[str]:
        answering = settings.answering.model_copy(update={"candidates": 1, "top_k": 1, "lexical_candidates": lexical})
        with open_answerer(settings.model_copy(update={"answering": answering})) as answerer:
            return sorted(citation.question for citation in answerer.answer(QUESTION).ranking)

    assert offered(0) == [FAQ[3][0]]
    assert offered(1) == [FAQ[3][0], RARE[0]]


@pytest.mark.parametrize("number", [-1, 201])
def test_a_number_out_of_bounds_is_refused(number: int) -> None:
    with pytest.raises(ConfigurationError, match="lexical_candidates"):
        load_settings(answering={"lexical_candidates": number})
