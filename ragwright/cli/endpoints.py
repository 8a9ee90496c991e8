"""`ragwright endpoints`: see, start, prolong and stop model endpoints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from ragwright.cli.session import Session, verb
from ragwright.errors import GuardRefused, TimedOut

if TYPE_CHECKING:
    from rich.console import Console

    from ragwright.endpoints import EndpointHost, EndpointInfo
    from ragwright.endpoints.costs import EndpointCost
    from ragwright.settings import Settings

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="See, start, prolong and stop model endpoints.")


@app.command()
@verb
def up(
    session: Session,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Length of the lease; without it the settings' lease_minutes.")
    ] = None,
) -> None:
    """Deploy the configured embedder and language model, and wait until both are in service."""
    from ragwright.assembly import fetch_models, wanted_endpoints
    from ragwright.endpoints import Lease, open_host

    settings = session.settings()
    specs = wanted_endpoints(settings)
    lease = Lease.lasting(owner=settings.endpoints.owner, minutes=minutes or settings.endpoints.lease_minutes)
    if not specs:
        session.say("The settings name no endpoint to deploy.")
    with session.progress() as progress:
        fetch_models(settings, specs, progress=progress)
    with open_host(settings) as host:
        wanted = {spec.name for spec in specs}
        _refuse_foreign([info for info in host.list() if info.name in wanted], settings)
        with ThreadPoolExecutor(max_workers=max(1, len(specs))) as pool:
            list(pool.map(lambda spec: host.deploy(spec, lease), specs))
        infos = _wait(session, host, [spec.name for spec in specs], settings.endpoints.start_timeout_seconds)
    _show(session, infos, settings)


@app.command()
@verb
def ls(
    session: Session,
    all_owners: Annotated[bool, typer.Option("--all-owners", help="Other owners' endpoints too.")] = False,
) -> None:
    """List endpoints: what runs, until when, what it has cost and will cost; the reason where one has failed."""
    from ragwright.endpoints import open_host

    settings = session.settings()
    with open_host(settings) as host:
        infos = host.list(owner=None if all_owners else settings.endpoints.owner)
    if not infos:
        session.say("No endpoints.")
    _show(session, infos, settings)


@app.command()
@verb
def extend(
    session: Session,
    name: Annotated[str, typer.Argument(help="The endpoint.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="From now on.")],
) -> None:
    """Let an endpoint live longer; a lease that ends later already stays as it is."""
    from datetime import UTC, datetime, timedelta

    from ragwright.endpoints import open_host

    settings = session.settings()
    with open_host(settings) as host:
        _refuse_foreign([host.describe(name)], settings)
        info = host.extend(name, datetime.now(UTC) + timedelta(minutes=minutes))
    _show(session, [info], settings)


@app.command()
@verb
def down(
    session: Session,
    names: Annotated[list[str] | None, typer.Argument(help="Which; without names all of this owner's.")] = None,
    all_owners: Annotated[bool, typer.Option("--all", help="Other owners' endpoints too.")] = False,
) -> None:
    """Stop endpoints and wait until they are gone."""
    from ragwright.endpoints import open_host

    settings = session.settings()
    with open_host(settings) as host:
        there = host.list(owner=None if names or all_owners else settings.endpoints.owner)
        if not all_owners:
            _refuse_foreign([info for info in there if not names or info.name in names], settings)
        chosen = list(dict.fromkeys(names or [info.name for info in there]))
        with ThreadPoolExecutor(max_workers=8) as pool:
            gone = dict(zip(chosen, pool.map(host.delete, chosen), strict=True))
    for name, was_there in gone.items():
        if not was_there:
            session.say(f"There is no endpoint {name!r}.")
    if not gone:
        session.say("No endpoints to stop.")
    deleted = [name for name, was_there in gone.items() if was_there]
    missing = [name for name, was_there in gone.items() if not was_there]
    session.show({"deleted": deleted, "missing": missing}, lambda out: _print_deleted(out, deleted))


def _refuse_foreign(infos: Sequence[EndpointInfo], settings: Settings) -> None:
    foreign = [info for info in infos if info.owner != settings.endpoints.owner]
    if foreign:
        raise GuardRefused(
            f"endpoint {foreign[0].name!r} belongs to {foreign[0].owner or 'an unknown owner'!r}, "
            f"not to {settings.endpoints.owner!r}",
            hint="Choose another name, act as its owner (RAGWRIGHT_ENDPOINTS__OWNER), or stop it with `down --all`.",
        )


def _wait(session: Session, host: EndpointHost, names: Sequence[str], timeout: float) -> list[EndpointInfo]:
    deadline = time.monotonic() + timeout
    with session.progress() as progress:
        while True:
            in_service = sum(host.describe(name).status == "InService" for name in names)
            progress("endpoints in service", in_service, len(names))
            left = deadline - time.monotonic()
            try:
                infos = host.wait(names, timeout=max(0.0, min(1.0, left)))
            except TimedOut:
                if left <= 1.0:
                    raise
            else:
                progress("endpoints in service", len(names), len(names))
                return infos


def _show(session: Session, infos: Sequence[EndpointInfo], settings: Settings) -> None:
    from datetime import UTC, datetime

    from ragwright.endpoints.costs import endpoint_cost, load_price_book

    billed = sorted({info.instance_type for info in infos if info.instance_type})
    book = load_price_book(settings, billed)
    now = datetime.now(UTC)
    costs = [endpoint_cost(info, book, now) for info in infos]
    for note in book.notes(billed, now.date()):
        session.say(f"note: {note}")
    session.show(
        [info.model_dump(mode="json") | cost.to_json() for info, cost in zip(infos, costs, strict=True)],
        lambda out: _print_table(out, infos, costs),
    )


def _print_table(out: Console, infos: Sequence[EndpointInfo], costs: Sequence[EndpointCost]) -> None:
    from rich.table import Table

    if not infos:
        return
    table = Table(box=None, pad_edge=False)
    bills = ("runs on", "USD so far", "USD to its end") if any(info.instance_type for info in infos) else ()
    for heading in ("name", "host", "status", "model", "owner", "lease ends", *bills, "url"):
        table.add_column(heading, overflow="fold")
    for info, cost in zip(infos, costs, strict=True):
        ends = f"{info.lease_expires_at.astimezone():%Y-%m-%d %H:%M:%S}" if info.lease_expires_at else ""
        figures = [_runs_on(info), _usd(cost.so_far), _usd(cost.until_lease_end)] if bills else []
        table.add_row(info.name, info.host, info.status, info.model, info.owner, ends, *figures, info.url or "")
    out.print(table)
    for info in infos:
        if info.failure_reason:
            out.print(f"{info.name}: {info.failure_reason}", markup=False)


def _runs_on(info: EndpointInfo) -> str:
    if info.instance_type is None:
        return "this machine"
    return info.instance_type if info.instances <= 1 else f"{info.instances} x {info.instance_type}"


def _usd(amount: float | None) -> str:
    return "not known" if amount is None else f"{amount:.2f}"


def _print_deleted(out: Console, deleted: Sequence[str]) -> None:
    for name in deleted:
        out.print(f"stopped {name}", markup=False)
