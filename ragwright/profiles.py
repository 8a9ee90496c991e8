"""Profiles: what a kind of place means for the settings, as data that lies below all other sources of settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from ragwright.errors import ConfigurationError

if TYPE_CHECKING:
    from ragwright.settings import Settings

Profile = Literal["local", "aws"]
PROFILES: tuple[Profile, ...] = get_args(Profile)

_OVERRIDES: Mapping[Profile, Mapping[str, Any]] = {
    "local": {},
    # The models of the packaged presets that need no token; a container may take its preset's time to start.
    "aws": {
        "store": "pinecone:ragwright",
        "endpoints": {"host": "sagemaker", "start_timeout_seconds": 1_800, "ask_lease_minutes": 30},
        "embedding": {"endpoint": "ragwright-minilm", "model": "all-minilm-l6-v2", "contract": "tei"},
        "generation": {"endpoint": "ragwright-flan-t5-xl", "model": "flan-t5-xl", "contract": "tgi"},
    },
}


def profile_overrides(name: str) -> dict[str, Any]:
    """What a profile says of the settings, as `load_settings` takes it; nothing for an unknown name."""
    return next((deepcopy(dict(said)) for known, said in _OVERRIDES.items() if known == name), {})


class ProfileSource(PydanticBaseSettingsSource):
    """The values of the profile that the sources above this one name."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Have nothing for a single field."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Give the profile's values, to be merged below all others."""
        return profile_overrides(str(self.current_state.get("profile", "")))


def missing(settings: Settings) -> dict[str, str]:
    """What a run under these settings would lack, found without asking anybody: what it is for, by variable.

    These are what only the owner of an account can know, so no profile names them.
    """
    wanted: dict[str, str] = {}
    if settings.profile == "aws" and not settings.catalog:
        wanted["RAGWRIGHT_CATALOG"] = "s3://BUCKET/PREFIX in a bucket of yours, for the catalog and reports"
    if settings.endpoints.host == "sagemaker":
        if not settings.sagemaker.role_arn:
            wanted["RAGWRIGHT_SAGEMAKER__ROLE_ARN"] = "the role that containers run as"
        if not settings.sagemaker.scheduler_role_arn:
            wanted["RAGWRIGHT_SAGEMAKER__SCHEDULER_ROLE_ARN"] = "the role that deletes endpoints when their lease ends"
    if settings.store.startswith("pinecone:") and not os.environ.get("PINECONE_API_KEY"):
        wanted["PINECONE_API_KEY"] = "the key of a Pinecone project"
    return wanted


def require(settings: Settings) -> None:
    """Refuse settings under which a run would fail after it has cost something.

    Raises:
        ConfigurationError: Something is missing; all of it is named.
    """
    if wanted := missing(settings):
        raise ConfigurationError(
            f"not set: {'; '.join(f'{name} ({purpose})' for name, purpose in wanted.items())}",
            place=f"profile {settings.profile!r}",
            hint="Set these in the environment; deploy/iam has the roles' policies.",
        )
