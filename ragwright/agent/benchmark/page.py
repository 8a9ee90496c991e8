"""Models side by side as a page that opens from disk, and where it is written.

It needs no script and fetches nothing. What users, FAQs and models said is escaped by `markup`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ragwright.agent.benchmark.report import (
    WIDTH_HEAD,
    WIDTH_NOTE,
    markdown,
    rows_of_costs,
    rows_of_kinds,
    rows_of_widths,
    written,
)
from ragwright.agent.benchmark.results import LABELS, BenchmarkResult, ModelResult
from ragwright.agent.benchmark.scoring import Share
from ragwright.evaluation.document import document, write_files
from ragwright.evaluation.drawing import LEFT, RIGHT, SIGNS, WIDTH, Plot, Scale, interval_bar, share_ticks, sign
from ragwright.evaluation.markup import Child, Markup, el, together
from ragwright.settings import Settings

TITLE = "Will it work as a conversational agent?"
_MOST_FAILURES = 300
_MOST_CHARS = 700
_LINE = 22
"""Height of one model's mark, or of a line of text, in the plot."""


def write_report(settings: Settings, result: BenchmarkResult, *, out: Path | None = None) -> Path:
    """Write the page, and beside it the same as Markdown and JSON.

    Args:
        settings: Of the home folder.
        result: What to report.
        out: Where the page goes; by default `reports/agent-benchmark.html` in the home folder.

    Returns:
        Where the page is.

    Raises:
        ConfigurationError: A file cannot be written.
        StorageFull: There is no room.
    """
    out = out or settings.home / "reports" / "agent-benchmark.html"
    texts = {
        out: page(result),
        out.with_suffix(".md"): markdown(result, failures=_MOST_FAILURES),
        out.with_suffix(".json"): json.dumps(result.to_json(), ensure_ascii=False, indent=1),
    }
    write_files(out, {path: text.encode(errors="replace") for path, text in texts.items()})
    return out


def page(result: BenchmarkResult) -> str:
    """The whole document; the same result gives the same bytes."""
    models = result.models
    names = [model.model for model in models]
    body = [
        el("header", el("h1", TITLE), _about(result)),
        el("section", el("h2", "Figures"), _figures(models)),
        el("section", el("div", shares_plot(models).figure(), class_="plots")),
        el("section", el("h2", "Time, tokens and memory"), _table(["", *names], rows_of_costs(models))),
        _widths(models),
        el("section", el("h2", "By kind of case"), _table(["", *names], rows_of_kinds(models))),
        [_failures(model) for model in models],
    ]
    return document(TITLE, body)


def shares_plot(models: Sequence[ModelResult]) -> Plot:
    """Every share of every model with its interval, one band a figure."""
    figures = [model.figures for model in models]
    measured = [name for name in LABELS if any(found[name].trials for found in figures)]
    band = _LINE * (len(models) + 1) + 8
    bottom = band * len(measured)
    x = Scale(0, 1, LEFT, WIDTH - RIGHT)
    drawn: list[Child] = []
    for share, text in share_ticks().items():
        drawn.append(el("line", x1=x(share), x2=x(share), y1=0, y2=bottom, class_="grid"))
        drawn.append(el("text", text, x=x(share), y=bottom + 18, class_="tick mid"))
    for at, name in enumerate(measured):
        drawn.append(el("text", LABELS[name], x=4, y=band * at + 16, class_="label"))
        for number, found in enumerate(figures):
            drawn.append(_mark(x, band * at + 8 + _LINE * (number + 1), number, found[name]))
    for number, model in enumerate(models):
        y = bottom + 24 + _LINE * (number + 1)
        drawn.append(_sign(number, LEFT, y - 5))
        drawn.append(el("text", model.model, x=LEFT + 12, y=y, class_="label"))
    return Plot(
        "shares",
        "Models side by side",
        "Shares of turns, attacks and replies; further right is better.",
        together(drawn),
        ("figure", *(model.model for model in models)),
        [[LABELS[name], *(written(found[name]) for found in figures)] for name in measured],
        "Lines are 95 % intervals. Where those of two models overlap widely, the cases do not tell the two apart.",
        bottom + 32 + _LINE * len(models),
    )


def _mark(x: Scale, y: float, number: int, share: Share) -> Markup | None:
    if share.value is None:
        return None
    low, high = share.interval
    whisker = el("line", x1=x(low), x2=x(high), y1=y, y2=y, class_="whisker")
    return together(whisker, _sign(number, x(share.value), y))


def _sign(number: int, x: float, y: float) -> Markup:
    return sign(SIGNS[number % 4], x, y, f"dot {'abcd'[number % 4]}")


def _about(result: BenchmarkResult) -> Markup:
    known = [
        (model.model, ", ".join(f"{name} {value}" for name, value in model.about.items())) for model in result.models
    ]
    listed = [*result.conditions.items(), *known]
    return el(
        "dl", [el("div", el("dt", name, dir="auto"), el("dd", value or "-", dir="auto")) for name, value in listed]
    )


def _figures(models: Sequence[ModelResult]) -> Markup:
    """With one model its intervals are drawn too."""
    rows = []
    for name, label in LABELS.items():
        found = [model.figures[name] for model in models]
        cells: list[Child] = [label, *(written(share) for share in found)]
        if len(models) == 1:
            share = found[0]
            cells.append(interval_bar(share.value, *share.interval) if share.value is not None else "")
        rows.append(cells)
    head = ["figure", *(model.model for model in models), *(["from 0 to 1"] if len(models) == 1 else [])]
    return el("div", _table(head, rows), class_="figures")


def _widths(models: Sequence[ModelResult]) -> Markup | None:
    rows = rows_of_widths(models)
    if not rows:
        return None
    return el("section", el("h2", "Memory and quality by bit width"), _table(WIDTH_HEAD, rows), el("p", WIDTH_NOTE))


def _failures(model: ModelResult) -> Markup:
    found = list(model.failures())
    rows = [
        [
            together(el("p", el("strong", failure.case)), el("p", failure.kind, class_="aside")),
            el("p", _cut(failure.found.said), class_="said", dir="auto"),
            ", ".join(failure.wrong),
            _cut(failure.expected),
            together(
                el("ol", (el("li", _cut(f"{s.action}({s.argument}): {s.observation}")) for s in failure.found.steps))
                if failure.found.steps
                else None,
                el("p", _cut(failure.found.reply or failure.found.error) or "-", class_="said", dir="auto"),
            ),
        ]
        for failure in found[:_MOST_FAILURES]
    ]
    turns = len(model.turns) + len(model.attacked)
    head = el("h2", f"What went wrong with {model.model} ({len(found)} of {turns} turns)", dir="auto")
    more = len(found) - len(rows)
    return el(
        "section",
        head,
        el("p", f"{more} more are in the JSON file.") if more else None,
        _table(["case", "said", "wrong", "expected", "tools and reply"], rows) if rows else el("p", "Nothing."),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Child]]) -> Markup:
    heads = el("thead", el("tr", (el("th", name, scope="col", dir="auto") for name in head)))
    body = el("tbody", (el("tr", (el("td", cell) for cell in row)) for row in rows))
    return el("div", el("table", heads, body), class_="wide")


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS].rstrip()}… ({len(text):,} characters)"
