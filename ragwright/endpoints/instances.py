"""SageMaker's instance types and what they cost: a dated table, a file of the user's over it, or the AWS Price List."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ragwright.errors import ConfigurationError

_PACKAGED = Path(__file__).with_name("instances.toml")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PriceSource(_Frozen):
    """Where a price was read, of which day it is, and what exactly it is the price of."""

    region: str
    of: str
    dated: date
    where: str

    def caveat(self, region: str) -> str:
        """What a reader of the figure must know: that it is another region's or another service's; else empty."""
        other_service, other_region = self.of != HOSTING, self.region != region
        what = self.of if other_service else ""
        where = f"{'in ' if other_service else ''}{self.region}" if other_region else ""
        return f"that of {' '.join(filter(None, (what, where)))}" if what or where else ""

    def staleness(self, today: date, warn_after_days: int) -> str:
        """That the price is old, with its date; empty if it is not."""
        age = (today - self.dated).days
        return f"stale, of {self.dated}, {age} days old" if age > warn_after_days else ""


HOSTING = "real-time hosting"


class InstanceType(_Frozen):
    """One instance type; memory of the host in GiB, of each GPU in GB (1e9 bytes)."""

    name: str
    vcpus: int = Field(ge=1)
    memory: float = Field(gt=0, description="Host memory in GiB.")
    gpu: str = ""
    gpus: int = Field(0, ge=0)
    gpu_memory: float = Field(0, ge=0, description="Of each GPU, in GB of 1e9 bytes.")
    usd_per_hour: float | None = Field(None, ge=0, description="On demand; None: not known.")
    source: str | None = Field(None, description="Name under [sources].")

    @model_validator(mode="after")
    def _is_whole(self) -> InstanceType:
        if (self.gpus > 0) != (self.gpu_memory > 0):
            raise ValueError("gpus and gpu_memory come together")
        if (self.usd_per_hour is None) != (self.source is None):
            raise ValueError("usd_per_hour and source come together")
        return self


class ServerlessPrice(_Frozen):
    """What serverless inference costs while it computes."""

    usd_per_gb_second: float = Field(ge=0)
    source: str


class PineconePrice(_Frozen):
    """What an on-demand Pinecone index costs."""

    usd_per_million_write_units: float = Field(ge=0)
    usd_per_million_read_units: float = Field(ge=0)
    usd_per_gb_month: float = Field(ge=0)
    source: str


class PriceTable(_Frozen):
    """What is known of instance types and prices."""

    sources: Mapping[str, PriceSource]
    instances: Mapping[str, InstanceType]
    serverless: ServerlessPrice
    pinecone: PineconePrice

    @model_validator(mode="after")
    def _names_its_sources(self) -> PriceTable:
        priced: list[tuple[str, str | None]] = [(name, item.source) for name, item in self.instances.items()]
        priced += [("serverless", self.serverless.source), ("pinecone", self.pinecone.source)]
        for name, source in priced:
            if source is not None and source not in self.sources:
                raise ValueError(f"{name}: there is no source {source!r}")
        return self

    def price(self, instance_type: str) -> Price | None:
        """The price of one instance; None where the table has none."""
        found = self.instances.get(instance_type)
        if found is None or found.usd_per_hour is None or found.source is None:
            return None
        return Price(found.usd_per_hour, self.sources[found.source])


@dataclass(frozen=True)
class Price:
    """What an instance costs in USD an hour, and who says so."""

    usd_per_hour: float
    source: PriceSource

    def notes(self, region: str, today: date, warn_after_days: int) -> list[str]:
        """What a person should know before trusting it; nothing for a fresh price of this region's hosting."""
        return [note for note in (self.source.caveat(region), self.source.staleness(today, warn_after_days)) if note]


def load_prices(own: Path | None = None) -> PriceTable:
    """The packaged table with the user's file over it: what the file names is replaced, the rest stays.

    Raises:
        ConfigurationError: The file cannot be read or says something unknown.
    """
    content = _read(_PACKAGED)
    place = _PACKAGED
    if own is not None:
        content, place = _over(content, _read(own), own), own
    try:
        instances = {name: {"name": name, **fields} for name, fields in content.pop("instances", {}).items()}
        return PriceTable.model_validate({"instances": instances, **content})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in error.errors(include_url=False))
        raise ConfigurationError(
            f"the price table is not valid: {faults}", place=str(place), hint="docs/sizing.md shows the layout."
        ) from error


def _over(below: dict[str, Any], above: dict[str, Any], place: Path) -> dict[str, Any]:
    merged = dict(below)
    for section, fields in above.items():
        one_by_one = section == "instances"  # a file may name the price alone and leave the sizes as they are
        if not isinstance(fields, dict) or (one_by_one and not all(isinstance(own, dict) for own in fields.values())):
            raise ConfigurationError(
                f"{section!r} is not a table, or holds what is none",
                place=str(place),
                hint="docs/sizing.md has an example.",
            )
        known = below.get(section, {})
        merged[section] = known | (
            {name: {**known.get(name, {}), **own} for name, own in fields.items()} if one_by_one else fields
        )
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(
            f"prices cannot be read: {error}", place=str(path), hint="Name a TOML file in costs.prices."
        ) from error
