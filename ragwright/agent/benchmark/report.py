"""Models side by side as Markdown: for a terminal, an artifact, the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from ragwright.agent.benchmark.results import LABELS, BenchmarkResult, ModelResult
from ragwright.agent.benchmark.scoring import Share, Spread, by_kind, costs, memory_by_distance

_COSTS = (
    ("seconds", "seconds a turn, median and 95th percentile", 2),
    ("prompt_tokens", "tokens read a turn", 0),
    ("new_tokens", "tokens written a turn", 0),
)


_WIDTH_FIGURES = ("tool_choice", "numeric", "memory", "answer", "refusal", "injection_tools")


def markdown(result: BenchmarkResult, *, failures: int = 0) -> str:
    """The figures, the costs, the kinds of cases and the turns back.

    Args:
        result: What was found.
        failures: How many failures of each model to show with what was said; how many there are is always told.
    """
    models = result.models
    head = ["", *(model.model for model in models)]
    parts = [
        "; ".join(f"{name}: {value}" for name, value in result.conditions.items()),
        _table(head, [*rows_of_shares(models), *rows_of_costs(models)]),
        _table(head, rows_of_kinds(models)),
    ]
    if widths := rows_of_widths(models):
        parts += ["### Memory and quality by bit width", _table(WIDTH_HEAD, widths), WIDTH_NOTE]
    parts += [_failures(model, failures) for model in models if failures]
    return "\n\n".join(part for part in parts if part) + "\n"


def rows_of_shares(models: Sequence[ModelResult]) -> list[list[str]]:
    """One row a figure: its label, and each model's share with its interval."""
    figures = [model.figures for model in models]
    return [[label, *(written(found[name]) for found in figures)] for name, label in LABELS.items()]


def rows_of_costs(models: Sequence[ModelResult]) -> list[list[str]]:
    """Seconds, tokens, memory and the size of the weights."""
    spent = [costs(model.turns) for model in models]
    rows = [[label, *(_spread(cost[name], digits) for cost in spent)] for name, label, digits in _COSTS]
    rows.append(["peak memory of the model's server", *(memory(model.peak_memory) for model in models)])
    for name, label in (("weights", "size of the weights"), ("bits", "kind of weights")):
        if any(name in model.about for model in models):
            rows.append([label, *(model.about.get(name, "unknown") for model in models)])
    return rows


WIDTH_HEAD = (
    *("model", "bits a weight", "kind", "size", "peak memory", "seconds a turn"),
    *("right tool", "right number", "recalled", "right words", "refused", "tools not lured"),
)
WIDTH_NOTE = (
    "Bits a weight are those of the whole file, scales and embedding included. Weights that were written again at more "
    "bits than they came with are no better for it."
)


def rows_of_widths(models: Sequence[ModelResult]) -> list[list[str]]:
    """One row a model whose weights are on this machine: what they take, and the shares without their intervals."""
    rows = []
    for model in models:
        if "width" not in model.about:
            continue
        seconds = costs(model.turns)["seconds"].p50
        figures = model.figures
        rows.append(
            [
                model.model,
                model.about["width"],
                *(model.about.get(name, "unknown") for name in ("bits", "weights")),
                memory(model.peak_memory),
                "unknown" if seconds is None else f"{seconds:,.2f}",
                *(_bare(figures[name]) for name in _WIDTH_FIGURES),
            ]
        )
    return sorted(rows, key=lambda row: -float(row[1]))


def rows_of_kinds(models: Sequence[ModelResult]) -> list[list[str]]:
    """One row a kind of case and figure, and one a distance of memory."""
    kinds = [by_kind(model.played) for model in models]
    rows = [
        [f"{kind}: {LABELS[name]}", *(written(found.get(kind, {}).get(name)) for found in kinds)]
        for kind, figures in (kinds[0] if kinds else {}).items()
        for name in figures
        if name != "memory"
    ]
    back = [memory_by_distance(model.played) for model in models]
    for distance in sorted({distance for found in back for distance in found}):
        turns = "1 turn" if distance == 1 else f"{distance} turns"
        rows.append([f"memory: told {turns} back", *(written(found.get(distance)) for found in back)])
    return rows


def written(share: Share | None) -> str:
    """A share with its 95 % interval and what it rests on."""
    if share is None or share.value is None:
        return "not measured"
    low, high = share.interval
    return f"{share.value:.0%} ({low:.0%} to {high:.0%} of {share.trials})"


def _bare(share: Share) -> str:
    return "not measured" if share.value is None else f"{share.value:.0%} of {share.trials}"


def memory(peak: int | None) -> str:
    """Bytes as people read them."""
    return "unknown" if peak is None else f"{peak / 1e6:,.0f} MB"


def _spread(spread: Spread, digits: int) -> str:
    if spread.p50 is None or spread.p95 is None:
        return "unknown"
    return f"{spread.p50:,.{digits}f} and {spread.p95:,.{digits}f}"


def _failures(model: ModelResult, most: int) -> str:
    found = list(model.failures())
    rows = [
        [
            f"`{failure.case}`",
            _cell(failure.found.said),
            ", ".join(failure.wrong),
            _cell(failure.expected),
            _cell(" -> ".join([*failure.found.tools, failure.found.reply or failure.found.error])),
        ]
        for failure in found[:most]
    ]
    told = f"### What went wrong with {model.model}: {len(found)} turns"
    if len(found) > most:
        told += f", the first {most} of them"
    return f"{told}\n\n{_table(['case', 'said', 'wrong', 'expected', 'got'], rows)}" if found else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:160]
