"""From settings to a generator."""

from __future__ import annotations

from ragwright.endpoints import open_endpoint
from ragwright.generation.endpoint import EndpointGenerator
from ragwright.generation.port import Generator
from ragwright.generation.scripted import ScriptedGenerator
from ragwright.models import get_model
from ragwright.outside import is_outside, open_outside
from ragwright.settings import Settings


def open_generator(settings: Settings) -> Generator | None:
    """Open the generator that the settings name.

    Args:
        settings: `generation.endpoint` is the name of an endpoint, a URL, `scripted` (it says "I don't know." to
            everything, so that answers are quoted from the FAQ), `none`, or `python:MODULE:FACTORY`, whose factory is
            called with the settings.

    Returns:
        None for `none`.

    Raises:
        ConfigurationError: The model or endpoint is unknown or unfit.
        EndpointError: The endpoint is not there.
    """
    match settings.generation.endpoint:
        case "none":
            return None
        case "scripted":
            return ScriptedGenerator()
        case reference if is_outside(reference):
            return open_outside(reference, Generator, settings)  # type: ignore[type-abstract]
    model = get_model(settings.generation.model)
    endpoint = open_endpoint(settings.generation.endpoint, settings.generation.contract, settings)
    try:
        return EndpointGenerator(endpoint, model, settings.generation)
    except BaseException:
        endpoint.close()
        raise
