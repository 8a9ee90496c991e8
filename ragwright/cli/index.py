"""`ragwright reindex` and `ragwright evaluate`: bring the index up to date, and score it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragwright.cli.session import Session, verb

if TYPE_CHECKING:
    from rich.console import Console

    from ragwright.index.reindex import ReindexReport

Index = Annotated[str | None, typer.Option("--index", help="Name of the index (RAGWRIGHT_INDEX; else faq).")]


@verb
def reindex(
    session: Session,
    source: Annotated[str, typer.Option("--source", help="The FAQ: a path, s3:// or https:// (CSV, JSONL, Parquet).")],
    index: Index = None,
    full: Annotated[bool, typer.Option("--full", help="Embed everything again, into a new space.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the last unpublished run stopped.")] = False,
    allow_mass_delete: Annotated[
        bool, typer.Option("--allow-mass-delete", help="Accept a source that lost more than half of its rows.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the log.")] = "",
) -> None:
    """Bring the index to what the source says; readers move to it at once, or not at all."""
    from ragwright.assembly import in_service, wanted_endpoints
    from ragwright.index.attempt import ReindexRequest
    from ragwright.index.reindex import reindex as run
    from ragwright.sources import open_source

    settings = session.settings(index=index)
    request = ReindexRequest(
        source=source, full=full, resume=resume, allow_mass_delete=allow_mass_delete, reason=reason
    )
    with session.progress() as progress:
        if not source.startswith(("s3://", "https://", "http://")):
            open_source(source, settings.source).close()  # a mistyped name should not wait for a model to start
        with in_service(
            settings,
            wanted_endpoints(settings, generator=False),
            minutes=settings.endpoints.ask_lease_minutes,
            progress=progress,
        ) as started:
            tell_started(session, [info.name for info in started], settings.endpoints.ask_lease_minutes)
            report = run(settings, request, progress=progress)
    session.show(report.to_json(), lambda out: _print_report(out, report))


@verb
def evaluate(
    session: Session,
    questions: Annotated[Path | None, typer.Option("--questions", help="Question set (JSONL).")] = None,
    index: Index = None,
    sample: Annotated[int | None, typer.Option("--sample", min=1, help="Ask only so many, drawn with a seed.")] = None,
) -> None:
    """Score the live generation with a question set."""
    from ragwright.assembly import evaluate_index, in_service, load_questions, wanted_endpoints
    from ragwright.evaluation.report import markdown

    settings = session.settings(index=index)
    question_set = load_questions(settings, questions, at_most=sample)
    minutes = settings.endpoints.ask_lease_minutes
    with (
        session.progress() as progress,
        in_service(settings, wanted_endpoints(settings), minutes=minutes, progress=progress) as started,
    ):
        tell_started(session, [info.name for info in started], minutes)
        result = evaluate_index(settings, question_set, progress=progress)

    def text(out: Console) -> None:
        from rich.markdown import Markdown

        out.print(Markdown(markdown(result)))

    session.show(result.to_json(), text)


def tell_started(session: Session, names: list[str], minutes: float) -> None:
    """Say which endpoints a verb started by itself, and when they stop."""
    if names:
        they, stop, themselves, their, them = (
            ("it", "stops", "itself", "its", "it")
            if len(names) == 1
            else ("they", "stop", "themselves", "their", "them")
        )
        session.say(
            f"Started {' and '.join(names)} on this machine; {they} {stop} by {themselves} {minutes:g} minutes after "
            f"{their} last use (`ragwright endpoints down` stops {them} now)."
        )


def _print_report(out: Console, report: ReindexReport) -> None:
    ledger = report.ledger
    out.print(
        f"Generation {report.generation} is live: {ledger.source_rows} source rows = {ledger.added} added + "
        f"{ledger.updated} updated + {ledger.unchanged} unchanged + {ledger.quarantined} quarantined + "
        f"{ledger.failed} failed; {ledger.removed} removed."
    )
    out.print(
        f"{report.chunks} sections; {report.embedded} embedded, {report.written} records written, "
        f"in {report.seconds:.1f} s."
    )
    for notice in report.notices:
        out.print(f"note: {notice}", markup=False)
    for rule, count in {**report.quality["quarantined"], **report.quality["warnings"]}.items():
        out.print(f"{rule}: {count} rows", markup=False)
