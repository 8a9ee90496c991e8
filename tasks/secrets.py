"""Secrets of a flow: from the environment, and what that lacks from Prefect's Secret blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

from prefect.blocks.system import Secret
from prefect.exceptions import ObjectNotFound

from ragwright.errors import ConfigurationError
from ragwright.settings import Settings, load_settings

BLOCKS = {
    "PINECONE_API_KEY": "ragwright-pinecone-api-key",
    "RAGWRIGHT_SAGEMAKER__HUGGING_FACE_TOKEN": "ragwright-hugging-face-token",
    "RAGWRIGHT_EMBEDDING__API_KEY": "ragwright-embedding-api-key",
    "RAGWRIGHT_GENERATION__API_KEY": "ragwright-generation-api-key",
    "RAGWRIGHT_EVALUATION__JUDGE_API_KEY": "ragwright-judge-api-key",
}
"""Name of the Secret block by the environment variable that it stands in for."""


def flow_settings(**overrides: Any) -> Settings:
    """The settings of a flow run, as `load_settings` reads them, with secrets from Secret blocks where there are such.

    A secret that the settings have no use for is not asked for. What is found goes into this process's environment,
    where the SDKs and the run's other tasks look for it.

    Raises:
        ConfigurationError: A block holds something else than text.
    """
    settings = load_settings(**overrides)
    found = {variable: secret for variable in _lacking(settings) if (secret := _stored(BLOCKS[variable]))}
    if not found:
        return settings
    os.environ.update(found)
    return load_settings(**overrides)


def store_key(settings: Settings) -> None:
    """Let the store's SDK find its key in this process, too: Dask may run a task on a machine that the flow never saw.

    Raises:
        ConfigurationError: The block holds something else than text.
    """
    variable = "PINECONE_API_KEY"
    if variable in _lacking(settings) and (key := _stored(BLOCKS[variable])):
        os.environ[variable] = key


def _lacking(settings: Settings) -> Iterator[str]:
    """Variables of secrets that these settings would use and do not have."""
    if settings.store_spec.startswith("pinecone:") and not os.environ.get("PINECONE_API_KEY"):
        yield "PINECONE_API_KEY"
    if settings.endpoints.host == "sagemaker" and settings.sagemaker.hugging_face_token is None:
        yield "RAGWRIGHT_SAGEMAKER__HUGGING_FACE_TOKEN"
    for variable, address, key in (
        ("RAGWRIGHT_EMBEDDING__API_KEY", settings.embedding.endpoint, settings.embedding.api_key),
        ("RAGWRIGHT_GENERATION__API_KEY", settings.generation.endpoint, settings.generation.api_key),
        ("RAGWRIGHT_EVALUATION__JUDGE_API_KEY", settings.evaluation.judge or "", settings.evaluation.judge_api_key),
    ):
        if "://" in address and key is None:
            yield variable


def _stored(block: str) -> str | None:
    """The text in a Secret block; None if there is no such block."""
    try:
        loaded = cast("Secret[Any]", Secret.load(block))  # typed as if it might have to be awaited
    except ValueError as error:
        if isinstance(error.__cause__, ObjectNotFound):
            return None
        raise ConfigurationError(
            f"Secret block {block!r} cannot be read: {type(error).__name__}", hint="Make it anew with the bare secret."
        ) from None
    value = loaded.get()
    if not isinstance(value, str):
        raise ConfigurationError(
            f"Secret block {block!r} holds a {type(value).__name__}, not text",
            hint="Make it anew with the bare secret.",
        )
    return value
