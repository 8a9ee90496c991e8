"""Words, numbers, sentences and their rarity."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragwright.errors import CatalogError
from ragwright.terms import CorpusStatistics, Vocabulary, content_words, numbers, sentences, stem, terms, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("instance", "instances"),
        ("train", "training"),
        ("charge", "charged"),
        ("policy", "policies"),
        ("run", "running"),
        ("region", "region's"),
        ("price", "pricing"),
    ],
)
def test_inflections_of_a_word_share_a_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


@pytest.mark.parametrize(("one", "other"), [("class", "clay"), ("bus", "bu"), ("s3", "s"), ("gas", "ga")])
def test_different_words_keep_apart(one: str, other: str) -> None:
    assert stem(one) != stem(other)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,779 rows cost $0.10", {"1779", "0.10"}),
        ("six Regions, 150+ models", {"6", "150"}),
        ("version 2.0.1.", {"2.0.1"}),
        ("p3.2xlarge", {"3.2"}),
        ("none at all", set()),
        ("١٢ and 12", {"12", "١٢"}),
    ],
)
def test_numbers_are_found_in_digits_and_in_words(text: str, found: set[str]) -> None:
    assert numbers(text) == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes. It does! Does it?", ["Yes.", "It does!", "Does it?"]),
        ("See e.g. Amazon S3. Then go.", ["See e.g. Amazon S3.", "Then go."]),
        ("First line\nsecond line", ["First line", "second line"]),
        ("- a\n\n- b", ["- a", "- b"]),
        ("Version 3.5 is out.", ["Version 3.5 is out."]),
        ("はい。いいえ。", ["はい。", "いいえ。"]),
        ("", []),
    ],
)
def test_sentences_end_where_readers_see_them_end(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@settings(deadline=None)
@given(st.text(max_size=300))
def test_sentences_lose_nothing_but_blanks(text: str) -> None:
    found = sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(sentence.strip() for sentence in found)


def test_scripts_without_spaces_have_a_word_a_character() -> None:
    assert words("東京は") == ["東", "京", "は"]


def test_content_words_leave_out_what_only_asks() -> None:
    assert content_words("Which instances can I use with Spot instances?") == ["instances", "spot"]


def test_a_rarer_term_weighs_more_and_an_unseen_one_most() -> None:
    statistics = CorpusStatistics.from_texts(["spot training", "training", "training jobs", "training"])
    assert statistics.rarity("train") < statistics.rarity("spot") < statistics.rarity("kangaroo") == 1.0
    assert statistics.knows("spot")
    assert not statistics.knows("kangaroo")


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=20))
def test_statistics_come_back_from_a_table_as_they_went_in(texts: list[str]) -> None:
    statistics = CorpusStatistics.from_texts(texts)
    assert CorpusStatistics.from_table(statistics.to_table()) == statistics
    assert all(0 <= statistics.rarity(term) <= 1 for text in texts for term in terms(text))


def test_a_table_of_something_else_is_refused() -> None:
    with pytest.raises(CatalogError, match="not corpus statistics"):
        CorpusStatistics.from_table(pa.table({"term": ["a"]}))


_LETTERS = st.sampled_from("aBé7_' ’-.\n") | st.characters()  # noqa: RUF001
_TEXTS = st.text(_LETTERS) | st.sampled_from(("isn't it's a's' 'tis", "a'b'c", "runs running"))


@given(st.lists(_TEXTS))
def test_a_vocabulary_finds_the_terms_of_each_text(texts: list[str]) -> None:
    vocabulary = Vocabulary()
    assert [vocabulary.terms(text) for text in texts] == [set(terms(text)) for text in texts]
    assert [vocabulary.listed(text) for text in texts] == [terms(text) for text in texts]
