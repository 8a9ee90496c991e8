"""Typing errors are read past; names the FAQ does not have stay what they are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ragwright.spelling import correct
from ragwright.terms import CorpusStatistics

TEXTS = ["How does the Inference Recommender of SageMaker work?", "Studio notebooks, trust and training costs."]
STATISTICS = CorpusStatistics.from_texts(TEXTS)
REAL_WORDS = {"rust", "studios", "worn"}


def pieces(words: Sequence[str]) -> list[int]:
    return [1 if word.lower() in REAL_WORDS else 2 for word in words]


@pytest.mark.parametrize(
    ("question", "meant"),
    [
        ("what is infernce recomender doing", "what is inference recommender doing"),
        ("Sagmaker Studoi?", "sagemaker studio?"),
        ("trianing cost", "training cost"),
    ],
)
def test_a_slip_in_a_word_of_the_sections_is_put_right(question: str, meant: str) -> None:
    assert correct(question, TEXTS, STATISTICS, pieces) == meant


@pytest.mark.parametrize(
    "question",
    [
        "Does it work with Rust?",  # a word of its own, though "trust" is near
        "Is Kendra part of it?",  # nothing near
        "Does it train on tpus?",  # near only to another first letter
        "Does SageMaker work?",  # nothing unknown
        "ml.p4d or ml.p5?",  # not words
        "",
    ],
)
def test_what_is_no_slip_stays_as_it_was_asked(question: str) -> None:
    assert correct(question, TEXTS, STATISTICS, pieces) == question


def test_of_two_words_as_near_neither_is_guessed() -> None:
    texts = ["a boat", "a boot"]
    assert correct("a bolt or boet", texts, CorpusStatistics.from_texts(texts), pieces) == "a bolt or boet"


def test_a_corpus_that_was_not_counted_corrects_nothing() -> None:
    assert correct("infernce", TEXTS, CorpusStatistics(), pieces) == "infernce"
