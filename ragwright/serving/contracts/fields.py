"""Reading a payload's fields: the right type, or a refusal that names the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ragwright.serving.refusal import Refused

Value = TypeVar("Value")

_NAMES = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    dict: "an object",
    list: "a list",
}


def read(payload: Mapping[str, Any], name: str, kind: type[Value], default: Value) -> Value:
    """One field; null and absent give the default."""
    value = payload.get(name)
    if value is None:
        return default
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)  # type: ignore[return-value]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Refused(400, f"`{name}` must be {_NAMES[kind]}, not {_name(value)}")
    if isinstance(value, str):
        check_text(value, f"`{name}`")
    return value


def read_texts(payload: Mapping[str, Any], name: str) -> tuple[list[str], bool]:
    """A string, or a list of them; and whether it was a single one."""
    value = payload.get(name)
    if value is None:
        raise Refused(400, f"`{name}` is missing")
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        raise Refused(400, f"`{name}` must be a string or a list of strings, not {_name(value)}")
    if not texts:
        raise Refused(400, f"`{name}` cannot be empty", "empty")
    for i, text in enumerate(texts):
        place = f"`{name}`" if isinstance(value, str) else f"`{name}[{i}]`"
        if not isinstance(text, str):
            raise Refused(400, f"{place} must be a string, not {_name(text)}")
        if not text:
            raise Refused(400, f"{place} cannot be empty", "empty")
        check_text(text, place)
    return texts, isinstance(value, str)


def read_strings(payload: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of strings, or none."""
    value: Sequence[Any] = read(payload, name, list, [])
    for i, text in enumerate(value):
        if not isinstance(text, str):
            raise Refused(400, f"`{name}[{i}]` must be a string, not {_name(text)}")
        check_text(text, f"`{name}[{i}]`")
    return tuple(text for text in value if text)


def check_text(text: str, place: str) -> None:
    """Refuse half a surrogate pair: JSON can spell it, and no tokenizer can read it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(400, f"{place} has half a surrogate pair at character {error.start}") from error


def _name(value: Any) -> str:
    return _NAMES.get(type(value), "null")
