"""Fitting sections into a budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from ragwright.documents import Match
from ragwright.packing import Section, pack, sections


def count_words(texts: Sequence[str]) -> npt.NDArray[np.int32]:
    return np.array([len(text.split()) + 2 for text in texts], np.int32)


def match(key: str, part: int, text: str, score: float) -> Match:
    return Match(f"{key}.{part}", f"{key}-{part}", key, int(key), part, 9, f"Question {key}?", text, score)


def section(key: int, text: str, score: float = 0.5) -> Section:
    return Section(key, str(key), f"Question {key}?", text, score)


def test_neighbouring_parts_of_a_row_are_joined_in_order_without_their_overlap() -> None:
    found = [
        match("1", 2, "The third part begins here. And ends.", 0.9),
        match("2", 0, "Another row.", 0.8),
        match("1", 1, "The second part. The third part begins here.", 0.7),
    ]
    joined = sections(found)
    assert [item.row for item in joined] == [1, 2]
    assert joined[0].text == "The second part. The third part begins here. And ends."
    assert joined[0].score == 0.9


def test_parts_of_a_row_with_a_gap_between_them_stay_apart() -> None:
    joined = sections([match("1", 0, "Start.", 0.5), match("1", 4, "End.", 0.6)])
    assert [item.text for item in joined] == ["End.", "Start."]


def test_the_same_part_found_twice_counts_once() -> None:
    assert len(sections([match("1", 0, "Start.", 0.6), match("1", 0, "Start.", 0.5)])) == 1


def test_a_section_too_long_is_cut_at_a_sentence_and_those_after_it_still_fit() -> None:
    long = " ".join(f"Sentence number {n} is here." for n in range(40))
    packed = pack([section(0, long), section(1, "Short and useful.")], 60, count_words)
    assert [item.row for item in packed] == [0, 1]
    assert packed[0].text.endswith("is here.")
    assert long.startswith(packed[0].text)
    assert packed[1].text == "Short and useful."


def test_one_endless_sentence_is_cut_at_a_word_rather_than_dropped() -> None:
    packed = pack([section(0, "word " * 500)], 50, count_words)
    assert 30 <= len(packed[0].text.split()) <= 48


def test_one_endless_word_does_not_keep_the_next_section_out() -> None:
    def count_characters(texts: Sequence[str]) -> npt.NDArray[np.int32]:
        return np.array([len(text) for text in texts], np.int32)

    packed = pack([section(0, "x" * 5_000), section(1, "Short.")], 100, count_characters)
    assert [item.row for item in packed] == [0, 1]


def test_nothing_found_packs_to_nothing() -> None:
    assert pack([], 100, count_words) == []


TEXTS = st.lists(
    st.lists(st.sampled_from(["word", "end.", "Next", "1.5", "e.g.", "\n"]), max_size=60).map(" ".join), max_size=6
)


@settings(deadline=None)
@given(TEXTS, st.integers(10, 120))
def test_packing_keeps_the_budget_the_order_and_the_words(texts: list[str], budget: int) -> None:
    candidates = [section(number, text) for number, text in enumerate(texts)]
    packed = pack(candidates, budget, count_words)
    assert count_words([item.full_text for item in packed]).sum() <= budget
    assert [item.row for item in packed] == sorted(item.row for item in packed)
    assert all(candidates[item.row].text.startswith(item.text) for item in packed)
    if candidates and count_words([candidates[0].full_text])[0] <= budget:
        assert packed[0] == candidates[0]
