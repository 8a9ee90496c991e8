"""The answerability model: what evidence it takes, which way each piece counts, and that it is always sane."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragwright.abstention import AnswerabilityModel, Evidence, default_model, gather
from ragwright.packing import Section
from ragwright.reading import Reading
from ragwright.terms import CorpusStatistics

TYPICAL = Evidence(
    section_similarity=0.6,
    question_similarity=0.6,
    sentence_similarity=0.55,
    margin=0.05,
    coverage=0.5,
    meaning_coverage=0.7,
    unseen=0.1,
    sections=5,
)
SHARES = st.floats(0, 1)
COSINES = st.floats(-1, 1)
EVIDENCE = st.builds(
    Evidence,
    section_similarity=COSINES,
    question_similarity=COSINES,
    sentence_similarity=COSINES,
    margin=st.floats(0, 0.2),
    coverage=SHARES,
    meaning_coverage=SHARES,
    unseen=SHARES,
    sections=st.integers(1, 20),
)


def reading(question: str, text: str, *, key: str, score: float, question_similarity: float, meaning: float) -> Reading:
    return Reading(
        Section(0, key, question, text, score),
        question_similarity,
        (text,),
        np.eye(1, 4, dtype=np.float32),
        np.array([score], np.float32),
        meaning,
        meaning,
    )


@pytest.mark.parametrize(
    "name", ["question_similarity", "sentence_similarity", "margin", "coverage", "meaning_coverage"]
)
def test_more_of_what_speaks_for_an_answer_never_makes_it_less_likely(name: str) -> None:
    model = default_model()
    more = replace(TYPICAL, **{name: getattr(TYPICAL, name) + 0.1})
    assert model.decide(more).probability > model.decide(TYPICAL).probability


def test_words_the_corpus_never_saw_speak_against_an_answer() -> None:
    model = default_model()
    assert model.decide(replace(TYPICAL, unseen=0.6)).probability < model.decide(TYPICAL).probability


@settings(deadline=None)
@given(EVIDENCE)
def test_every_decision_is_a_probability_and_follows_the_threshold(evidence: Evidence) -> None:
    model = default_model()
    decision = model.decide(evidence)
    assert 0 <= decision.probability <= 1
    assert decision.answerable == (decision.probability >= model.threshold)
    assert set(decision.weights) == set(model.coefficients)
    assert decision.reason


@settings(deadline=None)
@given(EVIDENCE)
def test_the_weights_explain_the_probability_in_full(evidence: Evidence) -> None:
    model = default_model()
    decision = model.decide(evidence)
    odds = model.bias + sum(decision.weights.values())
    assert decision.probability == pytest.approx(1 / (1 + math.exp(-odds)))


def test_without_a_single_section_nothing_is_answerable() -> None:
    certain = AnswerabilityModel(coefficients={}, centres={}, bias=100.0)
    assert not certain.decide(Evidence()).answerable


def test_extreme_odds_do_not_overflow() -> None:
    hopeless = AnswerabilityModel(coefficients={"unseen": -1e6}, centres={"unseen": 0.0}, bias=0.0)
    assert hopeless.decide(replace(TYPICAL, unseen=1.0)).probability == 0.0


def test_the_reason_names_the_evidence_that_weighed_most() -> None:
    model = AnswerabilityModel(
        coefficients={"coverage": 1.0, "unseen": -10.0}, centres={"coverage": 0.0, "unseen": 0.0}, bias=0.0
    )
    assert "unseen" in model.decide(replace(TYPICAL, unseen=0.9)).reason
    assert "coverage" in model.decide(replace(TYPICAL, unseen=0.0, coverage=1.0)).reason


def test_a_row_of_the_same_question_is_no_rival() -> None:
    best = reading("What is Canvas?", "A tool.", key="a", score=0.8, question_similarity=0.9, meaning=1.0)
    twin = reading("what is  canvas?", "Another.", key="b", score=0.79, question_similarity=0.9, meaning=1.0)
    rival = reading("What is Studio?", "An IDE.", key="c", score=0.79, question_similarity=0.9, meaning=1.0)
    statistics = CorpusStatistics()
    assert (
        gather("what is canvas", [best, twin], statistics).margin
        > gather("what is canvas", [best, rival], statistics).margin
    )


def test_a_corpus_of_one_row_does_not_answer_everything() -> None:
    only = reading("What is Canvas?", "A tool.", key="a", score=0.1, question_similarity=0.1, meaning=0.3)
    statistics = CorpusStatistics.from_texts(["What is Canvas? A tool."])
    assert not default_model().decide(gather("Who won the cup?", [only], statistics)).answerable


def test_unseen_words_are_weighed_by_the_corpus() -> None:
    statistics = CorpusStatistics.from_texts(["train a model", "train on spot"])
    best = reading("How to train?", "Train a model.", key="a", score=0.5, question_similarity=0.5, meaning=0.5)
    assert gather("train a model", [best], statistics).unseen == 0.0
    assert gather("train a kangaroo", [best], statistics).unseen > 0.5
    assert gather("kangaroo", [best], CorpusStatistics()).unseen == 0.0, "nothing counted, nothing known to be unseen"


@pytest.mark.parametrize("question", ["", "how are you", "?!", "何ですか", "🙂"])
def test_evidence_is_finite_for_any_question(question: str) -> None:
    best = reading("What is Canvas?", "", key="a", score=0.5, question_similarity=0.5, meaning=0.5)
    evidence = gather(question, [best], CorpusStatistics.from_texts(["What is Canvas?"]))
    assert all(math.isfinite(value) for value in evidence.to_dict().values())
    assert set(evidence.to_dict()) == {item.name for item in fields(Evidence)}


@pytest.mark.parametrize(
    ("question_similarity", "sentence_similarity", "margin", "coverage", "meaning_coverage", "unseen", "answerable"),
    [
        (0.82, 0.90, 0.11, 1.00, 1.00, 0.00, True),  # which instances can be used with spot training; the FAQ says so
        (0.67, 0.67, 0.20, 1.00, 1.00, 0.00, True),  # is R supported; the FAQ says so
        (0.31, 0.20, 0.02, 0.00, 0.43, 1.00, False),  # the colour of a desk
        (0.52, 0.55, 0.04, 0.01, 0.49, 0.00, False),  # how to create a thing the FAQ only mentions
        (0.55, 0.55, 0.04, 0.49, 0.66, 0.51, False),  # is a language supported that the FAQ never names
    ],
)
def test_evidence_measured_on_the_sagemaker_faq_is_decided_as_a_reader_would(
    question_similarity: float,
    sentence_similarity: float,
    margin: float,
    coverage: float,
    meaning_coverage: float,
    unseen: float,
    answerable: bool,
) -> None:
    evidence = Evidence(
        section_similarity=0.5,
        question_similarity=question_similarity,
        sentence_similarity=sentence_similarity,
        margin=margin,
        coverage=coverage,
        meaning_coverage=meaning_coverage,
        unseen=unseen,
        sections=5,
    )
    assert default_model().decide(evidence).answerable is answerable
