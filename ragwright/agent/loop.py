"""One turn of the agent: ask the model, do what it may do, ask again, within bounds.

Security does not rest on the prompt. Which tools a turn may use is decided before the model is asked, from the user's
own words (`ragwright.agent.wishes`): quotes, code and played parts inside a turn count for nothing, and neither does
anything a tool returns. A tool that says what others wrote is called once a turn. The grammar of a reply names the
offered actions alone; a reply that names another is not carried out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from ragwright.agent.foreign import Said, own_words
from ragwright.agent.memory import Memory, estimate_tokens
from ragwright.agent.parser import Parsed, parse_reply
from ragwright.agent.prompts import PromptFamily, build_messages
from ragwright.agent.protocol import FINAL_ANSWER, Step, Turn, reply_schema, same_name, write_action
from ragwright.agent.recall import recall, restate
from ragwright.agent.tools import ERROR, Tool
from ragwright.agent.watching import Watch
from ragwright.answering import defuse
from ragwright.answers import I_DONT_KNOW
from ragwright.errors import BadReply, ConfigurationError, RequestRejected
from ragwright.generation import Generation, Generator, Message, check_json
from ragwright.settings import AgentSettings

_STOPS = ("\nObservation", "\nUser:", "<|im_start|>")
_DEFAULT_CONTEXT = 2_048
_PER_MESSAGE = 8  # tokens of a chat format's marks around a message, at most


class Agent:
    """Talks, remembers and uses tools. Not for several threads: a conversation has one order.

    Args:
        generator: The model; closed with the agent.
        tools: What it may use.
        settings: Bounds and policies.
        family: How the model is addressed.
        memory: The conversation so far; a new one by default.
        on_step: Called after every tool call.
        on_action: Called with a tool's name as soon as it is known that it will be called.
        on_text: Called with the reply in pieces, as it is written where nothing may replace it any more; the pieces of
            a turn together are its reply.

    Raises:
        ConfigurationError: Two tools have one name.
    """

    def __init__(
        self,
        generator: Generator,
        tools: Sequence[Tool],
        *,
        settings: AgentSettings,
        family: PromptFamily,
        memory: Memory | None = None,
        on_step: Callable[[Step], None] | None = None,
        on_action: Callable[[str], None] | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        names = [FINAL_ANSWER, *(tool.name for tool in tools)]
        for number, name in enumerate(names):
            if same_name(name, names[:number]):
                raise ConfigurationError(f"two actions are called {name!r}", hint="Give every tool a name of its own.")
        self.memory = memory if memory is not None else Memory(settings.window)
        self.settings, self.family = settings, family
        self.tools: Mapping[str, Tool] = {tool.name: tool for tool in tools}
        self._generator, self._on_step = generator, on_step
        self._on_action, self._on_text = on_action, on_text
        self._constrained = settings.constrained != "off"

    def turn(self, text: str) -> Turn:
        """Answer a user's turn and remember it.

        Raises:
            RequestRejected: The turn is blank, no text, or too long.
            RagwrightError: The endpoint's errors; nothing is remembered of such a turn, even if some of its reply was
                shown.
        """
        turn = _Running(self, _accept(text, self.settings.max_turn_chars)).run()
        self.memory.add(turn)
        return turn

    def watch(self) -> Watch:
        """Who looks on while a turn is answered."""
        return Watch(self._on_action, self._on_text)

    def generate(self, messages: Sequence[Message], schema: Mapping[str, Any], watch: Watch) -> Generation:
        """One reply, bound to the schema where the endpoint can."""
        if self._constrained:
            try:
                return self._ask(messages, schema, watch)
            except (BadReply, RequestRejected):
                if self.settings.constrained == "on" or watch.shown:
                    raise
                # Either the endpoint takes no grammar, or it refuses this prompt in any form, which shows now.
                free = self._ask(messages, None, watch)
                self._constrained = False
                return free
        return self._ask(messages, None, watch)

    def _ask(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, watch: Watch) -> Generation:
        tokens = self.settings.max_new_tokens
        if not watch.looks:
            return self._generator.generate(messages, max_new_tokens=tokens, stop=_STOPS, grammar=schema)
        watch.begin()
        reply: Generation | None = None
        for piece in self._generator.stream(messages, max_new_tokens=tokens, stop=_STOPS, grammar=schema):
            if isinstance(piece, Generation):
                reply = piece
            else:
                watch.read(piece)
        if reply is None:
            raise BadReply("the reply has no end", place=self._generator.model)
        if schema is not None and (not watch.shown or self.settings.constrained == "on"):
            check_json(reply)
        return reply

    def tell(self, step: Step) -> None:
        """Tell whoever watches."""
        if self._on_step is not None:
            self._on_step(step)

    def close(self) -> None:
        """Give back connections."""
        self._generator.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Running:
    """A turn while it lasts."""

    def __init__(self, agent: Agent, text: str) -> None:
        self._agent, self._settings, self._text = agent, agent.settings, text
        self._started = time.perf_counter()
        self._watch = agent.watch()
        self._own = own = own_words(text)
        self._told = None if self._settings.routing == "off" else recall(own, agent.memory.exchanges)
        # What the user told is not looked up elsewhere.
        self._asked = {
            name: tool
            for name, tool in agent.tools.items()
            if tool.is_asked(own) and (tool.trusted or self._told is None)
        }
        self._route = None if self._settings.routing == "off" else self._recognised(own)
        self._steps: list[Step] = []
        self._raw: list[str] = []
        self._repairs = self._prompt_tokens = self._new_tokens = 0
        self._model_ms = self._tools_ms = 0.0

    def run(self) -> Turn:
        """Until there is a final answer, or bounds are reached."""
        if self._route is not None and self._settings.routing == "take":
            self._act(self._route[0], self._route[1])
        while True:
            last = self._steps[-1] if self._steps else None
            if last is not None and self._agent.tools[last.action].direct and not last.observation.startswith(ERROR):
                return self._done(last.observation)
            offered = self._offered()
            action, action_input = self._ask(offered)
            if action == FINAL_ANSWER:
                check = self._check()
                reply = _as_text(action_input)
                return self._done(reply if check is None else check(reply))
            self._act(action, action_input)

    def _recognised(self, own: str) -> tuple[str, Any] | None:
        said = Said(own, self._text, self._agent.memory.last_number())
        for name, tool in self._asked.items():
            given = tool.recognise(said) if tool.recognise is not None else None
            if given is not None:
                return name, given
        return None

    def _offered(self) -> list[str]:
        """The actions of the next reply: the fewest that the user's own words leave open."""
        if len(self._steps) >= self._settings.max_steps:
            return [FINAL_ANSWER]
        tools = self._agent.tools
        done = any(not step.observation.startswith(ERROR) for step in self._steps)
        if self._route is not None and (done or not self._steps):
            return [FINAL_ANSWER] if done else [self._route[0]]
        repeated = len({(step.action, write_action("", step.action_input)) for step in self._steps}) < len(self._steps)
        if repeated:
            return [FINAL_ANSWER]
        by_others = {step.action for step in self._steps if not tools[step.action].trusted}
        return [*(name for name in self._asked if name not in by_others), FINAL_ANSWER]

    def _ask(self, offered: Sequence[str]) -> tuple[str, Any]:
        """The model's next action, asked for again while it is none that is offered."""
        fault = ""
        while True:
            parsed = self._reply(offered, fault)
            if same_name(parsed.action, [FINAL_ANSWER]):
                if FINAL_ANSWER in offered and parsed.form not in ("broken", "empty") and _as_text(parsed.action_input):
                    return FINAL_ANSWER, parsed.action_input
                fault = (
                    f"Use {offered[0]} first."
                    if parsed.form in ("exact", "mended", "text")
                    else "Your reply could not be read as a JSON object with action and action_input."
                )
            else:
                meant = same_name(parsed.action, list(offered))
                if meant is not None:
                    return meant, parsed.action_input
                known = same_name(parsed.action, list(self._agent.tools))
                fault = (
                    f"{known} is not to be used now."
                    if known
                    else f"There is no action {parsed.action[:40]!r}; the known ones are {', '.join(offered)}."
                )
            if self._repairs >= self._settings.max_repairs:
                return self._given_up(offered, parsed)
            self._repairs += 1

    def _given_up(self, offered: Sequence[str], parsed: Parsed) -> tuple[str, Any]:
        """What to do when the model cannot be brought to an action that is offered."""
        if self._route is not None and FINAL_ANSWER not in offered:
            return self._route
        if self._steps:
            return FINAL_ANSWER, self._steps[-1].observation
        return FINAL_ANSWER, parsed.action_input if parsed.form == "text" else I_DONT_KNOW

    def _reply(self, offered: Sequence[str], fault: str) -> Parsed:
        schema = reply_schema({name: self._input_schema(name) for name in offered})
        started = time.perf_counter()
        self._watch.expect(offered, checked=self._check() is not None)
        reply = self._fitting(offered, fault, schema)
        self._model_ms += (time.perf_counter() - started) * 1000
        self._raw.append(reply.text)
        self._prompt_tokens += reply.prompt_tokens or 0
        self._new_tokens += reply.new_tokens or 0
        return parse_reply(reply.text)

    def _fitting(self, offered: Sequence[str], fault: str, schema: Mapping[str, Any]) -> Generation:
        """Ask with as much of the memory as fits; the oldest exchanges go first, the rest of the prompt stays."""
        exchanges = self._agent.memory.exchanges
        room = (self._settings.context_tokens or _DEFAULT_CONTEXT) - self._settings.max_new_tokens
        while True:
            messages = build_messages(
                self._agent.family,
                list(self._asked.values()),
                exchanges,
                self._text,
                self._steps,
                offered,
                told=self._told if self._route is None else None,
                hint=self._hint(),
                fault=fault,
            )
            needed = sum(estimate_tokens(message.content) + _PER_MESSAGE for message in messages)
            if needed > room and exchanges:
                exchanges = exchanges[1:]
                continue
            try:
                return self._agent.generate(messages, schema, self._watch)
            except RequestRejected:
                if not exchanges or self._watch.shown:
                    raise
                exchanges = exchanges[1:]

    def _hint(self) -> str:
        if self._route is None or self._steps:
            return ""
        return f"This asks for {defuse(write_action(*self._route))}."

    def _input_schema(self, name: str) -> Mapping[str, Any]:
        limit = self._settings.max_reply_chars
        if name == FINAL_ANSWER:
            return {"type": "string", "minLength": 1, "maxLength": limit}
        schema = self._agent.tools[name].input_schema
        return {**schema, "maxLength": limit} if schema.get("type") == "string" and "enum" not in schema else schema

    def _act(self, action: str, action_input: Any) -> None:
        self._watch.act(action)
        started = time.perf_counter()
        step = Step(action, action_input, self._agent.tools[action].call(action_input))
        self._tools_ms += (time.perf_counter() - started) * 1000
        self._steps.append(step)
        self._watch.acted()
        self._agent.tell(step)

    def _check(self) -> Callable[[str], str] | None:
        """What makes the model's final answer what the user reads; None: nothing does."""
        for step in reversed(self._steps):
            settle = self._agent.tools[step.action].settle
            if settle is not None and not step.observation.startswith(ERROR):
                return partial(_settled, settle, step.observation)
        told = self._told
        return None if told is None or self._steps else lambda reply: restate(reply, told, self._own)

    def _done(self, reply: str) -> Turn:
        self._watch.end(reply)
        return Turn(
            text=self._text,
            reply=reply,
            steps=tuple(self._steps),
            timings_ms={
                "model": self._model_ms,
                "tools": self._tools_ms,
                "total": (time.perf_counter() - self._started) * 1000,
            },
            prompt_tokens=self._prompt_tokens,
            new_tokens=self._new_tokens,
            repairs=self._repairs,
            raw=tuple(self._raw),
        )


def _accept(text: object, limit: int) -> str:
    if not isinstance(text, str):
        raise RequestRejected(f"a turn is text, not {type(text).__name__}: {text!r}"[:200])
    if not text.strip():
        raise RequestRejected(f"the turn is blank: {text[:60]!r}", hint="Say something in words.")
    if len(text) > limit:
        raise RequestRejected(
            f"the turn has {len(text)} characters; {limit} are read",
            hint="Say it more shortly, or raise agent.max_turn_chars.",
        )
    return text.strip()


def _settled(settle: Callable[[str, str], str], observation: str, reply: str) -> str:
    return settle(reply, observation)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)
