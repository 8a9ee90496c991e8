"""Metadata as Pinecone keeps it, and the filters over it.

Numbers are doubles, whatever they were sent as; there is no null, and a list holds strings only.
Source: https://docs.pinecone.io/guides/index-data/indexing-overview#metadata
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from .refusals import Refused

Metadata = dict[str, Any]
Condition = Callable[[Metadata], bool]

MAX_METADATA_BYTES = 40 * 1024
MAX_VALUES_OF_IN = 10_000

_NUMBERS_ONLY: dict[str, Callable[[float, float], bool]] = {
    "$gt": lambda value, bound: value > bound,
    "$gte": lambda value, bound: value >= bound,
    "$lt": lambda value, bound: value < bound,
    "$lte": lambda value, bound: value <= bound,
}


def stored(metadata: object, *, whose: str = "") -> Metadata:
    """The metadata as it will be given back; `Refused` for what Pinecone does not keep."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise Refused(f"metadata must be an object, got {_shown(metadata)}")
    kept = {field: _stored_value(field, value) for field, value in metadata.items()}
    check_size(kept, whose=whose)
    return kept


def check_size(metadata: Metadata, *, whose: str = "") -> None:
    """Refuse a record whose metadata as UTF-8 JSON is over the limit."""
    size = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_METADATA_BYTES:
        raise Refused(
            f"Metadata size is {size} bytes, which exceeds the limit of {MAX_METADATA_BYTES} bytes per vector"
            + (f" (id {whose!r})" if whose else "")
        )


def parse(expression: object) -> Condition:
    """A filter as a function of one record's metadata.

    A record without the field fails every condition on it but `$ne`, `$nin` and `{"$exists": false}`.
    A list satisfies a condition on equality when one of its strings does.
    """
    if not isinstance(expression, Mapping):
        raise Refused(f"filter must be an object, got {_shown(expression)}")
    parts = [_parse_member(key, value) for key, value in expression.items()]
    return lambda metadata: all(part(metadata) for part in parts)


def _parse_member(key: str, value: object) -> Condition:
    if key in ("$and", "$or"):
        if not isinstance(value, list) or not value:
            raise Refused(f"{key} must be followed by a list of conditions, got {_shown(value)}")
        branches = [parse(branch) for branch in value]
        enough = all if key == "$and" else any
        return lambda metadata: enough(branch(metadata) for branch in branches)
    if key.startswith("$"):
        raise Refused(f"{key} is not a valid operator at the top of a filter")
    if not isinstance(value, Mapping):
        return _comparison(key, "$eq", value)
    if not value:
        raise Refused(f"the condition on {key!r} is empty")
    comparisons = [_comparison(key, operator, operand) for operator, operand in value.items()]
    return lambda metadata: all(comparison(metadata) for comparison in comparisons)


def _comparison(field: str, operator: str, operand: object) -> Condition:
    if operator in _NUMBERS_ONLY:
        if not _is_number(operand):
            raise Refused(f"the {operator} operator must be followed by a number, got {_shown(operand)} instead")
        compare, bound = _NUMBERS_ONLY[operator], float(operand)  # type: ignore[arg-type]
        return lambda metadata: _is_number(metadata.get(field)) and compare(metadata[field], bound)
    match operator:
        case "$eq" | "$ne":
            wanted = [_scalar(operator, operand)]
        case "$in" | "$nin":
            if not isinstance(operand, list) or not operand:
                raise Refused(f"the {operator} operator must be followed by a list, got {_shown(operand)} instead")
            if len(operand) > MAX_VALUES_OF_IN:
                raise Refused(f"the {operator} operator takes at most {MAX_VALUES_OF_IN} values")
            wanted = [_scalar(operator, value) for value in operand]
        case "$exists":
            if not isinstance(operand, bool):
                raise Refused(f"the $exists operator must be followed by a boolean, got {_shown(operand)} instead")
            return lambda metadata: (field in metadata) is operand
        case _:
            raise Refused(f"{operator} is not a valid operator")
    keys = {_key(value) for value in wanted}
    negated = operator in ("$ne", "$nin")
    return lambda metadata: _is_among(metadata.get(field), keys) is not negated


def _is_among(value: object, keys: set[tuple[type, object]]) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(_key(one) in keys for one in values)


def _key(value: object) -> tuple[type, object]:
    """Tells true from 1, which Python calls equal."""
    return (type(value), value)


def _scalar(operator: str, value: object) -> object:
    if isinstance(value, bool | str):
        return value
    if _is_number(value):
        return float(value)  # type: ignore[arg-type]
    raise Refused(f"the {operator} operator takes strings, numbers and booleans, got {_shown(value)} instead")


def _stored_value(field: str, value: object) -> object:
    if field.startswith("$"):
        raise Refused(f"metadata field names must not start with '$', got {field!r}")
    if isinstance(value, bool | str):
        return value
    if _is_number(value):
        return float(value)  # type: ignore[arg-type]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return list(value)
    raise Refused(
        "Metadata value must be a string, number, boolean or list of strings, "
        f"got {_shown(value)!r} for field {field!r}"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    return json.dumps(value)[:80]
