"""What plots are drawn with: an SVG with a title, a description and its figures as a table; axes, lines, marks.

Colours are classes that the page's style sheet defines for light, dark and paper; none of them is the only sign of what
a mark stands for. The same figures give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ragwright.evaluation.markup import Markup, el, together

WIDTH, HEIGHT = 480, 330
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 14, 48
SIGNS = ("circle", "square", "triangle", "diamond")


@dataclass(frozen=True)
class Plot:
    """A plot with what stands for it where it cannot be seen.

    Attributes:
        key: Names it within the page.
        title: What it shows.
        description: What is to be seen in it, in a sentence or two.
        svg: What is drawn, without the outer element.
        height: Of the drawing, which is 480 wide.
        head: Column headings of its figures.
        rows: Its figures.
        notes: How to read it.
    """

    key: str
    title: str
    description: str
    svg: Markup
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: str = ""
    height: int = HEIGHT

    def figure(self) -> Markup:
        """The plot as it stands in a page."""
        drawing = el(
            "svg",
            el("title", self.title, id=f"{self.key}-title"),
            el("desc", self.description, id=f"{self.key}-desc"),
            self.svg,
            viewBox=f"0 0 {WIDTH} {self.height}",
            role="img",
            aria_labelledby=f"{self.key}-title {self.key}-desc",
        )
        body = [el("tr", (el("td", cell) for cell in row)) for row in self.rows]
        figures = el(
            "details",
            el("summary", "Figures of this plot"),
            el(
                "div",
                el(
                    "table",
                    el("caption", self.title, class_="unseen"),
                    el("thead", el("tr", (el("th", name, scope="col") for name in self.head))),
                    el("tbody", body),
                ),
                class_="wide",
            ),
        )
        caption = el("figcaption", el("h3", self.title), el("p", self.description), self.notes and el("p", self.notes))
        return el("figure", caption, drawing, figures if self.rows else None)


class Scale(NamedTuple):
    """Where the values of an axis lie in the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Where a value lies."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 2)


def axes(
    x: Scale, y: Scale, x_ticks: Mapping[float, str], y_ticks: Mapping[float, str], names: tuple[str, str]
) -> Markup:
    """Grid, ticks and names; `x` and `y` map values to the drawing."""
    bottom, left = y.start, x.start
    grid = [el("line", x1=left, x2=x.end, y1=y(at), y2=y(at), class_="grid") for at in y_ticks]
    marks = [el("text", text, x=left - 7, y=y(at) + 5, class_="tick end") for at, text in y_ticks.items()]
    marks += [el("text", text, x=x(at), y=bottom + 19, class_="tick mid") for at, text in x_ticks.items()]
    ends = [
        el("line", x1=left, x2=x.end, y1=bottom, y2=bottom, class_="axis"),
        el("text", names[0], x=(left + x.end) / 2, y=bottom + 41, class_="name mid"),
        el(
            "text",
            names[1],
            x=14,
            y=(y.start + y.end) / 2,
            transform=f"rotate(-90 14 {(y.start + y.end) / 2:g})",
            class_="name mid",
        ),
    ]
    return together(grid, marks, ends)


def square_scales(top: float = 1.0) -> tuple[Scale, Scale]:
    """Axes of shares: x from 0 to 1, y from 0 to `top`."""
    return Scale(0, 1, LEFT, WIDTH - RIGHT), Scale(0, top, HEIGHT - BOTTOM, TOP)


def share_ticks(top: float = 1.0) -> dict[float, str]:
    """A handful of round shares up to `top`."""
    step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.25) if top / step <= 5.01)
    return {round(n * step, 4): f"{n * step:.0%}" for n in range(int(top / step + 1e-9) + 1)}


def line(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through points of the drawing."""
    return el("polyline", points=" ".join(f"{x:g},{y:g}" for x, y in points), class_=f"line {class_}")


def sign(shape: str, x: float, y: float, class_: str, tip: str | None = None) -> Markup:
    """A mark whose shape tells as much as its colour."""
    title = el("title", tip) if tip else None
    if shape == "circle":
        return el("circle", title, cx=x, cy=y, r=4.5, class_=class_)
    corners = {
        "square": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        "triangle": ((0, -5.5), (5, 4), (-5, 4)),
        "diamond": ((0, -6), (6, 0), (0, 6), (-6, 0)),
    }[shape]
    points = " ".join(f"{round(x + dx, 2):g},{round(y + dy, 2):g}" for dx, dy in corners)
    return el("polygon", title, points=points, class_=class_)


def interval_bar(value: float, low: float, high: float) -> Markup:
    """A share and its interval on a line from 0 to 1; the figures stand beside it as text."""
    x = Scale(0, 1, 4, 136)
    return el(
        "svg",
        el("line", x1=4, x2=136, y1=9, y2=9, class_="grid"),
        el("line", x1=x(low), x2=x(high), y1=9, y2=9, class_="whisker"),
        sign("circle", x(value), 9, "dot a"),
        viewBox="0 0 140 18",
        class_="bar",
        aria_hidden="true",
    )
