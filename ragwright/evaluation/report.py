"""The evaluation as people read it: Markdown for a terminal, an artifact, a pull request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ragwright.evaluation.gate import percent
from ragwright.evaluation.metrics import QuestionResult
from ragwright.evaluation.run import EvaluationResult
from ragwright.markdown import code, inline, table

# Shares are shown in percent, the others as numbers.
SHARES = (
    ("hit_at_1", "right row first"),
    ("hit_at_5", "right row in the top five"),
    ("answerable_correctness", "answerable questions answered correctly"),
    ("answer_correctness", "all questions treated correctly"),
    ("false_answer_rate", "unanswerable questions answered (lower is better)"),
    ("over_refusal_rate", "answerable questions refused (lower is better)"),
    ("abstention_balanced_accuracy", "balanced accuracy of abstaining"),
    ("selective_risk", "answers given that are wrong (lower is better)"),
    ("support", "answers given whose words are in what they cite"),
)
NUMBERS = (
    ("mrr", "mean reciprocal rank of the right row"),
    ("ndcg_at_10", "nDCG@10 of the right rows"),
    ("auroc", "AUROC of telling answerable from not"),
    ("risk_coverage_area", "area under risk and coverage (lower is better)"),
    ("expected_calibration_error", "calibration error of the probability (lower is better)"),
)
JUDGED = (
    ("correctness", "the judge: answers that are correct"),
    ("groundedness", "the judge: answers that rest on what they cite"),
    ("agreement", "the judge agrees on what is correct"),
)


def markdown(result: EvaluationResult, *, worst: int = 10, samples: int = 5) -> str:
    """Headline figures, figures by kind, the worst failures with their evidence, and sample answers.

    Args:
        result: What to report.
        worst: Failures to show; how many there are is always said.
        samples: Right answers to show.
    """
    parts = [_headline(result), _by_kind(result.by_kind), _failures(result, worst), _samples(result.results, samples)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(result: EvaluationResult) -> str:
    figures = result.aggregate
    of = f"generation {result.generation}" if result.generation is not None else "the index"
    source = code(result.source) if result.source else "memory"
    intro = (
        f"## Evaluation of {of}\n\n{figures['questions']} questions from {source}: "
        f"{figures['answerable']} answerable, {figures['unanswerable']} not; {figures['failed']} ended in an error."
    )
    rows = [_row(figures, key, name, percent) for key, name in SHARES]
    rows += [_row(figures, key, name, _number) for key, name in NUMBERS]
    judge = figures["judge"]
    if judge is not None:
        rows += [_row(judge, key, name, percent) for key, name in JUDGED]
    values = table(["figure", "value", "95 % interval", "of"], rows)
    return "\n\n".join(part for part in (intro, values, _costs(figures)) if part)


def _row(figures: Mapping[str, Any], key: str, name: str, show: Callable[[float | None], str]) -> list[str]:
    """One figure, its bounds if it has any, and how many questions it rests on."""
    bounds = figures["intervals"].get(key)
    interval = f"{show(bounds[0])} to {show(bounds[1])}" if bounds else ""
    return [name, show(figures[key]), interval, str(figures["counts"][key])]


def _costs(figures: Mapping[str, Any]) -> str:
    """Where time and tokens go, and what the judge could not say, in a sentence each."""
    latency, stages, tokens, judge = (figures[name] for name in ("latency_ms", "stages_ms", "tokens", "judge"))
    said = [f"A question takes {_ms(latency['p50'])} in the median, {_ms(latency['p95'])} at the 95th percentile."]
    if stages:
        shares = ", ".join(f"{inline(stage)} {of['share']:.0%} ({_ms(of['mean'])})" for stage, of in stages.items())
        said.append(f"On average: {shares}.")
    if tokens["prompt"] or tokens["new"]:
        said.append(
            f"Tokens read by the language model: {tokens['prompt']:,}, written: {tokens['new']:,} (questions counted: "
            f"{tokens['questions']})."
        )
    if judge is not None:
        said.append(f"Judgements: {judge['judged']}, of which failed: {judge['failed']}.")
    return " ".join(said)


def _by_kind(kinds: Mapping[str, Mapping[str, Any]]) -> str:
    if len(kinds) < 2:
        return ""
    rows = [
        [
            kind or "(no kind)",
            str(figures["questions"]),
            percent(figures["answer_correctness"]),
            percent(figures["hit_at_1"]),
            percent(figures["hit_at_5"]),
            percent(figures["false_answer_rate"]),
            percent(figures["over_refusal_rate"]),
        ]
        for kind, figures in kinds.items()
    ]
    head = ["kind", "questions", "correct", "hit@1", "hit@5", "false answers", "refusals"]
    return f"### By kind\n\n{table(head, rows)}"


def _failures(result: EvaluationResult, worst: int) -> str:
    failures = sorted(result.failures, key=badness)
    if not failures:
        return "### Failures\n\nNone."
    # Lists: a table this wide is cut off in a terminal and in a browser.
    items = [
        f"- **{inline(r.question)}** ({code(r.id, 240)}): {outcome(r)}\n"
        f"  - {'error' if r.failed else 'answer'}: {inline(r.reason if r.failed else r.answer)}"
        + ("" if r.failed else f"\n  - why: {inline(r.reason)}")
        for r in failures[:worst]
    ]
    more = f"\n\n{len(failures) - worst} more are on the evaluation's page." if len(failures) > worst else ""
    return f"### Failures ({len(failures)} of {len(result.results)})\n\n" + "\n".join(items) + more


def _samples(results: Sequence[QuestionResult], samples: int) -> str:
    answered = [r for r in results if r.correct and not r.abstained]
    abstained = [r for r in results if r.correct and r.abstained]
    share = min(len(abstained), samples // 3) if answered else samples
    chosen = answered[: samples - share] + abstained[:share]
    if not chosen:
        return ""
    items = [f"- **{inline(r.question)}**\n  - {inline(r.answer)}{_rows(r.cited)}" for r in chosen]
    return "### Sample answers\n\n" + "\n".join(items)


def _rows(cited: Sequence[int]) -> str:
    if not cited:
        return ""
    return f" (row{'s' if len(cited) > 1 else ''} {', '.join(map(str, cited))})"


def badness(result: QuestionResult) -> tuple[int, float]:
    """Errors, then confident false answers, wrong answers, and refusals, each by how sure the model was."""
    if result.failed:
        return 0, 0.0
    if not result.answerable:
        return 1, -result.probability
    return (3, result.probability) if result.abstained else (2, -result.probability)


def outcome(result: QuestionResult) -> str:
    """What went wrong with a question, in words."""
    if result.failed:
        return "error"
    if not result.answerable:
        return "answered, though the FAQ does not say"
    if result.abstained:
        return (
            f"refused; the right row was at rank {result.rank}"
            if result.rank
            else "refused; the right row was not found"
        )
    return f"wrong answer; the right row was at rank {result.rank}" if result.rank else "wrong answer"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
