"""`ragwright reindex`: bring the index up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragwright.cli.session import Session, verb
from ragwright.errors import GateBlocked

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
    questions: Annotated[
        Path | None, typer.Option("--questions", help="Question set (JSONL) that the new generation must pass.")
    ] = None,
    sample: Annotated[int | None, typer.Option("--sample", min=1, help="Ask only so many of them.")] = None,
    gate: Annotated[
        str | None, typer.Option("--gate", help="What failing it leads to: warn, block (the default) or off.")
    ] = None,
) -> None:
    """Bring the index to what the source says; readers move to it at once, or not at all."""
    from ragwright.assembly import in_service, wanted_endpoints
    from ragwright.gating import Gatekeeper
    from ragwright.index.attempt import ReindexRequest
    from ragwright.index.reindex import reindex as run
    from ragwright.measuring import Calls
    from ragwright.sources import open_source

    settings = session.settings(index=index, gate={"mode": gate} if gate else None)
    minutes = settings.endpoints.ask_lease_minutes
    request = ReindexRequest(
        source=source, full=full, resume=resume, allow_mass_delete=allow_mass_delete, reason=reason
    )
    with session.progress() as progress:
        if not source.startswith(("s3://", "https://", "http://")):
            open_source(source, settings.source).close()  # a mistyped name should not wait for a model to start
        calls = Calls(progress, started=lambda names: tell_started(session, names, minutes))
        keeper = Gatekeeper.of(settings, questions, sample=sample, calls=calls)
        embedder = wanted_endpoints(settings, generator=False)
        with in_service(settings, embedder, minutes=minutes, progress=progress) as started:
            tell_started(session, [info.name for info in started], minutes)
            try:
                report = run(settings, request, gate=keeper, progress=progress)
            except GateBlocked as blocked:
                session.report(blocked, **blocked.report)
                raise typer.Exit(1) from blocked
    session.show(report.to_json(), lambda out: _print_report(out, report))


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
    out.print(f"Gate: {report.gate.verdict} ({report.gate.reason}).", markup=False)
    for notice in report.notices:
        out.print(f"note: {notice}", markup=False)
    for rule, count in {**report.quality["quarantined"], **report.quality["warnings"]}.items():
        out.print(f"{rule}: {count} rows", markup=False)
