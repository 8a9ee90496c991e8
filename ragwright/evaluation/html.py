"""One evaluation as a page that opens from disk: figures, plots, and every failure with its evidence.

The page needs no script and fetches nothing. Its texts come from users, FAQs and language models and are escaped by
`markup`. The same evaluation gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ragwright.evaluation.charts import (
    Series,
    Stage,
    latency_plot,
    reliability_plot,
    risk_coverage_plot,
    scores_plot,
    trend_plot,
)
from ragwright.evaluation.document import document
from ragwright.evaluation.drawing import Plot, interval_bar
from ragwright.evaluation.holdout import is_named, named
from ragwright.evaluation.markup import Child, Markup, el, together
from ragwright.evaluation.metrics import QuestionResult, answerability, selection
from ragwright.evaluation.questions import Question
from ragwright.evaluation.report import JUDGED, NUMBERS, SHARES, badness, outcome
from ragwright.evaluation.run import EvaluationResult
from ragwright.evaluation.statistics import expected_calibration_error, reliability, risk_coverage

MOST_FAILURES = 300
_MOST_CHARS = 700
_MOST_RETRIEVED = 5
_TILES = ("answerable_correctness", "false_answer_rate", "over_refusal_rate", "hit_at_5")
_TREND = (
    ("answer_correctness", "treated correctly"),
    ("hit_at_5", "right row in top five"),
    ("false_answer_rate", "false answers"),
    ("over_refusal_rate", "refusals"),
)
_STAGES = {"embed": 0, "search": 1, "read": 2, "generate": 4, "other": 5}
"""In the order in which they run, which a stored evaluation has lost; new ones come between reading and writing."""
_TITLES = {**dict(SHARES), **dict(NUMBERS)}
_SIGNS = {"passed": "✓", "warned": "!", "blocked": "✗", "doubtful": "?", "failed": "✗"}


@dataclass(frozen=True)
class Past:
    """Figures of a generation that was asked the same questions; `seen` is whether readers ever saw it."""

    generation: int
    seen: bool
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """What was evaluated, and what is known about it besides.

    Attributes:
        index: Name of the index.
        about: What else heads the page, by name: state, source, model.
        gate: The gate's verdict as `GateVerdict.to_json` gives it; None if there was none.
        questions: By id, for what a right answer would have been; those that are not at hand are left out.
        past: Generations to compare with and this one, oldest first.
    """

    index: str
    about: Mapping[str, str] = field(default_factory=dict)
    gate: Mapping[str, Any] | None = None
    questions: Mapping[str, Question] = field(default_factory=dict)
    past: Sequence[Past] = ()


def page(result: EvaluationResult, subject: Subject) -> str:
    """The whole document."""
    title = f"Evaluation of {subject.index}" + (f", generation {result.generation}" if result.generation else "")
    drawn = [plot.figure() for plot in plots(result, subject)]
    failures, changed = len(result.failures), len((subject.gate or {}).get("changed") or ())
    sections = {
        "Figures": _figures(result.aggregate),
        "Plots": el("div", drawn, class_="plots") if drawn else None,
        "By kind of question": _kinds(result.by_kind),
        f"Failures ({failures} of {len(result.results)})": _failures(result, subject.questions),
        f"Questions that changed ({changed})": _changed(subject.gate),
    }
    kept = [(name, f"s{at}", content) for at, (name, content) in enumerate(sections.items()) if content is not None]
    body = [
        _head(title, result, subject),
        _verdict(subject.gate),
        _tiles(result.aggregate),
        el("nav", el("ul", (el("li", el("a", name, href=f"#{key}")) for name, key, _ in kept)), aria_label="Sections"),
        [el("section", el("h2", name), content, id=key) for name, key, content in kept],
    ]
    return document(title, body)


def plots(result: EvaluationResult, subject: Subject) -> list[Plot]:
    """The plots that this evaluation has figures for."""
    figures, results = result.aggregate, result.results
    drawn: list[Plot] = []
    if results:
        answered = figures["coverage"], figures["selective_risk"]
        now = None if None in answered else answered
        drawn.append(risk_coverage_plot(*risk_coverage(*selection(results)), now=now))
        rows = reliability(*answerability(results))
        drawn.append(reliability_plot(rows, expected_calibration_error(rows)))
        answerable, unanswerable = (
            [r.probability for r in results if r.answerable is sort and not r.failed] for sort in (True, False)
        )
        drawn.append(scores_plot(answerable, unanswerable, _threshold(results)))
    if len(subject.past) > 1:
        series = [Series(name, [past.figures.get(key) for past in subject.past]) for key, name in _TREND]
        drawn.append(trend_plot([f"{past.generation}{'' if past.seen else '*'}" for past in subject.past], series))
    spent = figures["stages_ms"]
    order = sorted(spent, key=lambda name: _STAGES.get(name, 3))
    stages = [Stage(name, spent[name]["p50"], spent[name]["p95"]) for name in order if spent[name]["p95"]]
    if stages:
        whole = figures["latency_ms"]
        drawn.append(latency_plot(stages, Stage("all", whole["p50"], whole["p95"])))
    return drawn


def _threshold(results: Sequence[QuestionResult]) -> float | None:
    """The probability from which on questions were answered; None if no single one explains what happened."""
    refused = [r.probability for r in results if r.abstained and not r.failed]
    answered = [r.probability for r in results if not r.abstained and not r.failed]
    if not refused or not answered or max(refused) > min(answered):
        return None
    return (max(refused) + min(answered)) / 2


def _head(title: str, result: EvaluationResult, subject: Subject) -> Markup:
    figures = result.aggregate
    about = {
        **subject.about,
        "questions": f"{figures['questions']}: {figures['answerable']} that the FAQ answers, {figures['unanswerable']} "
        f"that it does not; {figures['failed']} ended in an error",
        "question set": result.source or "not from a file",
    }
    listed = [el("div", el("dt", name), el("dd", value, dir="auto")) for name, value in about.items() if value]
    return el("header", el("h1", title, dir="auto"), el("dl", listed))


def _verdict(gate: Mapping[str, Any] | None) -> Markup | None:
    if gate is None:
        return None
    verdict = str(gate.get("verdict", "off"))
    live = gate.get("live")
    against = f" against generation {live}" if live else ""
    said = el("p", el("strong", f"{_SIGNS.get(verdict, '-')} Gate: {verdict}{against}"))
    reasons = [el("li", reason, dir="auto") for reason in gate.get("reasons") or ()]
    return el(
        "section",
        said,
        el("ul", reasons) if reasons else None,
        _checks(gate.get("checks") or ()),
        class_=f"verdict {verdict if verdict in _SIGNS else 'off'}",
        aria_label="Gate",
    )


def _checks(checks: Sequence[Mapping[str, Any]]) -> Markup | None:
    if not checks:
        return None
    rows = [_check(check) for check in checks]
    head = ["figure", "candidate", "live", "points gained", "better", "worse", "floor", "check"]
    table = _table(head, rows, numbers=range(1, 7))
    return el("details", el("summary", "What the gate looked at"), el("div", table, class_="wide"))


def _check(check: Mapping[str, Any]) -> list[Child]:
    name, status = str(check.get("name", "")), str(check.get("status", ""))
    show = _number if name in dict(NUMBERS) else _share
    return [
        _TITLES.get(name, name),
        *(show(check.get(value)) for value in ("candidate", "live")),
        _difference(check),
        *(str(check.get(count, "")) for count in ("better", "worse")),
        show(check.get("floor")),
        f"{_SIGNS.get(status, '')} {status}".strip(),
    ]


def _difference(check: Mapping[str, Any]) -> str:
    if check.get("difference") is None:
        return "-"
    return f"{100 * check['difference']:+.1f} ({100 * check['low']:+.1f} to {100 * check['high']:+.1f})"


def _tiles(figures: Mapping[str, Any]) -> Markup:
    tiles = [
        el(
            "div",
            el("p", _TITLES[key], class_="what"),
            el("p", _share(figures[key]), class_="value"),
            el("p", _bounds(figures["intervals"].get(key), _share), class_="interval"),
        )
        for key in _TILES
    ]
    return el("div", tiles, class_="tiles")


def _figures(figures: Mapping[str, Any]) -> Markup:
    rows: list[list[Child]] = [_figure_row(figures, key, name, _share) for key, name in SHARES]
    rows += [_figure_row(figures, key, name, _number) for key, name in NUMBERS]
    judge = figures.get("judge")
    if judge is not None:
        rows += [_figure_row(judge, key, name, _share) for key, name in JUDGED]
    tokens = figures["tokens"]
    if tokens["questions"]:
        rows.append(["tokens read by the language model", f"{tokens['prompt']:,}", "", "", str(tokens["questions"])])
        rows.append(["tokens written by the language model", f"{tokens['new']:,}", "", "", str(tokens["questions"])])
    head = ["figure", "value", "95 % interval", "from 0 to 1", "questions"]
    return el("div", _table(head, rows, numbers=(1, 2, 4)), class_="wide figures")


def _figure_row(figures: Mapping[str, Any], key: str, name: str, show: Any) -> list[Child]:
    value, bounds = figures[key], figures["intervals"].get(key)
    bar = interval_bar(value, *bounds) if value is not None and bounds else ""
    return [name, show(value), _bounds(bounds, show), bar, str(figures["counts"].get(key, ""))]


def _kinds(kinds: Mapping[str, Mapping[str, Any]]) -> Markup | None:
    if len(kinds) < 2:
        return None
    rows = [
        [
            kind or "(no kind)",
            str(figures["questions"]),
            _share(figures["answer_correctness"]),
            _bounds(figures["intervals"]["answer_correctness"], _share),
            *(_share(figures[key]) for key in ("hit_at_1", "hit_at_5", "false_answer_rate", "over_refusal_rate")),
        ]
        for kind, figures in sorted(kinds.items(), key=lambda item: item[1]["answer_correctness"])
    ]
    head = ["kind", "questions", "correct", "95 % interval", "hit@1", "hit@5", "false answers", "refusals"]
    table = el("div", _table(head, rows, numbers=range(1, 8)), class_="wide")
    return together(el("p", "The kind that fares worst comes first."), table)


def _failures(result: EvaluationResult, questions: Mapping[str, Question]) -> Markup:
    failures = sorted(result.failures, key=badness)
    if not failures:
        return el("p", "None.")
    rows = [_failure(found, questions.get(found.id)) for found in failures[:MOST_FAILURES]]
    said = "Errors come first, then false answers, wrong answers and refusals, each with the most confident first."
    if len(failures) > MOST_FAILURES:
        said += f" {len(failures) - MOST_FAILURES} more are in evaluation.json."
    head = ["question", "what went wrong", "answer", "right would be", "retrieved", "probability"]
    return together(el("p", said), _table(head, rows, class_="stacked failures", numbers=(5,)))


def _failure(found: QuestionResult, question: Question | None) -> list[Child]:
    # An id may be taken by another question since.
    known = question if question is not None and question.question == found.question else None
    asked = together(
        el("p", el("strong", _text(found.question)), dir="auto"),
        el("p", f"{found.id}{f', {found.kind}' if found.kind else ''}", class_="aside"),
    )
    given = found.answer if not found.failed else ""
    cited = (
        f"cites row{'s' if len(found.cited) > 1 else ''} {', '.join(map(str, found.cited))}" if found.cited else None
    )
    return [
        asked,
        together(el("p", outcome(found)), el("p", _text(found.reason), class_="aside", dir="auto")),
        together(
            el("p", _text(given) or "-", class_="said", dir="auto"), el("p", cited, class_="aside") if cited else None
        ),
        _right(found, known),
        _retrieved(found, named(known.gold) if known else frozenset()),
        f"{found.probability:.2f}" if not found.failed else "-",
    ]


def _retrieved(found: QuestionResult, gold: frozenset[str]) -> Child:
    """The first rows, and the right ones however far down."""
    rows = [(place, row, is_named(gold, row, row)) for place, row in enumerate(found.retrieved, start=1)]
    shown = [
        el("li", _text(row), el("strong", " (right row)") if right else None, value=place, dir="auto")
        for place, row, right in rows
        if right or place <= _MOST_RETRIEVED
    ]
    rest = len(rows) - len(shown)
    more = el("p", f"and {rest} more", class_="aside") if rest else None
    return together(el("ol", shown), more) if shown else "nothing"


def _right(found: QuestionResult, known: Question | None) -> Child:
    if not found.answerable:
        return "to say that it does not know"
    if known is None:
        return "not at hand: the question set has changed or moved"
    rows = [el("li", _text(row), dir="auto") for row in known.gold]
    words = [el("li", " or ".join(f"“{word}”" for word in group), dir="auto") for group in known.accept]
    return together(
        (el("p", "from"), el("ul", rows)) if rows else None, (el("p", "saying"), el("ul", words)) if words else None
    )


def _changed(gate: Mapping[str, Any] | None) -> Markup | None:
    changes = list((gate or {}).get("changed") or ())
    if not changes:
        return None
    signs = {True: "▲ better", False: "▼ worse", None: "◆ neither"}
    rows = [
        [
            el("p", el("strong", _text(str(change.get("question", "")))), dir="auto"),
            signs[change.get("improved")],
            str(change.get("how", "")),
            el("p", _text(str(change.get("before", ""))), class_="said", dir="auto"),
            el("p", _text(str(change.get("after", ""))), class_="said", dir="auto"),
        ]
        for change in changes[:MOST_FAILURES]
    ]
    return _table(["question", "better or worse", "how", "before", "after"], rows, class_="stacked")


def _table(
    head: Sequence[str], rows: Iterable[Sequence[Child]], *, numbers: Iterable[int] = (), class_: str | None = None
) -> Markup:
    """A table; roles are named because the style sheet stacks cells on narrow screens, which would lose them."""
    right = set(numbers)
    heads = [
        el("th", name, scope="col", role="columnheader", class_="n" if at in right else None)
        for at, name in enumerate(head)
    ]
    body = [
        el(
            "tr",
            (
                el("td", cell, role="cell", data_label=name or None, class_="n" if at in right else None)
                for at, (name, cell) in enumerate(zip(head, row, strict=True))
            ),
            role="row",
        )
        for row in rows
    ]
    return el(
        "table",
        el("thead", el("tr", heads, role="row"), role="rowgroup"),
        el("tbody", body, role="rowgroup"),
        role="table",
        class_=class_,
    )


def _text(value: str) -> str:
    """A text that fits into a cell; how much is missing is said."""
    return value if len(value) <= _MOST_CHARS else f"{value[:_MOST_CHARS].rstrip()}… ({len(value):,} characters)"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _bounds(bounds: Sequence[float] | None, show: Any) -> str:
    return "" if not bounds else f"{show(bounds[0])} to {show(bounds[1])}"
