"""`ragwright plan`, `generations`, `rollback`, `publish`, `vacuum`, `verify`: what an index is and what readers see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ragwright.cli.index import Index
from ragwright.cli.session import Session, verb
from ragwright.errors import RagwrightError

if TYPE_CHECKING:
    from rich.console import Console

    from ragwright.index.audit import Audit
    from ragwright.index.expense import ReindexCost
    from ragwright.index.history import GenerationInfo
    from ragwright.index.preview import Preview
    from ragwright.settings import Settings

Source = Annotated[
    str | None, typer.Option("--source", help="The FAQ; without it the one the live generation was made from.")
]


@verb
def plan(
    session: Session,
    source: Annotated[str, typer.Option("--source", help="The FAQ: a path, s3:// or https:// (CSV, JSONL, Parquet).")],
    index: Index = None,
    full: Annotated[bool, typer.Option("--full", help="As if everything were embedded again.")] = False,
    allow_mass_delete: Annotated[
        bool, typer.Option("--allow-mass-delete", help="Plan also if the source lost more than half of its rows.")
    ] = False,
) -> None:
    """Show what a re-index would do: rows, sections, tokens, time, cost. Nothing is written, nothing needs to run."""
    from ragwright.index.attempt import ReindexRequest
    from ragwright.index.expense import reindex_cost
    from ragwright.index.preview import preview

    settings = session.settings(index=index)
    request = ReindexRequest(source=source, full=full, allow_mass_delete=allow_mass_delete)
    with session.progress() as progress:
        found = preview(settings, request, progress=progress)
    cost = reindex_cost(settings, found)
    session.show(found.to_json() | {"cost": cost.to_json()}, lambda out: _print_plan(out, found, cost))


@verb
def generations(session: Session, index: Index = None) -> None:
    """List every generation and attempt, newest first."""
    from ragwright.index.attempt import open_catalog
    from ragwright.index.history import generations as history

    with open_catalog(session.settings(index=index)) as catalog:
        found = history(catalog)
    session.show([info.model_dump(mode="json") for info in found], lambda out: _print_generations(out, found))


@verb
def rollback(
    session: Session,
    to: Annotated[
        int | None, typer.Option("--to", help="The generation; without it the one before the live one.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the log.")] = "",
    index: Index = None,
) -> None:
    """Let readers see an older generation again, at once."""
    from ragwright.index.attempt import open_catalog
    from ragwright.index.history import rollback as go_back

    with open_catalog(session.settings(index=index)) as catalog:
        entry = go_back(catalog, to, reason=reason)
    session.show(entry.model_dump(mode="json"), lambda out: out.print(f"Generation {entry.generation} is live again."))


@verb
def publish(
    session: Session,
    generation: Annotated[int, typer.Argument(help="A generation that the gate blocked.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it goes live all the same, for the log.")],
    index: Index = None,
) -> None:
    """Let readers see a generation that the gate blocked; all of it is verified first."""
    from ragwright.index.reindex import writing
    from ragwright.index.release import release

    with writing(session.settings(index=index), "publish") as (catalog, store, lease):
        entry = release(catalog, store, lease, generation, reason=reason)
    session.show(entry.model_dump(mode="json"), lambda out: out.print(f"Generation {entry.generation} is live."))


@verb
def vacuum(
    session: Session,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Generations that can still be read.")] = None,
    index: Index = None,
) -> None:
    """Remove what no retained generation shows."""
    from ragwright.index.reindex import writing
    from ragwright.index.vacuum import vacuum as clean

    settings = session.settings(index=index)
    with writing(settings, "vacuum") as (catalog, store, lease), session.progress() as progress:
        done = clean(catalog, store, lease, keep=keep or settings.retention.generations, progress=progress)
    session.show(
        done.to_json(),
        lambda out: out.print(
            f"Removed {done.records} records, {done.spaces} spaces and {done.files} files; the oldest generation that "
            f"can be read is {done.floor}."
        ),
    )


@verb
def verify(
    session: Session,
    source: Source = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what differs, in a new generation.")] = False,
    index: Index = None,
) -> None:
    """Prove that source = manifest = store. Exit code 0: true; 1: drift, and what would repair it; 2: cannot tell."""
    from ragwright.maintenance import mend

    settings = session.settings(index=index)
    try:
        found = _audit(session, settings, source)
        if repair and found.damage:
            with session.progress() as progress:
                report = mend(settings, found, source, progress=progress)
            session.say(f"Generation {report.generation} mends {len(found.damage.records)} records; checking again.")
            found = _audit(session, settings, source)
    except RagwrightError as error:
        session.report(error)
        raise typer.Exit(2) from error
    session.show(found.to_json(), lambda out: _print_audit(out, found))
    if not found.true:
        raise typer.Exit(1)


def _audit(session: Session, settings: Settings, source: str | None) -> Audit:
    from ragwright.maintenance import audit_live

    with session.progress() as progress:
        return audit_live(settings, source, progress=progress)


def _print_plan(out: Console, found: Preview, cost: ReindexCost) -> None:
    ledger = found.ledger
    out.print(
        f"{ledger.source_rows} source rows: {ledger.added} to add, {ledger.updated} to update, "
        f"{ledger.unchanged} unchanged, {ledger.quarantined} unfit; {ledger.removed} to remove."
    )
    took = "no earlier run says how long that takes" if found.seconds is None else f"about {found.seconds:g} s"
    out.print(
        f"{found.embed} sections to embed ({found.tokens} tokens, {took}), {found.end} records to end, "
        f"{found.keep} stay as they are" + ("; into a new space." if found.new_space else ".")
    )
    out.print(f"Cost: {cost}", markup=False)
    for rule, count in found.quarantined.items():
        out.print(f"{rule}: {count} rows", markup=False)
    for notice in (*found.notices, *cost.notes):
        out.print(f"note: {notice}", markup=False)


def _print_generations(out: Console, found: list[GenerationInfo]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("generation", "state", "published", "rows", "records", "reason"):
        table.add_column(heading, overflow="fold")
    for info in found:
        when = f"{info.published_at.astimezone():%Y-%m-%d %H:%M:%S}" if info.published_at else ""
        rows, records = (str(info.counts.get(name, "")) for name in ("source_rows", "records"))
        table.add_row(str(info.generation), info.state, when, rows, records, info.reason)
    out.print(table)


def _print_audit(out: Console, found: Audit) -> None:
    if found.true:
        compared = "source, manifest and store" if found.source is not None else "manifest and store"
        out.print(f"True: {compared} of generation {found.generation} agree on {found.records} records.")
        return
    out.print(f"Drift in generation {found.generation} ({found.records} records):")
    for item in found.damage.records["kind"].value_counts().to_pylist():
        out.print(f"  {item['counts']} records {item['values']}")
    for what, count in (found.source or {}).items():
        out.print(f"  {count} rows {what} in the source since")
    for repair in found.repairs:
        out.print(f"To repair: {repair}", markup=False)
