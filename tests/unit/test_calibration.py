"""Fitting the answerability model without labels: what is held out, what the threshold keeps, what few rows do."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.abstention import Calibration, default_models
from ragwright.answering import Retrieved
from ragwright.calibration import _scale, _threshold, calibrate
from ragwright.documents import Match
from ragwright.embedding import HashingEmbedder, TokenVectors
from ragwright.errors import Unavailable
from ragwright.evaluation.everyday import QUESTIONS
from ragwright.index.calibrating import affordable
from ragwright.progress import silent
from ragwright.reading import Reader
from ragwright.settings import AnsweringSettings
from ragwright.terms import CorpusStatistics

EMBEDDER = HashingEmbedder(256)
ROWS = [(f"key-{n}", f"How do I set up widget {n} in colour {n % 7}?", f"Turn knob {n} twice.") for n in range(40)]


class Corpus:
    """Rows in memory; remembers what was asked of it."""

    def __init__(self, rows: Sequence[tuple[str, str, str]]) -> None:
        self.rows = list(rows)
        self.vectors = EMBEDDER.embed([f"{question}\n{answer}" for _, question, answer in self.rows])
        self.statistics = CorpusStatistics.from_texts(f"{question}\n{answer}" for _, question, answer in self.rows)
        self.asked: list[tuple[str, int]] = []

    def search(self, question: str, k: int) -> Retrieved:
        self.asked.append((question, k))
        query = EMBEDDER.embed([question])[0]
        scores = self.vectors @ query
        matches = [
            Match(str(n), str(n), self.rows[n][0], int(n), 0, 1, self.rows[n][1], self.rows[n][2], float(scores[n]))
            for n in np.argsort(-scores)[:k]
        ]
        return Retrieved(1, matches, query, self.statistics)


def fitted(rows: Sequence[tuple[str, str, str]], **options: float) -> Calibration:
    corpus = Corpus(rows) if rows else None
    questions = [(key, question) for key, question, _ in rows]
    settings = AnsweringSettings(**options)
    retriever = corpus or Corpus(ROWS[:1])
    return calibrate(retriever, Reader(EMBEDDER), questions, QUESTIONS, settings, records=len(rows), progress=silent)


def test_every_row_is_held_out_once_and_everyday_questions_are_asked() -> None:
    found = fitted(ROWS)
    assert (found.held_out, found.unrelated, found.records, found.by_word) == (40, len(QUESTIONS), 40, False)


def test_a_held_out_row_is_not_among_the_evidence() -> None:
    """Were it there, its own question would be as similar as can be."""
    assert fitted(ROWS).scales["question_similarity"].centre < 0.95


def test_rows_that_ask_the_same_are_put_aside_together() -> None:
    twins = [
        row for key, question, answer in ROWS for row in ((key, question, answer), (f"{key}b", question, "Other."))
    ]
    assert fitted(twins).scales["question_similarity"].centre < 0.95


def test_it_is_the_same_every_time() -> None:
    assert fitted(ROWS) == fitted(ROWS)


@pytest.mark.parametrize("most", [0.05, 0.25])
def test_with_many_rows_the_threshold_keeps_the_operating_point(most: float) -> None:
    rows = [(f"{n}", f"How do I set up widget {n} in colour {n % 7}?", f"Turn knob {n} twice.") for n in range(400)]
    assert fitted(rows, max_false_answer_rate=most).false_answer_rate == pytest.approx(most, abs=0.05)


def test_nothing_is_answered_that_is_more_likely_left_open() -> None:
    assert fitted(ROWS, max_false_answer_rate=1.0).threshold == 0.5


def test_a_stricter_operating_point_never_answers_more() -> None:
    strict, lax = fitted(ROWS, max_false_answer_rate=0.05), fitted(ROWS, max_false_answer_rate=0.5)
    assert strict.threshold >= lax.threshold


@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_a_handful_of_rows_is_judged_nearly_by_default(count: int) -> None:
    found = fitted(ROWS[:count])
    default = default_models().by_text
    assert found.held_out == (0 if count < 2 else count)
    for name, scale in found.scales.items():
        assert scale.spread > 0
        assert abs(scale.centre - default.scales[name].centre) < 0.3
    assert 0.05 < found.threshold < 0.95


def test_an_empty_index_has_nothing_to_hold_out() -> None:
    class Empty(Corpus):
        def search(self, question: str, k: int) -> Retrieved:
            return replace(super().search(question, k), matches=())

    found = calibrate(
        Empty(ROWS[:1]), Reader(EMBEDDER), [("key-0", "Q?")], QUESTIONS, AnsweringSettings(), records=1, progress=silent
    )
    assert (found.held_out, found.unrelated) == (0, 0)
    assert found.threshold == pytest.approx(default_models().by_text.threshold)


@given(st.lists(st.floats(0, 1), max_size=30), st.lists(st.floats(0, 1), max_size=30), st.floats(0, 1))
def test_the_threshold_is_a_probability_between_what_was_fitted_and_the_default(
    near_misses: list[float], others: list[float], most: float
) -> None:
    threshold = _threshold([np.array(near_misses), np.array(others)], most, prior=0.5)
    assert 0 < threshold < 1
    if not near_misses:
        assert threshold == pytest.approx(0.5)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=50))
def test_a_scale_lies_between_the_corpus_and_what_is_known_of_others(values: list[float]) -> None:
    prior = default_models().by_word.scales["likeness"]
    found = _scale(values, prior)
    low, high = sorted((float(np.mean(values)), prior.centre))
    assert low - 1e-9 <= found.centre <= high + 1e-9
    assert found.spread > 0


@pytest.mark.parametrize(
    ("records", "expected"),
    [(160, 150), (1_000, 150), (1_001, 43), (20_000, 43), (40_000, 86), (1_500_000, 150)],
)
def test_questions_that_are_held_out_read_a_small_share_of_a_large_faq(records: int, expected: int) -> None:
    assert affordable(AnsweringSettings(), records) == expected


def test_a_setting_below_what_is_affordable_holds() -> None:
    assert affordable(AnsweringSettings(calibration_rows=12), 5_000) == 12


class ByWord(HashingEmbedder):
    """Gives each word of a text its own vector; `meanwhile` is called with each list of texts before it answers."""

    def __init__(self, meanwhile: Callable[[Sequence[str]], None] = lambda texts: None) -> None:
        super().__init__(256)
        self.meanwhile = meanwhile

    def token_vectors(self, texts: Sequence[str]) -> list[TokenVectors]:
        self.meanwhile(texts)
        return [self._words(text) for text in texts]

    def _words(self, text: str) -> TokenVectors:
        spans = [(found.start(), found.end()) for found in re.finditer(r"\w+", text)]
        return TokenVectors(self.embed([text[start:end] for start, end in spans]), np.array(spans, np.int32))


def fitted_by_word(embedder: ByWord) -> Calibration:
    questions = [(key, question) for key, question, _ in ROWS]
    return calibrate(Corpus(ROWS), Reader(embedder), questions, QUESTIONS[:10], AnsweringSettings(), records=40)


@pytest.mark.parametrize(("searched", "together"), [(1, 1), (7, 30), (1_000, 10_000)])
def test_questions_read_together_are_judged_as_one_by_one(
    monkeypatch: pytest.MonkeyPatch, searched: int, together: int
) -> None:
    by_text, by_word = fitted(ROWS), fitted_by_word(ByWord())
    monkeypatch.setattr("ragwright.calibration._SEARCHED", searched)
    monkeypatch.setattr("ragwright.calibration._TOGETHER", together)
    assert fitted(ROWS) == by_text
    again = fitted_by_word(ByWord())
    assert (by_word.by_word, again.threshold) == (True, pytest.approx(by_word.threshold, abs=1e-5))
    for name, scale in by_word.scales.items():
        assert again.scales[name].centre == pytest.approx(scale.centre, abs=1e-6)
        assert again.scales[name].spread == pytest.approx(scale.spread, abs=1e-6)


class Steps:
    """Notes what the encoder is asked for, sections or a question, in order."""

    def __init__(self) -> None:
        self.groups = self.questions = 0
        self.changed = threading.Condition()

    def __call__(self, texts: Sequence[str]) -> None:
        with self.changed:
            if len(texts) > 1:
                self.groups += 1
            else:
                self.questions += 1
            self.changed.notify_all()

    def until(self, holds: Callable[[], bool]) -> bool:
        with self.changed:
            return self.changed.wait_for(holds, timeout=10)


def reading_ahead() -> bool:
    return any(thread.name.startswith("read-ahead") for thread in threading.enumerate())


def test_while_a_group_is_read_the_next_is_asked_for_and_no_other() -> None:
    steps, most = Steps(), []

    def meanwhile(texts: Sequence[str]) -> None:
        steps(texts)
        if len(texts) == 1 and steps.questions == 1:
            assert steps.until(lambda: steps.groups == 2)
        most.append((steps.questions, steps.groups))

    fitted_by_word(ByWord(meanwhile))
    # A group is four questions of 23 sections: before the fifth is read nobody asks for a third one.
    assert max(groups for questions, groups in most if questions <= 4) == 2
    assert not reading_ahead()


def test_what_goes_wrong_ahead_is_raised_in_its_turn() -> None:
    steps = Steps()

    def meanwhile(texts: Sequence[str]) -> None:
        steps(texts)
        if len(texts) > 1 and steps.groups == 2:
            raise Unavailable("the server has gone")

    with pytest.raises(Unavailable, match="the server has gone"):
        fitted_by_word(ByWord(meanwhile))
    assert (steps.questions, reading_ahead()) == (4, False)


@pytest.mark.parametrize("error", [Unavailable("the server has gone"), KeyboardInterrupt()])
def test_nothing_goes_on_after_a_failure(error: BaseException) -> None:
    steps, ended = Steps(), []

    def meanwhile(texts: Sequence[str]) -> None:
        steps(texts)
        if len(texts) == 1:
            assert steps.until(lambda: steps.groups == 2)
            raise error
        if steps.groups == 2:
            steps.until(lambda: steps.questions == 1)
        ended.append(len(texts))

    with pytest.raises(type(error)):
        fitted_by_word(ByWord(meanwhile))
    assert (len(ended), steps.groups, reading_ahead()) == (2, 2, False)
