"""Rows hidden from a question: out of the matches, out of the word counts, and never by pretence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ragwright.answering import I_DONT_KNOW, Answer, Citation, Retrieved
from ragwright.documents import Match
from ragwright.errors import ConfigurationError
from ragwright.evaluation.holdout import WithoutHidden, hiding
from ragwright.evaluation.questions import Question, QuestionSet
from ragwright.evaluation.run import evaluate
from ragwright.terms import CorpusStatistics

TEXTS = {f"k{n}": (f"What is thing {n}?", f"Thing {n} has colour {n}.") for n in range(6)}
COUNTED = CorpusStatistics.from_texts(f"{question}\n{text}" for question, text in TEXTS.values())


class Shelf:
    """Finds two sections of every row, always in the same order; remembers how many it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def search(self, question: str, k: int) -> Retrieved:
        self.asked.append(k)
        matches = [
            Match(f"{key}.{part}", f"{key}.{part}", key, int(key[1:]), part, 2, title, text, 0.5)
            for key, (title, text) in TEXTS.items()
            for part in range(2)
        ]
        return Retrieved(1, tuple(matches[:k]), np.zeros(2, np.float32), COUNTED)


def rows(found: Retrieved) -> list[str]:
    return [match.row_key for match in found.matches]


def test_nothing_changes_while_nothing_is_hidden() -> None:
    shelf = Shelf()
    assert rows(WithoutHidden(shelf).search("thing?", 3)) == ["k0", "k0", "k1"]
    assert shelf.asked == [3]


@pytest.mark.parametrize("name", ["k0", "K0", "What is thing 0?", "what is THING 0"])
def test_a_hidden_row_makes_room_for_the_next_ones(name: str) -> None:
    with hiding([name]):
        assert rows(WithoutHidden(Shelf()).search("thing?", 4)) == ["k1", "k1", "k2", "k2"]


def test_as_many_rows_are_found_however_many_are_hidden() -> None:
    with hiding(["k0", "k1", "k2", "k3"]):
        assert rows(WithoutHidden(Shelf()).search("thing?", 3)) == ["k4", "k4", "k5"]
    with hiding(TEXTS):
        assert rows(WithoutHidden(Shelf()).search("thing?", 3)) == []


def test_what_is_found_beyond_the_number_asked_for_is_kept_beyond_it() -> None:
    class Generous(Shelf):
        def search(self, question: str, k: int) -> Retrieved:
            return super().search(question, k + 3)

    assert rows(WithoutHidden(Generous()).search("thing?", 1)) == ["k0", "k0", "k1", "k1"]
    with hiding(["k0"]):
        # Of the two asked for nothing is left, so four are asked for; the fifth to the seventh are beyond.
        assert rows(WithoutHidden(Generous()).search("thing?", 1)) == ["k1", "k2", "k2", "k3"]


def test_the_words_of_a_hidden_row_are_not_counted() -> None:
    with hiding(["k2"]):
        found = WithoutHidden(Shelf()).search("thing?", 5)
    kept = (f"{question}\n{text}" for key, (question, text) in TEXTS.items() if key != "k2")
    assert found.statistics == CorpusStatistics.from_texts(kept)
    assert COUNTED.knows("2")


def test_each_thread_hides_rows_of_its_own() -> None:
    retriever = WithoutHidden(Shelf())

    def first(key: str) -> str:
        with hiding([key]):
            return rows(retriever.search("thing?", 1))[0]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(first, ["k0", "k5"] * 50)) == ["k1", "k0"] * 50


class FromShelf:
    """Never knows; its ranking is what it found."""

    def __init__(self, retriever: Shelf | WithoutHidden) -> None:
        self.retriever = retriever

    def answer(self, question: str) -> Answer:
        matches = self.retriever.search(question, 2).matches
        ranking = tuple(Citation(m.row, m.row_key, m.score, m.question, m.text) for m in matches)
        return Answer(question, I_DONT_KNOW, True, "", (), 1, {"total": 1.0}, ranking=ranking)


HELD_OUT = QuestionSet((Question("h1", "What is thing 0?", False, "held-out", without=("k0",)),))


def test_an_evaluation_asks_without_the_hidden_rows() -> None:
    result = evaluate(FromShelf(WithoutHidden(Shelf())), HELD_OUT).results[0]
    assert result.correct
    assert result.retrieved == ("What is thing 1?", "What is thing 1?")


def test_an_answerer_that_shows_hidden_rows_ends_the_evaluation() -> None:
    with pytest.raises(ConfigurationError, match="'h1'"):
        evaluate(FromShelf(Shelf()), HELD_OUT)
