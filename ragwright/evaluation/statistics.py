"""How sure a figure is, and how well probabilities tell right from wrong: pure functions over numpy arrays.

Nothing here guesses: an empty sample, or a value that is not finite, is refused instead of being left out. The one
exception is `wilson`, whose interval over no trials is all of [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ragwright.errors import ConfigurationError, PermanentError

Floats: TypeAlias = Sequence[float] | npt.NDArray[np.floating] | npt.NDArray[np.integer] | npt.NDArray[np.bool_]

# Cells of one block of a bootstrap: 32 MB, however many values there are.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean, and the bounds between which it lies at the confidence that was asked for."""

    mean: float
    low: float
    high: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval without its mean, as reports keep it."""
        return self.low, self.high


@dataclass(frozen=True)
class ReliabilityRow:
    """Predictions of about the same probability, and how often what they predicted came true.

    Attributes:
        low: Least probability of the bin.
        high: Where the next bin begins; the last bin holds 1 itself.
        count: Predictions in it.
        predicted: Their mean probability.
        observed: Share of outcomes that came true.
        interval: 95 % Wilson interval of `observed`.
    """

    low: float
    high: float
    count: int
    predicted: float
    observed: float
    interval: tuple[float, float]


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). It stays in [0, 1]
    and is of use with few trials, and where none or all succeed.

    Raises:
        PermanentError: There cannot be as many successes.
        ConfigurationError: The confidence is not strictly between 0 and 1.
    """
    z = _quantile(confidence)
    if not 0 <= successes <= trials:
        raise PermanentError(f"{successes!r} of {trials!r} is no share")
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At either end the interval touches the share; rounding must not push it past.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
    return low, high


def mean_of_shares(
    first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95
) -> tuple[float, float, float]:
    """The mean of two independent shares, each given as (successes, trials), with its interval: (mean, low, high).

    Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27 (2008): the
    distances from each share to its own Wilson bound are added in quadrature.

    Raises:
        PermanentError: A share has no trials, or is none.
        ConfigurationError: The confidence is not strictly between 0 and 1.
    """
    below = above = total = 0.0
    for successes, trials in (first, second):
        low, high = wilson(successes, trials, confidence)
        if trials == 0:
            raise PermanentError("a share of nothing has no mean with another")
        share = successes / trials
        total, below, above = total + share, below + (share - low) ** 2, above + (high - share) ** 2
    return total / 2, max(0.0, (total - math.sqrt(below)) / 2), min(1.0, (total + math.sqrt(above)) / 2)


def paired_bootstrap(
    differences: Floats, *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 7
) -> Interval:
    """Percentile interval of the mean of paired differences, or of any one figure a question.

    Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. Resampling n values with replacement is
    drawing how often each different value occurs, so differences that take few values cost little however many there
    are. The same differences in any order give the same interval. Values that are all equal give an interval without
    width; so few values as to be equal by chance say less than that.

    Args:
        differences: [n], candidate minus live for each question.
        confidence: Of the two-sided interval.
        resamples: Means to draw.
        seed: Of the draw.

    Raises:
        PermanentError: There are no differences, or one is not finite.
        ConfigurationError: The confidence is not strictly between 0 and 1, or there are no resamples.
    """
    _quantile(confidence)
    if resamples < 1:
        raise ConfigurationError(f"{resamples!r} resamples make no interval", hint="Ask for 1,000 or more.")
    values, counts = np.unique(_finite(differences, "difference"), return_counts=True)
    n = int(counts.sum())
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    rows = max(1, _BLOCK // len(values))
    for start in range(0, resamples, rows):
        drawn = generator.multinomial(n, counts / n, size=min(rows, resamples - start))
        means[start : start + len(drawn)] = drawn @ values / n
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(counts @ values / n), float(low), float(high))


def auroc(positive: Floats, negative: Floats) -> float:
    """Probability that a positive scores above a negative, a tie counting half: the area under the ROC curve.

    Mann and Whitney's U over the number of pairs; Hanley and McNeil, Radiology 143 (1982).

    Args:
        positive: [n], scores of what should score high.
        negative: [m], scores of what should score low.

    Raises:
        PermanentError: There are none of either, or one is not finite.
    """
    above, below = _finite(positive, "score"), np.sort(_finite(negative, "score"))
    less = np.searchsorted(below, above, side="left")
    at_most = np.searchsorted(below, above, side="right")
    return float((less + at_most).sum() / (2 * len(above) * len(below)))


def auroc_interval(area: float, positives: int, negatives: int, confidence: float = 0.95) -> tuple[float, float]:
    """Bounds of an area under the ROC curve, of use even where it is 0 or 1.

    Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2", Statistics
    in Medicine 25 (2006), method 5: the areas from which this one is not further than their own standard error (Hanley
    and McNeil's, both samples taken to be as large) times the normal quantile.

    Raises:
        PermanentError: The area is not in [0, 1], or there are none of either.
        ConfigurationError: The confidence is not strictly between 0 and 1.
    """
    z = _quantile(confidence)
    if not 0 <= area <= 1 or positives < 1 or negatives < 1:
        raise PermanentError(f"{area!r} over {positives!r} positives and {negatives!r} negatives is no area")
    extra = (positives + negatives) / 2 - 1

    def excess(a: float) -> float:
        variance = a * (1 - a) * (1 + extra * (1 - a) / (2 - a) + extra * a / (1 + a)) / (positives * negatives)
        return abs(a - area) - z * math.sqrt(max(0.0, variance))

    def bound(end: float) -> float:
        inside, outside = area, end
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if excess(middle) <= 0 else (inside, middle)
        return inside

    return bound(0.0) if area > 0 else 0.0, bound(1.0) if area < 1 else 1.0


def risk_coverage(confidence: Floats, correct: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What share of answers is wrong if only the surest are given.

    Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017. Among answers of equal
    confidence the expected order is used, so that the curve does not depend on how they were listed.

    Args:
        confidence: [n], how sure each answer is.
        correct: [n], 1 where it is right, 0 where not.

    Returns:
        Coverage [n], the share that is answered, ascending from 1/n to 1, and risk [n], the share of those that is
        wrong.

    Raises:
        PermanentError: There are no answers, the lengths differ, a confidence is not finite or an outcome neither 0
            nor 1.
    """
    sure, right = _finite(confidence, "confidence"), _outcomes(correct, len(confidence))
    _, group, counts = np.unique(-sure, return_inverse=True, return_counts=True)
    wrong = np.bincount(group, weights=1 - right) / counts
    answered = np.arange(1, len(sure) + 1)
    return answered / len(sure), np.cumsum(np.repeat(wrong, counts)) / answered


def area_under_risk(risk: Floats) -> float:
    """Area under the risk-coverage curve, as the mean of its risks: the lower, the better. For `risk_coverage`'s risks.

    Raises:
        PermanentError: There are no risks, or one is not finite.
    """
    return float(_finite(risk, "risk").mean())


def reliability(probability: Floats, outcome: Floats, bins: int = 10) -> list[ReliabilityRow]:
    """How often predictions of each probability came true, in bins of equal width; empty bins are left out.

    Args:
        probability: [n], each in [0, 1].
        outcome: [n], 1 where it came true, 0 where not.
        bins: How many.

    Raises:
        PermanentError: There are no predictions, the lengths differ, a probability is not in [0, 1] or an outcome
            neither 0 nor 1.
        ConfigurationError: There are no bins.
    """
    if bins < 1:
        raise ConfigurationError(f"{bins!r} bins hold nothing")
    predicted, came_true = _finite(probability, "probability"), _outcomes(outcome, len(probability))
    if predicted.min() < 0 or predicted.max() > 1:
        raise PermanentError(f"a probability is not in [0, 1]: {predicted.min()!r} to {predicted.max()!r}")
    place = np.minimum((predicted * bins).astype(int), bins - 1)
    rows: list[ReliabilityRow] = []
    for index in np.unique(place):
        inside = place == index
        count, successes = int(inside.sum()), int(came_true[inside].sum())
        rows.append(
            ReliabilityRow(
                low=float(index / bins),
                high=float((index + 1) / bins),
                count=count,
                predicted=float(predicted[inside].mean()),
                observed=successes / count,
                interval=wilson(successes, count),
            )
        )
    return rows


def expected_calibration_error(rows: Sequence[ReliabilityRow]) -> float:
    """Mean distance of predicted from observed, each bin weighed by its count; 0 is perfect.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.

    Raises:
        PermanentError: There are no rows.
    """
    total = sum(row.count for row in rows)
    if total == 0:
        raise PermanentError("no predictions, no calibration error")
    return sum(row.count * abs(row.predicted - row.observed) for row in rows) / total


def _quantile(confidence: float) -> float:
    """Standard normal quantile of a two-sided interval."""
    if not 0 < confidence < 1:
        raise ConfigurationError(f"a confidence of {confidence!r} is impossible", hint="Choose one between 0 and 1.")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _finite(values: Floats, name: str) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise PermanentError(f"expected one {name} or more, got an array of shape {array.shape!r}")
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise PermanentError(
            f"{name} {at} is {array[at]!r}",
            hint="Count what could not be measured as a failure before asking how sure the figure is.",
        )
    return array


def _outcomes(values: Floats, expected: int) -> npt.NDArray[np.float64]:
    array = _finite(values, "outcome")
    if len(array) != expected:
        raise PermanentError(f"{expected} and {len(array)} values do not pair up")
    if not np.isin(array, (0, 1)).all():
        raise PermanentError(f"outcomes are 0 or 1: {np.unique(array)[:5].tolist()!r}")
    return array
