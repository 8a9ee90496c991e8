"""The plots of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragwright.evaluation.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    SIGNS,
    TOP,
    WIDTH,
    Plot,
    Scale,
    axes,
    line,
    share_ticks,
    sign,
    square_scales,
)
from ragwright.evaluation.markup import Child, el, together
from ragwright.evaluation.statistics import ReliabilityRow

_MOST_POINTS = 240


def risk_coverage_plot(
    coverage: npt.NDArray[np.float64], risk: npt.NDArray[np.float64], *, now: tuple[float, float] | None
) -> Plot:
    """What share would be wrong if only the surest questions were answered.

    Args:
        coverage: [n], ascending shares.
        risk: [n], share of wrong answers at each.
        now: Coverage and risk at which the system works; None where nothing was answered.
    """
    top = next((limit for limit in (0.1, 0.25, 0.5) if max(float(risk.max()), now[1] if now else 0.0) <= limit), 1.0)
    x, y = square_scales(top)
    # A long curve is thinned; its ends stay.
    kept = np.unique(np.linspace(0, len(coverage) - 1, min(len(coverage), _MOST_POINTS)).round().astype(int))
    curve = [(x(float(coverage[at])), y(float(risk[at]))) for at in kept]
    drawn: list[Child] = [
        axes(x, y, share_ticks(), share_ticks(top), ("answered, surest first", "wrong among those")),
        line(curve, "a"),
    ]
    half = _risk_at(coverage, risk, 0.5)
    said = f"Answering everything, {risk[-1]:.0%} would be wrong; answering the surest half, {half:.0%}."
    if now:
        at = (x(now[0]), y(now[1]))
        drawn += [
            sign("diamond", *at, "dot b", f"now: {now[0]:.0%} answered, {now[1]:.0%} of that wrong"),
            el(
                "text",
                "now",
                x=at[0] + (-10 if now[0] > 0.9 else 10),
                y=at[1] + 17,
                class_=f"label {'end' if now[0] > 0.9 else ''}".strip(),
            ),
        ]
        said = f"Now {now[0]:.0%} of questions are answered and {now[1]:.0%} of those answers are wrong. {said}"
    rows = [
        [f"{share:.0%}", f"{_risk_at(coverage, risk, share):.1%}"]
        for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    ]
    return Plot(
        "risk-coverage",
        "Risk and coverage",
        said,
        together(drawn),
        ("answered", "wrong among those"),
        rows,
        "A lower curve is better. For a refused question the first row found stands for the answer not given.",
    )


def _risk_at(coverage: npt.NDArray[np.float64], risk: npt.NDArray[np.float64], share: float) -> float:
    return float(risk[min(int(np.searchsorted(coverage, share - 1e-9)), len(risk) - 1)])


def reliability_plot(rows: Sequence[ReliabilityRow], error: float) -> Plot:
    """Whether what is called likely is as likely as that.

    Args:
        rows: Bins of predictions.
        error: The expected calibration error.
    """
    x, y = square_scales()
    drawn: list[Child] = [
        axes(x, y, share_ticks(), share_ticks(), ("probability given", "share the FAQ answers")),
        el("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="line quiet dash"),
        line([(x(row.predicted), y(row.observed)) for row in rows], "a thin"),
    ]
    for row in rows:
        at = x(row.predicted)
        low, high = y(row.interval[0]), y(row.interval[1])
        drawn += [
            el("line", x1=at, x2=at, y1=low, y2=high, class_="whisker"),
            sign("circle", at, y(row.observed), "dot a", f"{row.observed:.0%} of {row.count}"),
        ]
    return Plot(
        "reliability",
        "Reliability of the probability",
        f"On average the probability is {100 * error:.0f} points off what came true.",
        together(drawn),
        ("probability", "questions", "mean given", "answered by the FAQ", "95 % interval"),
        [
            [
                f"{row.low:.0%} to {row.high:.0%}",
                str(row.count),
                f"{row.predicted:.1%}",
                f"{row.observed:.1%}",
                f"{row.interval[0]:.0%} to {row.interval[1]:.0%}",
            ]
            for row in rows
        ],
        "On the dashed line it keeps its word; below it is too sure, above not sure enough. Bars are 95 % intervals.",
    )


def scores_plot(
    answerable: Sequence[float], unanswerable: Sequence[float], threshold: float | None, bins: int = 20
) -> Plot:
    """How far the probabilities of the two sorts of questions lie apart.

    Args:
        answerable: Probabilities of the questions that the FAQ answers.
        unanswerable: Of those that it does not.
        threshold: From where on questions are answered, if that can be told.
        bins: Of equal width.
    """
    up, edges = np.histogram(np.clip(answerable, 0, 1), bins=bins, range=(0, 1))
    down, _ = np.histogram(np.clip(unanswerable, 0, 1), bins=bins, range=(0, 1))
    most = max(int(up.max()), int(down.max()), 1)
    step = max(1, _nice(most / 3))
    limit = math.ceil(most / step) * step
    x, y = Scale(0, 1, LEFT, WIDTH - RIGHT), Scale(-limit, limit, HEIGHT - BOTTOM, TOP)
    ticks = {float(sign * at): str(at) for at in range(0, limit + 1, step) for sign in (1, -1)}
    drawn: list[Child] = [axes(x, y, share_ticks(), ticks, ("probability given", "questions"))]
    wide = x(1 / bins) - x(0) - 2
    for at in range(bins):
        for count, class_, high in ((int(up[at]), "a", y(int(up[at]))), (int(down[at]), "b", y(0))):
            if count:
                tall = abs(y(count) - y(0))
                drawn.append(
                    el("rect", x=x(float(edges[at])) + 1, y=high, width=wide, height=tall, class_=f"bar {class_}")
                )
    drawn += [
        el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(0), y2=y(0), class_="axis"),
        el("text", "the FAQ answers it", x=LEFT + 8, y=TOP + 12, class_="label"),
        el("text", "it does not", x=WIDTH - RIGHT - 4, y=HEIGHT - BOTTOM - 8, class_="label end"),
    ]
    said = _shares_beside(answerable, unanswerable, threshold)
    if threshold is not None:
        at_x = x(threshold)
        drawn.append(el("line", x1=at_x, x2=at_x, y1=TOP, y2=HEIGHT - BOTTOM, class_="line quiet dash"))
    return Plot(
        "scores",
        "Probabilities of both sorts of questions",
        said,
        together(drawn),
        ("probability", "answered by the FAQ", "not answered by it"),
        [
            [f"{edges[at]:.0%} to {edges[at + 1]:.0%}", str(up[at]), str(down[at])]
            for at in range(bins)
            if up[at] or down[at]
        ],
        "Bars that go up are questions that the FAQ answers, outlined bars that go down are those that it does not."
        + ("" if threshold is None else " Right of the dashed line questions are answered."),
    )


def _shares_beside(answerable: Sequence[float], unanswerable: Sequence[float], threshold: float | None) -> str:
    if threshold is None:
        return f"{len(answerable)} questions that the FAQ answers, {len(unanswerable)} that it does not."
    over = sum(value >= threshold for value in answerable), sum(value >= threshold for value in unanswerable)
    return (
        f"Questions from {threshold:.2f} on are answered. These are {over[0]} of {len(answerable)} that the FAQ "
        f"answers and {over[1]} of {len(unanswerable)} that it does not."
    )


def _nice(value: float) -> int:
    """A round number not far from a value."""
    power = 10 ** math.floor(math.log10(value)) if value >= 1 else 1
    return int(power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - value)))


@dataclass(frozen=True)
class Series:
    """One figure over generations; None where it was not measured."""

    name: str
    values: Sequence[float | None]


def trend_plot(generations: Sequence[str], series: Sequence[Series]) -> Plot:
    """Figures of generations side by side.

    Args:
        generations: Their names, oldest first.
        series: Shares, as many values each as there are generations.
    """
    x, y = Scale(0, max(1, len(generations) - 1), LEFT + 14, WIDTH - RIGHT - 14), square_scales()[1]
    every = math.ceil(len(generations) / 8)
    ticks = {float(at): name for at, name in enumerate(generations) if (len(generations) - 1 - at) % every == 0}
    legend = 12 + 22 * math.ceil(len(series) / 2)
    drawn: list[Child] = [axes(x, y, ticks, share_ticks(), ("generation", "share of questions"))]
    for number, one in enumerate(series):
        shade, shape = "abcd"[number % 4], SIGNS[number % 4]
        points = [(x(at), y(value), value) for at, value in enumerate(one.values) if value is not None]
        drawn.append(line([(px, py) for px, py, _ in points], f"{shade} thin"))
        drawn += [sign(shape, px, py, f"dot {shade}", f"{one.name}: {value:.1%}") for px, py, value in points]
        left, top = LEFT + 200 * (number % 2), HEIGHT + 16 + 22 * (number // 2)
        drawn += [sign(shape, left, top, f"dot {shade}"), el("text", one.name, x=left + 12, y=top + 5, class_="label")]
    rows = [
        [name, *("-" if one.values[at] is None else f"{one.values[at]:.1%}" for one in series)]
        for at, name in enumerate(generations)
    ]
    newest = ", ".join(f"{one.name} {_change(one.values)}" for one in series)
    return Plot(
        "trend",
        "Trend over generations",
        f"The newest of {len(generations)} generations: {newest}.",
        together(drawn),
        ("generation", *(one.name for one in series)),
        rows,
        "Only evaluations with the same questions are shown. Marked with * are generations that readers never saw.",
        HEIGHT + legend,
    )


def _change(values: Sequence[float | None]) -> str:
    measured = [value for value in values if value is not None]
    if not measured:
        return "not measured"
    return f"{measured[-1]:.0%}" + (f" (before {measured[-2]:.0%})" if len(measured) > 1 else "")


@dataclass(frozen=True)
class Stage:
    """Time that one stage of answering takes, in milliseconds."""

    name: str
    p50: float
    p95: float


def latency_plot(stages: Sequence[Stage], total: Stage | None) -> Plot:
    """Where the time goes: for each stage the median as a bar, the 95th percentile as a line beyond it.

    Args:
        stages: In the order in which they run.
        total: From question to answer.
    """
    shown = [*stages, *([total] if total else [])]
    most = max((stage.p95 for stage in shown), default=0.0) or 1.0
    row, top = 34, 8
    bottom = top + row * len(shown)
    x = Scale(0, most, 92, WIDTH - 118)
    drawn: list[Child] = []
    for number, stage in enumerate(shown):
        middle = top + row * number + row / 2
        drawn += [
            el("text", stage.name, x=84, y=middle + 5, class_="label end"),
            el("rect", x=x(0), y=middle - 9, width=max(1.0, x(stage.p50) - x(0)), height=18, class_="bar a"),
            el("line", x1=x(stage.p50), x2=x(stage.p95), y1=middle, y2=middle, class_="whisker"),
            el("line", x1=x(stage.p95), x2=x(stage.p95), y1=middle - 6, y2=middle + 6, class_="whisker"),
            el("text", f"{_ms(stage.p50)} / {_ms(stage.p95)}", x=x(stage.p95) + 7, y=middle + 5, class_="tick"),
        ]
    drawn.append(el("line", x1=x(0), x2=x(0), y1=top, y2=bottom, class_="axis"))
    slowest = max(stages, key=lambda stage: stage.p50, default=None)
    whole = (
        f"An answer takes {_ms(total.p50)} ms in the median, {_ms(total.p95)} ms at the 95th percentile. "
        if total
        else ""
    )
    return Plot(
        "latency",
        "Time by stage",
        whole + (f"The slowest stage is “{slowest.name}”." if slowest else ""),
        together(drawn),
        ("stage", "median, ms", "95th percentile, ms"),
        [[stage.name, f"{stage.p50:.1f}", f"{stage.p95:.1f}"] for stage in shown],
        "Bars are medians, lines reach to the 95th percentile, both in milliseconds.",
        bottom + 8,
    )


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
