"""`ragwright questions make` and `check`: question sets without labels, and whether a set is fit to be asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragwright.cli.session import Session, verb

if TYPE_CHECKING:
    from rich.console import Console

    from ragwright.evaluation.checking import Checked

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make and check question sets.")

_LINES = 50
"""Faults and missing rows printed; with --json all of them are."""


@app.command()
@verb
def make(
    session: Session,
    source: Annotated[str, typer.Option("--source", help="The FAQ: a path, s3:// or https:// (CSV, JSONL, Parquet).")],
    out: Annotated[Path, typer.Option("--out", help="Where to write the question set (JSONL).")],
    count: Annotated[int, typer.Option("--count", min=2, help="Questions wanted; half of them unanswerable.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Another seed draws another set.")] = 7,
    other: Annotated[
        list[str] | None,
        typer.Option("--other", help="An FAQ about something else, for questions that this one does not answer."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
) -> None:
    """Make a question set from an FAQ without labels; the same rows and seed give the same file."""
    from ragwright.errors import ConfigurationError
    from ragwright.evaluation.making import make as make_set
    from ragwright.evaluation.making import read_rows
    from ragwright.evaluation.questions import load

    if out.exists() and not force:
        raise ConfigurationError(
            f"{str(out)!r} exists already", hint="Name another file with --out, or replace it with --force."
        )
    settings = session.settings().source
    with session.progress() as progress:
        rows = read_rows(source, settings, progress=progress)
        others = [read_rows(place, settings, progress=progress) for place in other or ()]
        made = make_set(rows, count=count, seed=seed, others=others)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(made.questions.to_jsonl(), encoding="utf-8", newline="\n")
    kinds: dict[str, int] = {}
    for question in load(out).questions:
        kinds[question.kind] = kinds.get(question.kind, 0) + 1
    value = {"out": str(out), "questions": len(made.questions), "kinds": kinds, "notes": list(made.notes)}
    session.show(value, lambda console: _print_made(console, value))


@app.command()
@verb
def check(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The question set (JSONL).", show_default=False)],
    source: Annotated[str | None, typer.Option("--source", help="The FAQ, to look up the rows that are named.")] = None,
) -> None:
    """Check a question set. Exit code 0: fit to be asked; 1: it has faults, each with its line, field and value."""
    from ragwright.evaluation.checking import check as check_set
    from ragwright.evaluation.making import read_rows

    rows = None
    if source is not None:
        with session.progress() as progress:
            rows = read_rows(source, session.settings().source, progress=progress)
    checked = check_set(file, rows)
    session.show(checked.to_json(), lambda console: _print_checked(console, checked))
    if not checked.fit:
        raise typer.Exit(1)


def _print_made(out: Console, value: dict[str, Any]) -> None:
    out.print(f"{value['questions']} questions in {value['out']}:", markup=False)
    for kind, count in value["kinds"].items():
        out.print(f"  {count:>5}  {kind}", markup=False)
    for note in value["notes"]:
        out.print(f"note: {note}", markup=False)


def _print_checked(out: Console, checked: Checked) -> None:
    value = checked.to_json()
    answerable = value["answerable"]
    out.print(
        f"{value['questions']} questions in {value['source']}: {answerable} answerable, "
        f"{value['questions'] - answerable} not.",
        markup=False,
    )
    for fault in checked.faults[:_LINES]:
        out.print(f"line {fault.line}: {fault}", markup=False)
    if checked.named is not None:
        out.print(f"{checked.named - len(checked.missing)} of {checked.named} rows named are in the FAQ.")
    for row, ids in list(checked.missing.items())[:_LINES]:
        out.print(f"no such row: {row!r} (question {', '.join(ids)})", markup=False)
    more = max(0, len(checked.faults) - _LINES) + max(0, len(checked.missing) - _LINES)
    if more:
        out.print(f"and {more} more; --json lists all.")
