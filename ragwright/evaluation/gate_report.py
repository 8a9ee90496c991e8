"""The gate's verdict and a comparison as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from ragwright.evaluation.comparison import METRICS, Change, Comparison, Figure
from ragwright.evaluation.gate import Check, GateVerdict, percent
from ragwright.markdown import code, inline, table

_TITLES = {metric.name: metric.title for metric in METRICS}
_LOWER_IS_BETTER = {metric.name for metric in METRICS if not metric.rising}
_SHOWN = 20


def markdown(verdict: GateVerdict, generation: int, *, changes: int = _SHOWN) -> str:
    """Verdict, reasons, figures, and the questions that changed."""
    head = f"## Gate of generation {generation}: {verdict.verdict}"
    parts = [head, "\n".join(f"- {inline(reason)}" for reason in verdict.reasons)]
    if verdict.checks:
        parts.append(_checks(verdict))
    if verdict.changes:
        parts.append(changed(verdict.changes, changes))
    return "\n\n".join(part for part in parts if part) + "\n"


def comparison_markdown(found: Comparison, before: int, after: int, *, changes: int = _SHOWN) -> str:
    """Figures of two generations, and the questions that changed."""
    head = f"## Generation {after} against generation {before}"
    rows = [_figure(figure) for figure in found.figures]
    values = table(["figure", f"generation {before}", f"generation {after}", "difference", "better", "worse"], rows)
    said = changed(found.changes, changes) if found.changes else "No question fares differently."
    more = f"{found.reworded} more answers are worded differently and fare the same." if found.reworded else ""
    return "\n\n".join(part for part in (head, values, said, more) if part) + "\n"


def changed(changes: Sequence[Change], most: int = _SHOWN) -> str:
    """Questions that fare differently, worse ones first."""
    worse, better = (sum(change.improved is way for change in changes) for way in (False, True))
    lines = [
        f"- **{inline(change.question)}** ({code(change.id, 240)}): {change.how}\n"
        f"  - before: {inline(change.before)}\n  - after: {inline(change.after)}"
        for change in changes[:most]
    ]
    more = f"\n\n{len(changes) - most} more are in the JSON." if len(changes) > most else ""
    return f"### Questions that changed ({worse} worse, {better} better)\n\n" + "\n".join(lines) + more


def _checks(verdict: GateVerdict) -> str:
    head = ["figure", "questions", "candidate", "live", "difference", "better", "worse", "p", "floor", "check"]
    return table(head, [_check(check) for check in verdict.checks])


def _check(check: Check) -> list[str]:
    floor = "" if check.floor is None else f"{'≤' if check.name in _LOWER_IS_BETTER else '≥'} {percent(check.floor)}"
    beside = check.compared and check.difference is not None
    return [
        _TITLES[check.name],
        str(check.questions),
        percent(check.candidate),
        percent(check.live),
        _difference(check.difference, check.low, check.high),
        str(check.better) if check.live is not None else "-",
        str(check.worse) if check.live is not None else "-",
        f"{check.chance:.2g}" if beside and check.chance is not None else "-",
        floor,
        check.status,
    ]


def _figure(figure: Figure) -> list[str]:
    return [
        figure.metric.title,
        percent(figure.live),
        percent(figure.candidate),
        _difference(figure.difference, figure.low, figure.high),
        str(figure.better),
        str(figure.worse),
    ]


def _difference(mean: float | None, low: float | None, high: float | None) -> str:
    """In points, positive where it is better, with its interval."""
    if mean is None or low is None or high is None:
        return "-"
    return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
