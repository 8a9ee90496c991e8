"""The answerability model: what evidence it takes, which way each piece counts, and that it is always sane."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.abstention import (
    CALIBRATION_VERSION,
    AnswerabilityModel,
    Calibration,
    Evidence,
    Judgement,
    Scale,
    default_models,
    gather,
)
from ragwright.interaction import Meeting
from ragwright.packing import Section
from ragwright.reading import Reading
from ragwright.terms import CorpusStatistics

TYPICAL = Evidence(
    section_similarity=0.6,
    question_similarity=0.6,
    lead=0.08,
    coverage=0.5,
    unseen=0.1,
    sections=20,
    likeness=0.65,
    weakest=0.5,
    unmet=0.3,
)
BY_TEXT = replace(TYPICAL, sentence_similarity=0.55, likeness=None, weakest=None, unmet=None)
SHARES = st.floats(0, 1)
COSINES = st.floats(-1, 1)
TEXTUAL = {
    "section_similarity": COSINES,
    "question_similarity": COSINES,
    "sentence_similarity": COSINES,
    "lead": st.floats(0, 1),
    "coverage": SHARES,
    "unseen": SHARES,
    "sections": st.integers(1, 20),
}
EVIDENCE = st.builds(Evidence, **TEXTUAL) | st.builds(
    Evidence, **TEXTUAL, likeness=COSINES, weakest=COSINES, unmet=SHARES
)


def met(nearest: float) -> Meeting:
    return Meeting(np.full(1, nearest, np.float32), np.ones(1, np.float32), np.zeros(1, np.int32), ("canvas",))


def reading(question: str, *, key: str, score: float, nearest: float | None = None) -> Reading:
    meeting = None if nearest is None else met(nearest)
    return Reading(Section(0, key, question, "A tool.", score), score, meeting, meeting)


@pytest.mark.parametrize("name", ["likeness", "weakest", "lead"])
def test_more_of_what_speaks_for_an_answer_never_makes_it_less_likely(name: str) -> None:
    models = default_models()
    more = replace(TYPICAL, **{name: getattr(TYPICAL, name) + 0.1})
    assert models.decide(more).probability > models.decide(TYPICAL).probability


@pytest.mark.parametrize("name", ["question_similarity", "sentence_similarity", "lead", "coverage"])
def test_the_same_holds_where_words_were_not_compared(name: str) -> None:
    models = default_models()
    more = replace(BY_TEXT, **{name: getattr(BY_TEXT, name) + 0.1})
    assert models.decide(more).probability > models.decide(BY_TEXT).probability


def test_unmet_and_unseen_words_speak_against_an_answer() -> None:
    models = default_models()
    assert models.decide(replace(TYPICAL, unmet=0.8)).probability < models.decide(TYPICAL).probability
    assert models.decide(replace(BY_TEXT, unseen=0.8)).probability < models.decide(BY_TEXT).probability


@given(EVIDENCE)
def test_every_decision_is_a_probability_and_follows_the_threshold(evidence: Evidence) -> None:
    models = default_models()
    decision = models.decide(evidence)
    assert 0 <= decision.probability <= 1
    assert decision.threshold == models.model_for(evidence).threshold
    assert decision.answerable == (decision.probability >= decision.threshold)
    assert set(decision.weights) == set(models.model_for(evidence).coefficients)
    assert decision.reason


@given(EVIDENCE)
def test_the_weights_explain_the_probability_in_full(evidence: Evidence) -> None:
    model = default_models().model_for(evidence)
    decision = model.decide(evidence)
    odds = model.bias + sum(decision.weights.values())
    assert decision.probability == pytest.approx(1 / (1 + math.exp(-odds)))


def test_without_a_single_section_nothing_is_answerable() -> None:
    certain = AnswerabilityModel(coefficients={}, scales={}, bias=100.0)
    assert not certain.decide(Evidence()).answerable


def test_extreme_odds_do_not_overflow() -> None:
    hopeless = AnswerabilityModel(coefficients={"unseen": -1e6}, scales={"unseen": Scale(0, 1)}, bias=0.0)
    assert hopeless.decide(replace(TYPICAL, unseen=1.0)).probability == 0.0


def test_the_reason_names_the_evidence_that_weighed_most() -> None:
    scales = {"coverage": Scale(0, 1), "unseen": Scale(0, 1)}
    model = AnswerabilityModel(coefficients={"coverage": 1.0, "unseen": -10.0}, scales=scales, bias=0.0)
    assert "unseen" in model.decide(replace(TYPICAL, unseen=0.9)).reason
    assert "coverage" in model.decide(replace(TYPICAL, unseen=0.0, coverage=1.0)).reason


def test_the_scale_decides_what_is_much() -> None:
    model = default_models().by_word
    elsewhere = replace(model, scales=model.scales | {"lead": Scale(0.2, 0.06)})
    assert elsewhere.decide(TYPICAL).probability < model.decide(TYPICAL).probability


def test_a_row_of_the_same_question_is_no_rival() -> None:
    best, twin = reading("What is Canvas?", key="a", score=0.8), reading("what is  canvas?", key="b", score=0.79)
    rival = reading("What is Studio?", key="c", score=0.79)
    statistics = CorpusStatistics()
    with_twin = gather("what is canvas", [best, twin, replace(rival, question_similarity=0.1)], statistics)
    assert with_twin.lead > gather("what is canvas", [best, rival], statistics).lead


def test_the_lead_is_over_the_next_five() -> None:
    field = [reading(f"Q{n}?", key=str(n), score=0.5) for n in range(5)]
    last = reading("Q9?", key="9", score=-1.0)
    best = reading("What is Canvas?", key="a", score=0.8)
    statistics = CorpusStatistics()
    assert gather("canvas", [best, *field], statistics).lead == pytest.approx(0.3)
    assert gather("canvas", [best, *field, last], statistics).lead == pytest.approx(0.3)


def test_words_are_evidence_only_where_they_were_compared() -> None:
    statistics = CorpusStatistics()
    assert not gather("canvas", [reading("What is Canvas?", key="a", score=0.8)], statistics).by_word
    compared = gather("canvas", [reading("What is Canvas?", key="a", score=0.8, nearest=0.25)], statistics)
    assert (compared.likeness, compared.weakest, compared.unmet) == (0.25, 0.25, 1.0)


def test_a_corpus_of_one_row_does_not_answer_everything() -> None:
    statistics = CorpusStatistics.from_texts(["What is Canvas? A tool."])
    only = reading("What is Canvas?", key="a", score=0.1)
    assert not default_models().decide(gather("Who won the cup?", [only], statistics)).answerable
    compared = reading("What is Canvas?", key="a", score=0.1, nearest=0.2)
    assert not default_models().decide(gather("Who won the cup?", [compared], statistics)).answerable


def test_unseen_words_are_weighed_by_the_corpus() -> None:
    statistics = CorpusStatistics.from_texts(["train a model", "train on spot"])
    best = reading("How to train?", key="a", score=0.5)
    assert gather("train a model", [best], statistics).unseen == 0.0
    assert gather("train a kangaroo", [best], statistics).unseen > 0.5
    assert gather("kangaroo", [best], CorpusStatistics()).unseen == 0.0, "nothing counted, nothing known to be unseen"


@pytest.mark.parametrize("question", ["", "how are you", "?!", "何ですか", "🙂"])
def test_evidence_is_finite_for_any_question(question: str) -> None:
    best = reading("What is Canvas?", key="a", score=0.5, nearest=0.5)
    evidence = gather(question, [best], CorpusStatistics.from_texts(["What is Canvas?"]))
    assert all(math.isfinite(value) for value in evidence.to_dict().values())
    assert set(evidence.to_dict()) == {item.name for item in fields(Evidence)} - {"sentence_similarity"}


CALIBRATION = Calibration(
    by_word=True,
    scales=default_models().by_word.scales | {"lead": Scale(0.2, 0.06)},
    threshold=0.7,
    candidates=20,
    max_false_answer_rate=0.25,
    false_answer_rate=0.2,
    held_out=100,
    unrelated=60,
    records=400,
)


def test_a_calibration_is_what_was_written() -> None:
    assert Calibration.read(CALIBRATION.model_dump(mode="json")) == CALIBRATION


def test_a_calibration_of_other_evidence_is_not_used() -> None:
    assert Calibration.read(CALIBRATION.model_dump(mode="json") | {"version": CALIBRATION_VERSION - 1}) is None


def test_a_calibration_changes_the_model_it_was_made_for_and_no_other() -> None:
    models: Judgement = CALIBRATION.judgement()
    assert (models.by_word.threshold, models.by_word.scales["lead"].centre) == (0.7, 0.2)
    assert models.by_word.coefficients == default_models().by_word.coefficients
    assert models.by_text == default_models().by_text
