"""Plots: in bounds, told in words and figures too, and the same every time."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_reader import Node, read_page

from ragwright.evaluation.charts import (
    Series,
    Stage,
    latency_plot,
    reliability_plot,
    risk_coverage_plot,
    scores_plot,
    trend_plot,
)
from ragwright.evaluation.drawing import Plot, interval_bar
from ragwright.evaluation.statistics import reliability, risk_coverage

SHARES = st.floats(0, 1)


def drawn(plot: Plot) -> Node:
    """The figure as it is read back; every mark is within the drawing."""
    [figure] = read_page(plot.figure()).all("figure")
    [svg] = figure.all("svg")
    width, height = map(float, str(svg.attributes["viewbox"]).split()[2:])
    for node in svg.every():
        for name, limit in (("x", width), ("y", height), ("cx", width), ("cy", height), ("x1", width), ("y2", height)):
            if name in node.attributes:
                assert 0 <= float(str(node.attributes[name])) <= limit, (node.name, name, node.attributes)
        if "points" in node.attributes:
            for x, y in (pair.split(",") for pair in str(node.attributes["points"]).split()):
                assert -8 <= float(x) <= width + 8
                assert -8 <= float(y) <= height + 8
    named = str(svg.attributes["aria-labelledby"]).split()
    assert [node.text for node in svg.every() if node.attributes.get("id") in named] == [plot.title, plot.description]
    assert not re.search(r"nan|inf\b", str(plot.svg))
    return figure


def figures(plot: Plot) -> list[list[str]]:
    return [[cell.text for cell in row.all("td")] for table in drawn(plot).all("table") for row in table.all("tr")[1:]]


def test_risk_and_coverage_say_where_the_system_works_now() -> None:
    coverage, risk = risk_coverage([0.9, 0.8, 0.6, 0.2], [1, 1, 0, 0])
    plot = risk_coverage_plot(coverage, risk, now=(0.75, 1 / 3))
    assert plot.description.startswith("Now 75% of questions are answered and 33% of those answers are wrong.")
    assert ["50%", "0.0%"] in figures(plot)
    assert ["100%", "50.0%"] in figures(plot)


@given(st.lists(st.tuples(SHARES, st.booleans()), min_size=1, max_size=600), st.none() | st.tuples(SHARES, SHARES))
def test_any_curve_stays_in_its_drawing(answers: list[tuple[float, bool]], now: tuple[float, float] | None) -> None:
    sure, right = zip(*answers, strict=True)
    coverage, risk = risk_coverage(sure, right)
    assert len(figures(risk_coverage_plot(coverage, risk, now=now))) == 10


@given(st.lists(st.tuples(SHARES, st.booleans()), min_size=1, max_size=200))
def test_reliability_shows_every_bin_with_its_interval(pairs: list[tuple[float, bool]]) -> None:
    rows = reliability(*zip(*pairs, strict=True))
    plot = reliability_plot(rows, 0.1)
    figure = drawn(plot)
    assert len(figure.all("circle")) == len(figures(plot)) == len(rows)
    assert "10 points off" in plot.description


@given(st.lists(SHARES, max_size=80), st.lists(SHARES, max_size=80), st.none() | SHARES)
def test_no_question_is_missing_from_the_score_distributions(
    yes: list[float], no: list[float], threshold: float | None
) -> None:
    rows = figures(scores_plot(yes, no, threshold))
    assert sum(int(row[1]) for row in rows) == len(yes)
    assert sum(int(row[2]) for row in rows) == len(no)


def test_score_distributions_say_what_the_threshold_does() -> None:
    plot = scores_plot([0.2, 0.7, 0.9], [0.1, 0.6], 0.5)
    assert "2 of 3 that the FAQ answers and 1 of 2 that it does not" in plot.description


def test_series_of_a_trend_differ_by_shape_and_not_by_colour_alone() -> None:
    series = [Series(name, [0.5, None, value]) for name, value in (("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 1.0))]
    figure = drawn(trend_plot(["1", "2*", "3"], series))
    marks = [node for node in figure.every() if node.name in {"circle", "polygon"}]
    by_colour = {
        (node.attributes["class"], node.name, len(str(node.attributes.get("points", "")).split())) for node in marks
    }
    assert len(by_colour) == 4
    assert figures(trend_plot(["1", "2*", "3"], series))[1] == ["2*", "-", "-", "-", "-"]


@pytest.mark.parametrize("count", [2, 9, 40])
def test_a_long_trend_keeps_its_ticks_apart(count: int) -> None:
    plot = trend_plot([str(n) for n in range(count)], [Series("a", [0.5] * count)])
    ticks = [node for node in drawn(plot).all("text") if "mid" in str(node.attributes["class"]).split()]
    assert len([node for node in ticks if node.text.isdigit()]) <= 8
    assert str(count - 1) in {node.text for node in ticks}


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(1, 9)), max_size=8))
def test_time_of_any_size_fits(spans: list[tuple[float, float]]) -> None:
    stages = [Stage(f"s{n}", p50, p50 * more) for n, (p50, more) in enumerate(spans)]
    plot = latency_plot(stages, Stage("all", 1.0, 2.0))
    assert len(figures(plot)) == len(stages) + 1


def test_the_slowest_stage_is_named() -> None:
    plot = latency_plot([Stage("embed", 5, 9), Stage("read", 90, 120)], Stage("all", 95, 130))
    assert plot.description == (
        "An answer takes 95 ms in the median, 130 ms at the 95th percentile. The slowest stage is “read”."
    )


def test_the_same_figures_draw_the_same_bytes() -> None:
    values = np.linspace(0, 1, 50).tolist()
    assert scores_plot(values, values, 0.3).figure() == scores_plot(values, values, 0.3).figure()
    assert interval_bar(0.5, 0.25, 1.0) == interval_bar(0.5, 0.25, 1.0)
