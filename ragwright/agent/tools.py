"""What the agent can do beside talking.

A tool is a function with typed arguments and a docstring::

    def days_between(start: date, end: date) -> int:
        \"\"\"Days from one date to another.\"\"\"
        return (end - start).days

    agent = open_agent(settings, tools=[tool(days_between)])

A tool gets data and gives data: what it says can never bring another tool into play (see `ragwright.agent.loop`).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ragwright.agent.arithmetic import read_arithmetic
from ragwright.agent.calculator import calculate, write_number
from ragwright.agent.foreign import QUOTED, Said, without_commands
from ragwright.agent.numbers import state_result
from ragwright.agent.wishes import asks_for_arithmetic, asks_for_knowledge, names_tool
from ragwright.answers import I_DONT_KNOW, Answer
from ragwright.errors import ConfigurationError, RequestRejected

ERROR = "error: "
_MAX_OBSERVATION = 4_000
_MAX_QUESTION = 300


@dataclass(frozen=True)
class Tool:
    """Something the agent can do.

    Attributes:
        name: What the model calls it by.
        description: What it is for, in one line for the model.
        arguments: Checks and converts its arguments; its JSON schema is what the model is bound to.
        function: What is called with them.
        asked: Whether the user's own words ask for it. None: whether they name it, or what it is for
            (`wishes.names_tool`).
        recognise: Its input as far as it can be read off the turn; only asked where the turn asks for the tool.
        trusted: What it says was not written by others.
        direct: What it says is the reply; the model does not word it anew.
        settle: From the model's reply and what the tool said to what the user reads.
    """

    name: str
    description: str
    arguments: type[BaseModel]
    function: Callable[..., Any]
    asked: Callable[[str], bool] | None = None
    recognise: Callable[[Said], Any | None] | None = None
    trusted: bool = True
    direct: bool = False
    settle: Callable[[str, str], str] | None = None
    examples: tuple[tuple[str, Any, str, str], ...] = field(default=())

    def is_asked(self, own: str) -> bool:
        """Whether a user's own words ask for it; nothing else brings it into a turn."""
        return self.asked(own) if self.asked is not None else names_tool(own, self.name, self.description)

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of its arguments."""
        schema = self.arguments.model_json_schema()
        return {key: value for key, value in schema.items() if key not in ("title", "description")}

    @property
    def input_schema(self) -> dict[str, Any]:
        """JSON schema of `action_input`: one argument is given bare, several as an object."""
        schema = self.schema
        properties = schema.get("properties", {})
        if len(properties) == 1 and "$defs" not in schema:
            return {key: value for key, value in next(iter(properties.values())).items() if key != "title"}
        return schema

    def call(self, action_input: Any) -> str:
        """What the tool says; what it cannot do is told as `error: ...`."""
        try:
            arguments = self.arguments.model_validate(self._named(action_input))
            said = self.function(**{name: getattr(arguments, name) for name in self.arguments.model_fields})
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors(include_url=False))
            return f"{ERROR}{faults}"[:400]
        except RequestRejected as error:
            return f"{ERROR}{error.what}"[:400]
        except (ValueError, ArithmeticError) as error:
            return f"{ERROR}{error}"[:400]
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, default=str)
        return text if len(text) <= _MAX_OBSERVATION else f"{text[:_MAX_OBSERVATION]} [cut]"

    def _named(self, given: Any) -> Mapping[str, Any]:
        names = list(self.arguments.model_fields)
        if isinstance(given, Mapping) and (len(names) != 1 or names[0] in given):
            return given
        if len(names) == 1:
            one = next(iter(given.values())) if isinstance(given, Mapping) and len(given) == 1 else given
            return {names[0]: one}
        if isinstance(given, (list, tuple)) and len(given) == len(names):
            return dict(zip(names, given, strict=True))
        return {} if given in (None, "") else {names[0]: given} if names else {}


def tool(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    asked: Callable[[str], bool] | None = None,
    trusted: bool = True,
    direct: bool = False,
) -> Tool:
    """Make a tool of a function.

    Args:
        function: Its docstring's first paragraph tells the model what it is for; every parameter has a type. It says
            that it cannot do something by raising `ValueError` or `RequestRejected`.
        name: What the model calls it by; the function's name by default.
        asked: As `Tool.asked`.
        trusted: False where others write what it returns: a page, a message, a document.
        direct: As `Tool.direct`.

    Raises:
        ConfigurationError: It has no docstring, or a parameter without a type or of a kind that JSON cannot fill.
    """
    label = getattr(function, "__name__", repr(function))
    described = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
    if not described:
        raise ConfigurationError(f"{label!r} has no docstring", hint="Say in its first line what it is for.")
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.annotation is inspect.Parameter.empty or parameter.kind in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
            inspect.Parameter.POSITIONAL_ONLY,
        ):
            raise ConfigurationError(
                f"parameter {parameter.name!r} of {label!r} cannot be filled from JSON",
                hint="Give every parameter a name and a type.",
            )
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (parameter.annotation, default)
    arguments = create_model(label, __config__=ConfigDict(extra="forbid", coerce_numbers_to_str=True), **fields)
    return Tool(name or label, described, arguments, function, asked=asked, trusted=trusted, direct=direct)


class _Expression(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)
    expression: str


class _Question(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)
    question: str


def calculator_tool() -> Tool:
    """Arithmetic, offered where the user's own words may need it."""
    return Tool(
        "Calculator",
        "computes an arithmetic expression such as 3 * (2 + 5) or sqrt(2)",
        _Expression,
        lambda expression: write_number(calculate(expression)),
        asked=asks_for_arithmetic,
        recognise=lambda said: read_arithmetic(said.own, said.last),
        settle=state_result,
        examples=(("what is 12 times 7?", "12 * 7", "84", "12 times 7 is 84."),),
    )


class Answers(Protocol):
    """What answers a question from the FAQ: an `Answerer`."""

    def answer(self, question: str) -> Answer:
        """The answer with its citations, or "I don't know"."""


def search_tool(answerer: Answers, *, verbatim: bool = True) -> Tool:
    """The index, with citations and its "I don't know"; offered where the user's own words ask for knowledge.

    Sentences of an answer that speak to the assistant are left out, and how many they were is said
    (`foreign.without_commands`).

    Args:
        answerer: Answers from the index.
        verbatim: What was found, already checked against the FAQ, is the reply.
    """

    def search(question: str) -> str:
        answer = answerer.answer(question)
        said, left_out = without_commands(answer.answer)
        if left_out:
            sentences = "sentence" if left_out == 1 else "sentences"
            said = f"{said or I_DONT_KNOW} ({left_out} {sentences} to the assistant left out.)"
        sources = (f"\n[{citation.row}] {without_commands(citation.question)[0]}" for citation in answer.citations)
        return said + "".join(source.rstrip() for source in sources)

    return Tool(
        "Search",
        "looks a question up in the FAQ",
        _Question,
        search,
        asked=asks_for_knowledge,
        recognise=_question_in,
        trusted=False,
        direct=verbatim,
    )


def _question_in(said: Said) -> str | None:
    """The turn as a question to the index: what it quotes may be its subject, so a short turn is searched for whole."""
    if not asks_for_knowledge(said.own) or asks_for_arithmetic(said.own):
        return None
    whole = " ".join(said.whole.split())
    return whole if QUOTED in said.own and len(whole) <= _MAX_QUESTION else said.own.replace(QUOTED, " ").strip()
