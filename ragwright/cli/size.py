"""`ragwright size`: the memory a model needs and the cheapest instance that has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ragwright.cli.session import Session, verb

if TYPE_CHECKING:
    from rich.console import Console

    from ragwright.endpoints.sizing import Demand, Fit, Sizing

_SHOWN = 5


@verb
def size(
    session: Session,
    model: Annotated[str, typer.Argument(help="A name, a config.json, a .gguf file, or a number: 7B, 70e9.")],
    bits: Annotated[
        int | None, typer.Option("--bits", help="Of one weight; without it 16, or what a .gguf file has.")
    ] = None,
    context: Annotated[
        int | None, typer.Option("--context", min=1, help="Tokens of one sequence; without it at most 4096.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Sequences at a time.")] = 1,
    cpu: Annotated[
        bool | None, typer.Option("--cpu/--gpu", help="Also types without a GPU; without it for encoders only.")
    ] = None,
) -> None:
    """Work out what a model needs and name the cheapest SageMaker instance that has it, with the arithmetic."""
    from datetime import UTC, datetime

    from ragwright.endpoints.costs import load_price_book
    from ragwright.endpoints.shape import read_shape
    from ragwright.endpoints.sizing import demand_of
    from ragwright.endpoints.sizing import size as find

    demand = demand_of(read_shape(model), bits=bits, context=context, batch=batch)
    book = load_price_book(session.settings())
    found = find(demand, book.table.instances.values(), book.price, cpu=cpu)
    shown = [fit.instance.name for fit in found.fitting[: _SHOWN + 1] if fit.price]
    notes = book.notes(shown, datetime.now(UTC).date())
    session.show(found.to_json() | {"price_notes": notes}, lambda out: _print(out, found, notes))


def _print(out: Console, found: Sizing, notes: list[str]) -> None:
    demand, shape = found.demand, found.demand.shape
    out.print(f"{shape.name}: {shape.parameters:,} parameters ({shape.origin})", markup=False)
    widths = ", ".join(f"{gigabytes(shape.parameters * bits / 8)} in {bits} bits" for bits in (32, 16, 8, 4))
    out.print(f"Weights take {widths}.")
    for term in (*demand.weights, demand.cache, demand.activations):
        out.print(f"  {term.name:<12} {term.formula} = {both(term.bytes)}", markup=False)
    best = found.cheapest
    if best is not None and best.price is not None:
        out.print(f"Cheapest that fits: {best.instance.name}, {best.price.usd_per_hour:g} USD an hour.", markup=False)
        out.print(f"  {_arithmetic(demand, best)}", markup=False)
    elif found.fitting:
        out.print("No instance type whose price is known has room for it; these have:")
    else:
        out.print("No instance type has room for it: try fewer bits, a shorter context, or a smaller batch.")
    others = [fit for fit in found.fitting if fit is not best]
    _print_others(out, others[:_SHOWN])
    if more := [fit.instance.name for fit in others[_SHOWN:]]:
        out.print(f"It fits on {len(more)} more; --json names them.")
    for note in (*found.notices, *notes):
        out.print(f"note: {note}", markup=False)


def _arithmetic(demand: Demand, fit: Fit) -> str:
    from ragwright.endpoints.sizing import CPU_RUNTIME_BYTES, CUDA_CONTEXT_BYTES, USABLE_SHARE

    model, cache, activations = demand.model_bytes, demand.cache.bytes, demand.activations.bytes
    usable = f"{gigabytes(fit.needed)} of {gigabytes(fit.usable)}, {USABLE_SHARE:.0%} of"
    if not fit.devices:
        server = f"{gigabytes(CPU_RUNTIME_BYTES)} for the server"
        return f"{gigabytes(model + cache + activations)} + {server} = {usable} its memory"
    parts = "" if fit.devices == 1 else f" / {fit.devices}"
    cached = "" if fit.devices == 1 else f" x {demand.cache_share(fit.devices):.3g}"
    idle = fit.instance.gpus - fit.devices
    unused = f"; {idle} stay unused, since the heads do not divide by {fit.instance.gpus}" if idle else ""
    return (
        f"{gigabytes(model)}{parts} of weights + {gigabytes(cache)}{cached} of KV cache + {gigabytes(activations)} of "
        f"activations + {gigabytes(CUDA_CONTEXT_BYTES)} of CUDA context = {usable} "
        f"{'the' if fit.devices == 1 else f'each of {fit.devices}'} {fit.instance.gpu}{unused}"
    )


def _print_others(out: Console, fits: list[Fit]) -> None:
    from rich.table import Table

    if not fits:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("also", "USD an hour", "on", "needs, of each", "of usable"):
        table.add_column(heading)
    for fit in fits:
        price = f"{fit.price.usd_per_hour:g}" if fit.price else "not known"
        where = f"{fit.devices} x {fit.instance.gpu}" if fit.devices else "CPU"
        table.add_row(fit.instance.name, price, where, gigabytes(fit.needed), gigabytes(fit.usable))
    out.print(table)


def gigabytes(count: float) -> str:
    """A size in GB of 1e9 bytes, four digits."""
    value = count / 1e9
    return f"{value:,.0f} GB" if value >= 10_000 else f"{value:.4g} GB"


def both(count: float) -> str:
    """A size in GB and in GiB, so that neither is taken for the other."""
    return f"{gigabytes(count)} ({count / 2**30:.4g} GiB)"
