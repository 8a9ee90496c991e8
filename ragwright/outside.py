"""Adapters that live in other packages, named by where they are: `python:MODULE:FACTORY`."""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeVar

from ragwright.errors import ConfigurationError

SCHEME = "python:"
Port = TypeVar("Port")


def is_outside(reference: str) -> bool:
    """Whether a setting names an adapter of another package."""
    return reference.startswith(SCHEME)


def open_outside(reference: str, port: type[Port], *arguments: Any) -> Port:
    """What the named factory makes; its module is imported now.

    Args:
        reference: `python:MODULE:FACTORY`. The module is found as Python finds any: installed, or on `PYTHONPATH`.
        port: The protocol that it has to satisfy.
        arguments: For the factory.

    Raises:
        ConfigurationError: There is no such module or factory, or it makes something else.
    """
    module, _, factory = reference.removeprefix(SCHEME).partition(":")
    try:
        make = getattr(import_module(module), factory)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"{reference!r} cannot be imported: {error}",
            hint="Write python:MODULE:FACTORY, and install the module or put its folder on PYTHONPATH.",
        ) from error
    made = make(*arguments)
    if not isinstance(made, port):
        members = {name for name in dir(port) if not name.startswith("_")} | set(getattr(port, "__annotations__", ()))
        missing = sorted(name for name in members if not hasattr(made, name))
        raise ConfigurationError(
            f"{reference!r} makes a {type(made).__name__}, which is no {port.__name__}: it has no "
            f"{', '.join(missing) or 'context manager'}",
            hint="docs/adding-a-backend.md says what an adapter has.",
        )
    return made
