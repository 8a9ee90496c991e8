"""A tool is one function with typed arguments and a docstring."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ragwright.agent import calculator_tool, tool
from ragwright.errors import ConfigurationError, RequestRejected


def days_between(start: date, end: date) -> int:
    """Days from one date
    to another.

    Not shown to the model.
    """
    return (end - start).days


def shout(text: str) -> str:
    """Shouts."""
    if not text:
        raise ValueError("nothing to shout")
    return text.upper()


def test_a_function_says_what_its_tool_is() -> None:
    made = tool(days_between)
    assert (made.name, made.description) == ("days_between", "Days from one date to another.")
    assert set(made.input_schema["properties"]) == {"start", "end"}
    assert made.input_schema["required"] == ["start", "end"]
    assert tool(shout, name="Shout").input_schema == {"type": "string"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"start": "2026-01-01", "end": "2026-01-31"}, "30"),
        (["2026-01-01", "2026-01-31"], "30"),
        ({"start": "2026-01-01"}, "error: end: Field required"),
        ({"start": "2026-01-01", "end": "soon"}, "error: end: "),
        ({"start": "2026-01-01", "end": "2026-01-31", "more": 1}, "error: more: "),
        (None, "error: start: "),
    ],
)
def test_arguments_are_checked_and_converted(given: Any, said: str) -> None:
    assert tool(days_between).call(given).startswith(said)


@pytest.mark.parametrize("given", ["hi", {"text": "hi"}, {"other": "hi"}])
def test_one_argument_may_be_given_bare(given: Any) -> None:
    assert tool(shout).call(given) == "HI"


def test_what_a_tool_cannot_do_is_an_observation() -> None:
    assert tool(shout).call("") == "error: nothing to shout"
    assert calculator_tool().call("1/0") == "error: division by zero"
    assert calculator_tool().call(7) == "7"
    assert len(calculator_tool().call("1" * 10**7)) < 200


def test_any_other_failure_is_not_hidden() -> None:
    def broken(text: str) -> str:
        """Breaks."""
        raise RuntimeError(text)

    with pytest.raises(RuntimeError):
        tool(broken).call("x")

    def refusing(text: str) -> str:
        """Refuses."""
        raise RequestRejected(f"not {text}")

    assert tool(refusing).call("x") == "error: not x"


def untyped(text):  # type: ignore[no-untyped-def]
    """Has no types."""


def several(*texts: str) -> None:
    """Has no names."""


def unexplained(text: str) -> None: ...


@pytest.mark.parametrize("function", [untyped, several, unexplained])
def test_a_function_that_cannot_be_a_tool_is_refused(function: Any) -> None:
    with pytest.raises(ConfigurationError):
        tool(function)
