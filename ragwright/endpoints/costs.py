"""What endpoints have cost, what they will cost, and what a re-index would."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from ragwright.endpoints import EndpointInfo, EndpointStatus
from ragwright.endpoints.instances import Price, PriceTable, load_prices
from ragwright.errors import RagwrightError
from ragwright.settings import Settings

_HOUR = 3600.0
DEFAULT_REGION = "us-east-1"
"""The region of the packaged prices."""
SERVERLESS = "serverless"
"""How the instance type of an endpoint begins that is billed by use."""


@dataclass(frozen=True)
class PriceBook:
    """The prices of one run: the table, and over it what the AWS Price List said if it was asked.

    Attributes:
        table: Instance types and other prices.
        region: Where the endpoints run.
        warn_after_days: A price older than this is stale.
        asked: Prices that the Price List told.
        warnings: Why it told none, where it should have.
    """

    table: PriceTable
    region: str = DEFAULT_REGION
    warn_after_days: int = 180
    asked: dict[str, Price] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def price(self, instance_type: str) -> Price | None:
        """The price of an instance type; None where none is known."""
        return self.asked.get(instance_type) or self.table.price(instance_type)

    def notes(self, instance_types: Iterable[str], today: date) -> list[str]:
        """Prices that are stale, of something else, or missing; types of which the same is to be said share a line."""
        said: dict[str, list[str]] = {}
        for name in sorted(set(instance_types)):
            price = self.price(name)
            if name.startswith(SERVERLESS):
                usd = self.table.serverless.usd_per_gb_second
                said[f"is {usd:g} USD for a second of computing with 1 GB of memory"] = [name]
            elif price is None:
                said.setdefault("is not known: name it in costs.prices, or allow costs.use_pricing_api", []).append(
                    name
                )
            elif notes := price.notes(self.region, today, self.warn_after_days):
                said.setdefault(f"is {' and '.join(notes)}", []).append(name)
        return [*self.warnings, *(f"the price of {', '.join(names)} {what}" for what, names in said.items())]


def load_price_book(settings: Settings, wanted: Collection[str] | None = None) -> PriceBook:
    """The prices that the settings name. A Price List that does not answer is a warning: the table stands in.

    Args:
        settings: `costs`, and the region of `sagemaker`.
        wanted: Instance types whose price will be looked up. The Price List is not asked for none; None: any.

    Raises:
        ConfigurationError: The user's price file is not valid.
    """
    region, costs = settings.sagemaker.region or DEFAULT_REGION, settings.costs
    book = PriceBook(load_prices(costs.prices), region, costs.warn_after_days)
    if not costs.use_pricing_api or (wanted is not None and not wanted):
        return book
    from ragwright.endpoints.pricing_api import hosting_prices

    try:
        return replace(book, asked=hosting_prices(region, retry=settings.retry))
    except RagwrightError as error:
        return replace(book, warnings=(f"{error} Prices are those of the table.",))


@dataclass(frozen=True)
class EndpointCost:
    """What one endpoint costs, in USD; None where that is not known.

    Attributes:
        so_far: From its creation to now. An upper bound: instances are billed from when they serve.
        until_lease_end: From now to the end of its lease, if nobody extends it.
        price: What it was reckoned with; None on this machine, or where no price is known.
    """

    so_far: float | None
    until_lease_end: float | None
    price: Price | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, in cents of a cent."""
        return {
            "cost_so_far_usd": None if self.so_far is None else round(self.so_far, 4),
            "cost_until_lease_end_usd": None if self.until_lease_end is None else round(self.until_lease_end, 4),
            "price_dated": self.price.source.dated.isoformat() if self.price else None,
        }


def cost_between(info: EndpointInfo, price: Price, start: datetime, end: datetime) -> float:
    """USD for the time of [start, end] in which the endpoint exists; instances are billed by the second.

    Additive: the costs of two adjoining intervals are that of both together.
    """
    begin = start if info.created_at is None else max(start, info.created_at)
    hours = max(0.0, (end - begin).total_seconds()) / _HOUR
    return hours * info.instances * price.usd_per_hour


def endpoint_cost(info: EndpointInfo, book: PriceBook, now: datetime) -> EndpointCost:
    """What an endpoint has cost at `now`, and what it will cost from then until its lease ends.

    A model on this machine costs nothing; nor does an endpoint that failed to start, since it never served. One that is
    being deleted costs nothing from now on. What serverless endpoints cost follows from their use, which is not known.
    """
    if info.instance_type is None or info.status is EndpointStatus.FAILED:
        return EndpointCost(0.0, 0.0)
    price = book.price(info.instance_type)
    if price is None:
        return EndpointCost(None, None)
    so_far = None if info.created_at is None else cost_between(info, price, info.created_at, now)
    if info.status is EndpointStatus.DELETING:
        return EndpointCost(so_far, 0.0, price)
    ends = info.lease_expires_at
    return EndpointCost(so_far, None if ends is None else cost_between(info, price, now, ends), price)


def serverless_cost(table: PriceTable, *, memory_gb: float, seconds: float) -> float:
    """USD for so many seconds of computing on a serverless endpoint; idle time is free."""
    return memory_gb * max(0.0, seconds) * table.serverless.usd_per_gb_second
