"""What a run can be told: the values that flows take, with the words, bounds and choices that Prefect's form shows.

The form draws a switch for a value that may be `None`, so "as usual" has a value of its own here: an empty text, zero,
or a word (docs/decisions/0016). The API checks the same bounds before it makes a run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from ragwright.errors import ConfigurationError
from ragwright.settings import Settings

_ADDRESS = r"^(?!\s*$)(?![A-Za-z][A-Za-z0-9+.-]*://)|^([sS]3|[hH][tT][tT][pP][sS]?)://."
"""Paths, and addresses of the three kinds that can be read, for the API's check of the form."""
_ASK_AT_MOST = 100_000
_T = TypeVar("_T")


def _in_order(schema: dict[str, Any]) -> None:
    """Number the fields as they are written, which is the order of the form, and call them what the API calls them."""
    for position, (name, field) in enumerate(schema.get("properties", {}).items()):
        field.update(position=position, title=name)


class Group(BaseModel):
    """Parameters that belong together: one box in the form."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_in_order)


class Changes(Group):
    """How far this run may change the index."""

    full: bool = Field(False, description="Embed everything again, into a new space.")
    resume: bool = Field(False, description="Go on with the rebuild that did not finish, rather than start another.")
    allow_mass_delete: bool = Field(False, description="Accept a source that lost more than half of its rows.")
    reason: str = Field("", max_length=1_000, description="Why, for the index's log.")


class Gate(Group):
    """What the new generation must show before readers see it."""

    mode: Literal["as set", "block", "warn", "off"] = Field(
        "as set",
        description="What failing leads to: readers stay where they are, a warning, or nothing is asked; "
        "'as set': gate.mode of the settings.",
    )
    questions: str = Field("", description="Question set (JSONL); empty: evaluation.questions of the settings.")
    sample: int = Field(
        0, ge=0, le=_ASK_AT_MOST, description="Ask so many of them at most; 0: gate.sample of the settings."
    )

    @property
    def overrides(self) -> dict[str, Any]:
        """What this says of the settings."""
        return {} if self.mode == "as set" else {"gate": {"mode": self.mode}}

    @property
    def path(self) -> Path | None:
        """The question set that is named, if any is."""
        return Path(self.questions) if self.questions else None


class Questions(Group):
    """Which questions are asked."""

    file: str = Field("", description="Question set (JSONL); empty: evaluation.questions of the settings.")
    sample: int = Field(
        0, ge=0, le=_ASK_AT_MOST, description="Ask so many at most, drawn with a seed, kinds in proportion; 0: all."
    )

    @property
    def path(self) -> Path | None:
        """The question set that is named, if any is."""
        return Path(self.file) if self.file else None


class Asked(Questions):
    """Which questions are asked, and whether they are asked again."""

    again: bool = Field(True, description="Ask even if the same was asked before, under the same settings.")


class AskedAround(Questions):
    """Which questions the new generation is asked, before it is published and after."""

    evaluate: bool = Field(True, description="Ask them; if not, only the gate asks, as the settings say.")

    def before(self, settings: Settings) -> Gate:
        """What the gate asks."""
        return Gate(questions=self._chosen(settings), sample=self.sample)

    def after(self, settings: Settings, *, again: bool) -> Asked | None:
        """What the evaluation asks; None if there is none."""
        chosen = self._chosen(settings)
        return Asked(file=chosen, sample=self.sample, again=again) if chosen else None

    def _chosen(self, settings: Settings) -> str:
        return (self.file or str(settings.evaluation.questions or "")) if self.evaluate else ""


def _clearly(value: object, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    """Refuse a parameter by its name, with what was wrong and where it is explained.

    Raises:
        ConfigurationError: It is unknown or out of bounds.
    """
    try:
        return validate(value)
    except ValidationError as error:
        name = info.field_name or ""
        faults = [
            f"{'.'.join([name, *map(str, fault['loc'])])}: "
            f"{fault['msg'].removeprefix('Value error, ')}{_shown(name, fault['input'])}"
            for fault in error.errors(include_url=False)
        ]
        raise ConfigurationError(
            "; ".join(faults), place="parameter", hint="The deployment's form in the UI says what each takes."
        ) from None


def _shown(name: str, value: object) -> str:
    """The refused value; an address is not shown, for it may be signed."""
    return f" (got {value!r})" if isinstance(value, str | int | float) and name != "source" else ""


def _readable(source: str) -> str:
    scheme, separator, _ = source.partition("://")
    if not source.strip():
        raise ValueError("it is empty")
    if separator and scheme.lower() not in {"http", "https", "s3"}:
        raise ValueError(f"cannot read from {scheme!r} addresses: use a path, https:// or s3://bucket/key")
    return source


Checked = Annotated[_T, WrapValidator(_clearly)]
"""A parameter whose refusal says what is wrong with which value, rather than how pydantic puts it."""

Source = Checked[Annotated[str, Field(json_schema_extra={"pattern": _ADDRESS}), AfterValidator(_readable)]]
Index = Checked[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,44}$")]]
Minutes = Checked[Annotated[float, Field(gt=0, le=7 * 24 * 60)]]
Generation = Checked[Annotated[int, Field(ge=1)]]
GenerationOrUsual = Checked[Annotated[int, Field(ge=0)]]
Kept = Checked[Annotated[int, Field(ge=0, le=1_000)]]
Sample = Checked[Annotated[int, Field(ge=0, le=_ASK_AT_MOST)]]
Seed = Checked[Annotated[int, Field(ge=0, lt=2**31)]]
Reason = Checked[Annotated[str, Field(max_length=1_000)]]
GivenReason = Checked[Annotated[str, Field(max_length=1_000, pattern=r"\S")]]
Models = Checked[tuple[Annotated[str, Field(min_length=1)], ...]]
