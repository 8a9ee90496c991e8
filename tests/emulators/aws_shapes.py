"""Checks requests against the constraints in botocore's models, which the SDK leaves to the service."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from emulators.aws_calls import AwsError


@cache
def _service(name: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(name)


def check_shape(service: str, action: str, body: Mapping[str, Any]) -> None:
    """Refuse a request with a member that is too long, too short, not in its enumeration or not of its pattern.

    Raises:
        AwsError: ValidationException, in AWS's words.
    """
    model = _service(service)
    if action not in model.operation_names:
        return
    shape = model.operation_model(action).input_shape
    faults = list(_faults(shape, body, "")) if shape is not None else []
    if faults:
        count = f"{len(faults)} validation error{'s' if len(faults) > 1 else ''} detected"
        raise AwsError("ValidationException", f"{count}: {'; '.join(faults)}")


def instance_types() -> list[str]:
    """Every instance type that an endpoint may have."""
    return list(_service("sagemaker").shape_for("ProductionVariantInstanceType").enum)


def _faults(shape: Shape, value: Any, place: str) -> Iterator[str]:
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        for name, member in shape.members.items():
            here = f"{place}.{name[0].lower()}{name[1:]}".lstrip(".")
            if value.get(name) is not None:
                yield from _faults(member, value[name], here)
            elif name in shape.required_members:
                yield f"Value null at '{here}' failed to satisfy constraint: Member must not be null"
        return
    limits = shape.metadata
    size = value if isinstance(value, int | float) else len(value) if hasattr(value, "__len__") else 0
    what = f"Value '{value}' at '{place}' failed to satisfy constraint: Member must"
    noun = "value" if isinstance(value, int | float) else "length"
    if "max" in limits and size > limits["max"]:
        yield f"{what} have {noun} less than or equal to {limits['max']}"
    if "min" in limits and size < limits["min"]:
        yield f"{what} have {noun} greater than or equal to {limits['min']}"
    if isinstance(value, str) and limits.get("enum") and value not in limits["enum"]:
        yield f"{what} satisfy enum value set: [{', '.join(limits['enum'])}]"
    if isinstance(value, str) and limits.get("pattern") and not _pattern(limits["pattern"]).fullmatch(value):
        yield f"{what} satisfy regular expression pattern: {limits['pattern']}"
    if isinstance(shape, ListShape):
        for number, item in enumerate(value, start=1):
            yield from _faults(shape.member, item, f"{place}.{number}.member")
    if isinstance(shape, MapShape):
        for key, item in value.items():
            yield from _faults(shape.key, key, f"{place}.key")
            yield from _faults(shape.value, item, f"{place}.{key}")


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """A pattern of Java's as one of Python's, for which letters and digits of every script are \\w."""
    for java, python in ((r"\p{L}", r"\w"), (r"\p{N}", r"\w"), (r"\p{Z}", r"\s"), (r"\p{M}", ""), (r"\p{S}", "")):
        text = text.replace(java, python)
    return re.compile(text, re.DOTALL)
