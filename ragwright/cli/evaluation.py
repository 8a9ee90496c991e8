"""`ragwright evaluate`, `compare` and `report`: score generations, put two of them side by side, write it all down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragwright.cli.index import Index, tell_started
from ragwright.cli.session import Session, verb
from ragwright.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from ragwright.evaluation.comparison import Comparison
    from ragwright.measuring import Calls
    from ragwright.settings import Settings

Questions = Annotated[Path | None, typer.Option("--questions", help="Question set (JSONL).")]
Sample = Annotated[int | None, typer.Option("--sample", min=1, help="Ask only so many, drawn with a seed.")]


@verb
def evaluate(
    session: Session,
    questions: Questions = None,
    index: Index = None,
    sample: Sample = None,
    generation: Annotated[
        int | None, typer.Option("--generation", help="Another generation than the live one, published or not.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Say what differs from another one: its number, or live (then the newest blocked one is scored).",
        ),
    ] = None,
) -> None:
    """Score the live generation, or any other, with a question set."""
    from ragwright.assembly import load_questions
    from ragwright.evaluation.comparison import compare as side_by_side
    from ragwright.evaluation.gate_report import comparison_markdown
    from ragwright.evaluation.report import markdown
    from ragwright.evaluation.report_file import write_report
    from ragwright.measuring import measure

    settings = session.settings(index=index)
    question_set = load_questions(settings, questions, at_most=sample)
    chosen = generation if generation is not None else _to_score(settings, against)
    other = None if against is None else _numbered(settings, against)
    with _calls(session, settings) as calls:
        result = measure(settings, question_set, chosen, again=True, calls=calls).result
        before = None if other is None else measure(settings, question_set, other, calls=calls).result
    path = write_report(settings, chosen)
    value, report = result.to_json() | {"report": str(path)}, markdown(result)
    if before is not None and other is not None:
        found = side_by_side(result, before)
        value |= {"against": _as_json(found, other, chosen)}
        report = f"{report}\n{comparison_markdown(found, other, chosen)}"

    def text(out: Console) -> None:
        _print_markdown(out, report)
        out.print(f"Report with plots: {path}", markup=False)

    session.show(value, text)


@verb
def report(
    session: Session,
    generation: Annotated[
        str, typer.Option("--generation", help="Its number, or live; published or not, but evaluated.")
    ] = "live",
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write it; else reports/ in the home folder.")
    ] = None,
    index: Index = None,
) -> None:
    """Write a generation's evaluation as one HTML page: figures, plots, failures. Nothing is asked anew."""
    from ragwright.evaluation.report_file import write_report

    settings = session.settings(index=index)
    number = _numbered(settings, generation)
    path = write_report(settings, number, out=out)
    session.show(
        {"generation": number, "report": str(path)},
        lambda console: console.print(f"The report of generation {number} is in {path}", markup=False),
    )


@verb
def compare(
    session: Session,
    before: Annotated[str, typer.Argument(help="A generation: its number, or live.")],
    after: Annotated[str, typer.Argument(help="Another one, published or not.")],
    questions: Questions = None,
    sample: Sample = None,
    index: Index = None,
) -> None:
    """Put two generations side by side: what they answer to the same questions, and which fare differently."""
    from ragwright.assembly import load_questions
    from ragwright.evaluation.comparison import compare as side_by_side
    from ragwright.evaluation.gate_report import comparison_markdown
    from ragwright.measuring import measure

    settings = session.settings(index=index)
    question_set = load_questions(settings, questions, at_most=sample or settings.gate.sample)
    one, other = _numbered(settings, before), _numbered(settings, after)
    with _calls(session, settings) as calls:
        was, now = (measure(settings, question_set, number, calls=calls).result for number in (one, other))
    found = side_by_side(now, was)
    session.show(_as_json(found, one, other), lambda out: _print_markdown(out, comparison_markdown(found, one, other)))


@contextmanager
def _calls(session: Session, settings: Settings) -> Iterator[Calls]:
    from ragwright.measuring import Calls

    minutes = settings.endpoints.ask_lease_minutes
    with session.progress() as progress:
        yield Calls(progress, started=lambda names: tell_started(session, names, minutes))


def _to_score(settings: Settings, against: str | None) -> int:
    """The generation to score if none is named: the live one, or the newest blocked one against it."""
    from ragwright.index.attempt import open_catalog
    from ragwright.index.history import generations

    live = _numbered(settings, "live")
    if against != "live":
        return live
    with open_catalog(settings) as catalog:
        blocked = [info.generation for info in generations(catalog) if info.state == "blocked"]
    if not blocked or blocked[0] < live:
        raise ConfigurationError(
            f"generation {live} is live, and no candidate came after it to be compared with it",
            hint="Name one with --generation; `ragwright generations` lists them.",
        )
    return blocked[0]


def _print_markdown(out: Console, text: str) -> None:
    from rich.markdown import Markdown

    out.print(Markdown(text))


def _numbered(settings: Settings, name: str) -> int:
    """The number of a generation that is named by it, or as `live`."""
    from ragwright.index.attempt import open_catalog
    from ragwright.measuring import live_generation

    if name == "live":
        return live_generation(settings)
    if not name.isdecimal():
        raise ConfigurationError(
            f"{name!r} is no generation", hint="Give a number from `ragwright generations`, or live."
        )
    with open_catalog(settings) as catalog:
        return catalog.begin_of(int(name)).generation


def _as_json(found: Comparison, before: int, after: int) -> dict[str, Any]:
    figures = {
        figure.metric.name: {
            "questions": figure.questions,
            "before": figure.live,
            "after": figure.candidate,
            "difference": figure.difference,
            "low": figure.low,
            "high": figure.high,
            "better": figure.better,
            "worse": figure.worse,
            "chance": figure.chance,
        }
        for figure in found.figures
    }
    changed = [change.to_json() for change in found.changes]
    return {"before": before, "after": after, "figures": figures, "changed": changed, "reworded": found.reworded}
