from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.stores import words

TEXTS = st.lists(st.none() | st.lists(st.sampled_from("bcdef"), max_size=6).map(" ".join), max_size=12)


def test_scores_are_those_of_the_formula() -> None:
    run = words.Postings.of(["red red fox", "red", "", "hen"])
    scores = words.scores([run], np.array([True] * 4), ["red", "fox", "wolf"])
    mean = 5 / 4
    red, fox = math.log(1 + 2.5 / 2.5), math.log(1 + 3.5 / 1.5)
    long, short = (1.2 * (0.25 + 0.75 * length / mean) for length in (3, 1))
    first = red * 2 * 2.2 / (2 + long) + fox * 2.2 / (1 + long)
    assert scores.tolist() == pytest.approx([first, red * 2.2 / (1 + short), 0, 0])


@given(TEXTS, st.lists(st.sampled_from("bcdefg"), max_size=4, unique=True), st.integers(0, 12), st.randoms())
def test_runs_and_a_choice_of_terms_change_nothing(
    texts: list[str | None], wanted: list[str], cut: int, chance: object
) -> None:
    visible = np.array([text is not None and chance.random() < 0.7 for text in texts], bool)
    whole = words.scores([words.Postings.of(texts)], visible, wanted)
    for only in (None, wanted):
        runs = [words.Postings.of(part, only=only) for part in (texts[:cut], texts[cut:])]
        assert words.scores(runs, visible, wanted).tolist() == whole.tolist()
    shares = [seen and any(term in (text or "") for term in wanted) for seen, text in zip(visible, texts, strict=True)]
    assert (whole > 0).tolist() == shares


def test_texts_that_are_not_known_are_told_from_empty_ones() -> None:
    assert words.Postings.of(["red fox", None, ""]).lengths.tolist() == [2, -1, 0]


def test_candidates_are_the_best_with_every_tie_and_none_that_shares_nothing() -> None:
    scores = np.array([0, 3, 1, 0, 3, 2.0])
    assert [words.candidates(scores, k).tolist() for k in (1, 2, 3, 9)] == [[1, 4], [1, 4], [1, 4, 5], [1, 2, 4, 5]]
