"""Intervals, areas and curves against published examples, scipy, and what must hold of any sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ragwright.errors import ConfigurationError, PermanentError
from ragwright.evaluation.statistics import (
    area_under_risk,
    auroc,
    auroc_interval,
    expected_calibration_error,
    mean_of_shares,
    paired_bootstrap,
    reliability,
    risk_coverage,
    wilson,
)

SCORES = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1), min_size=1, max_size=40)
JUDGED = st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.6, 1.0]) | st.floats(0, 1), st.booleans()), min_size=1)


def test_wilson_intervals_equal_the_published_example() -> None:
    # 81 of 263: Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = wilson(0, 20)
    assert (low, round(high, 4)) == (0.0, 0.1611)


@given(st.integers(1, 500), st.data())
def test_wilson_intervals_equal_scipys_and_hold_the_share(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    confidence = data.draw(st.sampled_from([0.5, 0.9, 0.95, 0.99]))
    low, high = wilson(successes, trials, confidence)
    theirs = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert 0 <= low <= successes / trials <= high <= 1


def test_no_trials_say_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(2, 1), (-1, 3)])
def test_a_share_that_cannot_be_is_refused(successes: int, trials: int) -> None:
    with pytest.raises(PermanentError, match=f"{successes} of {trials}"):
        wilson(successes, trials)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, math.nan])
def test_an_impossible_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ConfigurationError, match="confidence"):
        wilson(1, 2, confidence)
    with pytest.raises(ConfigurationError, match="confidence"):
        paired_bootstrap([0.0], confidence=confidence)


@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_the_mean_of_two_shares_is_surer_than_either_end_and_stays_in_bounds(
    first: int, second: int, data: st.DataObject
) -> None:
    shares = (data.draw(st.integers(0, first)), first), (data.draw(st.integers(0, second)), second)
    mean, low, high = mean_of_shares(*shares)
    assert 0 <= low <= mean <= high <= 1
    assert mean == pytest.approx(np.mean([successes / trials for successes, trials in shares]))
    ends = [wilson(*share) for share in shares]
    assert low >= sum(end[0] for end in ends) / 2 - 1e-12
    assert high <= sum(end[1] for end in ends) / 2 + 1e-12


def test_the_interval_of_a_mean_of_shares_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    draws = zip(generator.binomial(60, 0.9, 2_000), generator.binomial(40, 0.7, 2_000), strict=True)
    covered = [low <= 0.8 <= high for _, low, high in (mean_of_shares((int(a), 60), (int(b), 40)) for a, b in draws)]
    assert 0.93 <= np.mean(covered) <= 0.975


def test_the_bootstrap_agrees_with_scipys_and_with_theory() -> None:
    values = np.random.default_rng(3).normal(0.2, 1.0, 150)
    ours = paired_bootstrap(values, resamples=10_000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    assert ours.mean == pytest.approx(values.mean())
    standard_error = values.std() / math.sqrt(len(values))
    assert ours.high - ours.low == pytest.approx(2 * 1.96 * standard_error, rel=0.05)


def test_few_different_values_are_drawn_as_scipy_draws_them() -> None:
    values = np.repeat([-1.0, 0.0, 1.0], [8, 80, 12])
    ours = paired_bootstrap(values, confidence=0.9, resamples=10_000)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", confidence_level=0.9, n_resamples=10_000, rng=1
    ).confidence_interval
    assert ours.bounds == pytest.approx((theirs.low, theirs.high), abs=0.011)  # one step of such a mean is 0.01


def test_the_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    samples = generator.choice([-1.0, 0.0, 1.0], size=(400, 120), p=[0.1, 0.8, 0.1])
    intervals = [paired_bootstrap(sample, resamples=500) for sample in samples]
    assert 0.90 <= np.mean([interval.low <= 0 <= interval.high for interval in intervals]) <= 0.98


@settings(max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_the_order_of_differences_does_not_matter(values: list[float]) -> None:
    shuffled = sorted(values)
    ours = paired_bootstrap(values, resamples=50)
    assert ours == paired_bootstrap(shuffled, resamples=50)
    span = max(abs(value) for value in values) * 1e-9
    assert min(values) - span <= ours.low <= ours.high <= max(values) + span


@pytest.mark.parametrize("value", [0.0, 0.1, -1.0])
def test_differences_that_are_all_equal_leave_no_doubt(value: float) -> None:
    interval = paired_bootstrap([value] * 33)
    assert interval.low == interval.mean == interval.high == pytest.approx(value)


def test_a_seed_repeats_an_interval_and_another_draws_anew() -> None:
    values = np.random.default_rng(5).normal(size=80)
    assert paired_bootstrap(values) == paired_bootstrap(values)
    assert paired_bootstrap(values) != paired_bootstrap(values, seed=8)


def test_blocks_bound_the_memory_and_lose_no_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=70)
    whole = paired_bootstrap(values, resamples=999)
    monkeypatch.setattr("ragwright.evaluation.statistics._BLOCK", 70 * 13)
    assert paired_bootstrap(values, resamples=999) == whole


@pytest.mark.parametrize("values", [[], [0.1, math.nan], [math.inf], [[0.1]]])
def test_a_mean_of_nothing_or_of_no_number_is_refused(values: list[float]) -> None:
    with pytest.raises(PermanentError, match="difference"):
        paired_bootstrap(values)


def test_a_bootstrap_without_resamples_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="resamples"):
        paired_bootstrap([0.0], resamples=0)


@given(SCORES, SCORES)
def test_the_area_under_the_roc_curve_is_mann_whitneys_u_over_the_pairs(
    positive: list[float], negative: list[float]
) -> None:
    u = stats.mannwhitneyu(positive, negative).statistic
    assert auroc(positive, negative) == pytest.approx(u / (len(positive) * len(negative)))
    assert auroc(positive, negative) + auroc(negative, positive) == pytest.approx(1)


def test_an_area_needs_both_sides() -> None:
    for sides in ([], [0.5]), ([0.5], []), ([math.nan], [0.5]):
        with pytest.raises(PermanentError, match="score"):
            auroc(*sides)


@given(st.floats(0, 1), st.integers(1, 300), st.integers(1, 300))
def test_the_interval_of_an_area_holds_it_and_is_the_mirror_of_its_opposite(area: float, n: int, m: int) -> None:
    low, high = auroc_interval(area, n, m)
    assert 0 <= low <= area <= high <= 1
    assert auroc_interval(1 - area, n, m) == pytest.approx((1 - high, 1 - low), abs=1e-6)


def test_a_perfect_area_of_few_is_not_certain() -> None:
    assert auroc_interval(1.0, 5, 5)[0] < 0.8
    assert 0.95 < auroc_interval(1.0, 500, 500)[0] < 1


def test_the_interval_of_an_area_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(4)
    truth = float(stats.norm.cdf(1.5 / math.sqrt(2)))
    covered = 0
    for _ in range(500):
        area = auroc(generator.normal(1.5, 1, 50), generator.normal(0, 1, 40))
        low, high = auroc_interval(area, 50, 40)
        covered += low <= truth <= high
    assert 0.92 <= covered / 500 <= 0.98


def test_a_risk_coverage_curve_worked_by_hand() -> None:
    coverage, risk = risk_coverage([0.9, 0.8, 0.8, 0.1], [1, 0, 1, 0])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    # The two of 0.8 come in either order: half an error each.
    assert risk.tolist() == pytest.approx([0, 0.25, 1 / 3, 0.5])
    assert area_under_risk(risk) == pytest.approx((0.25 + 1 / 3 + 0.5) / 4)


@given(JUDGED)
def test_a_curve_ends_at_the_share_of_wrong_answers_whatever_the_order(judged: list[tuple[float, bool]]) -> None:
    confidence, correct = zip(*judged, strict=True)
    coverage, risk = risk_coverage(confidence, correct)
    assert coverage[-1] == 1
    assert risk[-1] == pytest.approx(1 - np.mean(correct))
    assert ((risk > -1e-12) & (risk < 1 + 1e-12)).all()
    again = risk_coverage(confidence[::-1], correct[::-1])[1]
    assert again == pytest.approx(risk)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_no_ranking_beats_the_one_that_knows(correct: list[bool]) -> None:
    def area(confidence: list[float]) -> float:
        return area_under_risk(risk_coverage(confidence, correct)[1])

    knowing, blind = area([float(c) for c in correct]), area([0.5] * len(correct))
    assert knowing <= blind + 1e-12 <= area([1 - float(c) for c in correct]) + 2e-12
    assert blind == pytest.approx(1 - np.mean(correct))


@given(JUDGED, st.integers(1, 20))
def test_every_prediction_is_in_the_bin_of_its_probability(judged: list[tuple[float, bool]], bins: int) -> None:
    probability, outcome = zip(*judged, strict=True)
    rows = reliability(probability, outcome, bins)
    assert sum(row.count for row in rows) == len(judged)
    assert sum(row.count * row.observed for row in rows) == pytest.approx(sum(outcome))
    for row in rows:
        assert row.low - 1e-9 <= row.predicted <= row.high + 1e-9
        assert row.interval == wilson(round(row.observed * row.count), row.count)
    assert 0 <= expected_calibration_error(rows) <= 1


def test_calibration_worked_by_hand() -> None:
    rows = reliability([0.05, 0.95, 0.95, 1.0, 0.55], [0, 1, 1, 0, 1], 10)
    assert [(row.low, row.count) for row in rows] == [(0.0, 1), (0.5, 1), (0.9, 3)]
    expected = (0.05 + 0.45 + 3 * abs(2.9 / 3 - 2 / 3)) / 5
    assert expected_calibration_error(rows) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("probability", "outcome"),
    [([], []), ([0.5], [1, 0]), ([1.2], [1]), ([math.nan], [1]), ([-0.1], [0]), ([0.5], [0.5])],
)
def test_predictions_that_are_no_probabilities_are_refused(probability: list[float], outcome: list[int]) -> None:
    with pytest.raises(PermanentError):
        reliability(probability, outcome)


def test_a_curve_of_unequal_lengths_is_refused() -> None:
    with pytest.raises(PermanentError, match="pair up"):
        risk_coverage([0.5, 0.4], [1])
    with pytest.raises(PermanentError, match="no predictions"):
        expected_calibration_error([])
    with pytest.raises(ConfigurationError, match="bins"):
        reliability([0.5], [1], 0)
