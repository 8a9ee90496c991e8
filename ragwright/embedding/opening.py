"""From settings to an embedder."""

from __future__ import annotations

import re

from ragwright.chunking import text_format as format_of
from ragwright.embedding.endpoint import EndpointEmbedder
from ragwright.embedding.hashed import HashingEmbedder
from ragwright.embedding.port import Embedder
from ragwright.endpoints import NoEndpoint, open_endpoint, open_host
from ragwright.errors import ConfigurationError
from ragwright.models import get_model, load_tokenizer
from ragwright.outside import is_outside, open_outside
from ragwright.retry import ONCE, RetryPolicy
from ragwright.settings import Settings

_HASHING = re.compile(r"hashing:([1-9][0-9]{0,4})$")


def open_embedder(
    settings: Settings, *, text_format: str = "", connect: bool = True, retry: RetryPolicy = ONCE
) -> Embedder:
    """Open the embedder that the settings name.

    Args:
        settings: `embedding.endpoint` is the name of an endpoint, a URL, `hashing:DIMENSION`, or
            `python:MODULE:FACTORY`, whose factory is called with the settings and `text_format`.
        text_format: What is embedded, for the fingerprint; what `chunking` says, if left out.
        connect: Whether texts will be embedded. Without, it counts tokens and knows its fingerprint, and nothing needs
            to run.
        retry: For each request to the endpoint.

    Raises:
        ConfigurationError: The model or endpoint is unknown, or the endpoint runs another model.
        EndpointError: The endpoint is not there.
        ModelError: The tokenizer cannot be had.
    """
    text_format = text_format or format_of(settings.chunking)
    reference = settings.embedding.endpoint
    if hashing := _HASHING.match(reference):
        return HashingEmbedder(int(hashing[1]), text_format=text_format)
    if is_outside(reference):
        return open_outside(reference, Embedder, settings, text_format)  # type: ignore[type-abstract]
    if reference.startswith("hashing:"):
        raise ConfigurationError(f"embedding.endpoint is {reference!r}", hint="Name a dimension, as in 'hashing:384'.")
    model = get_model(settings.embedding.model)
    tokenizer = load_tokenizer(model.name, cache=settings.model_folder)
    endpoint = (
        open_endpoint(reference, settings.embedding.contract, settings)
        if connect
        else NoEndpoint(reference, settings.embedding.contract)
    )
    try:
        if connect and "://" not in reference:
            _check_model(settings)
        return EndpointEmbedder(endpoint, model, tokenizer, settings.embedding, text_format=text_format, retry=retry)
    except BaseException:
        endpoint.close()
        raise


def _check_model(settings: Settings) -> None:
    """Vectors of another model of the same dimension would pass every other check."""
    with open_host(settings) as host:
        runs = host.describe(settings.embedding.endpoint).model
    if runs != settings.embedding.model:
        raise ConfigurationError(
            f"endpoint {settings.embedding.endpoint!r} runs {runs!r}, embedding.model is {settings.embedding.model!r}",
            hint="Name the model it runs, or deploy the endpoint again: `ragwright endpoints up`.",
        )
