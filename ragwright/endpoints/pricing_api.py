"""What the AWS Price List says SageMaker hosting costs; asked only where the settings allow it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from ragwright.endpoints.aws import Aws
from ragwright.endpoints.instances import HOSTING, Price, PriceSource
from ragwright.errors import BadReply
from ragwright.retry import RetryPolicy

_SERVED_IN = "us-east-1"  # the Price List is asked in one of a few regions and answers for all


def hosting_prices(region: str, *, retry: RetryPolicy, timeout: float = 20) -> dict[str, Price]:
    """On-demand prices of real-time hosting in a region, by instance type.

    Args:
        region: The region whose prices are wanted.
        retry: What may pass is tried again by it.
        timeout: Limit on each request in seconds.

    Raises:
        ConfigurationError: The AWS SDK or credentials are missing.
        RequestRejected: The credentials may not ask (`pricing:GetProducts`).
        Throttled, TimedOut, Unavailable, BadReply: It did not answer, or not as documented.
    """
    wanted = {"component": "Hosting", "regionCode": region}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    found: dict[str, Price] = {}
    aws = Aws(_SERVED_IN, retry=retry, read_seconds=timeout)
    try:
        for product in aws.pages(
            "pricing", "get_products", "PriceList", ServiceCode="AmazonSageMaker", Filters=filters
        ):
            found |= _prices(product, region)
    finally:
        aws.close()
    return found


def _prices(product: str, region: str) -> dict[str, Price]:
    """The price of one product, a JSON text; none where it is free or not priced on demand."""
    found = {}
    try:
        told: dict[str, Any] = json.loads(product)
        name = told["product"]["attributes"]["instanceName"]
        for term in told["terms"].get("OnDemand", {}).values():
            dated = datetime.fromisoformat(term["effectiveDate"]).date()
            source = PriceSource(region=region, of=HOSTING, dated=dated, where="AWS Price List API, AmazonSageMaker")
            for dimension in term["priceDimensions"].values():
                if usd := float(dimension["pricePerUnit"]["USD"]):
                    found[name] = Price(usd, source)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadReply(f"a product of the AWS Price List is not as documented: {error!r}") from error
    return found
