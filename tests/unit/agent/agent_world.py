"""An agent on a scripted model that keeps what it was sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ragwright.agent import Agent, Memory, Tool, calculator_tool, family_of, search_tool
from ragwright.agent.protocol import FINAL_ANSWER, Step, write_action
from ragwright.answers import I_DONT_KNOW, Answer, Citation
from ragwright.generation import Message, ScriptedGenerator
from ragwright.settings import AgentSettings


class Script:
    """Replies one after the other, the last one for ever; a function is asked."""

    def __init__(self, *replies: str | Callable[[Sequence[Message]], str]) -> None:
        self.replies, self.prompts = list(replies), list[list[Message]]()

    def __call__(self, prompt: Sequence[Message]) -> str:
        self.prompts.append(list(prompt))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply if isinstance(reply, str) else reply(prompt)


class Faq:
    """Answers every question with one text, or not at all."""

    def __init__(self, text: str | None) -> None:
        self.text, self.asked = text, list[str]()

    def answer(self, question: str) -> Answer:
        self.asked.append(question)
        if self.text is None:
            return Answer(question, I_DONT_KNOW, True, "not there", (), 1, {})
        citation = Citation(4, "k", 0.9, "What does the red lamp mean?", self.text)
        return Answer(question, self.text, False, "", (citation,), 1, {}, "quoted")


def final(text: str) -> str:
    return write_action(FINAL_ANSWER, text)


def call(name: str, given: Any) -> str:
    return write_action(name, given)


def agent_on(
    script: Script,
    *,
    faq: Faq | None = None,
    tools: Sequence[Tool] = (),
    family: str = "chatml",
    memory: Memory | None = None,
    context: int = 8_000,
    on_step: Callable[[Step], None] | None = None,
    **settings: Any,
) -> Agent:
    bound = AgentSettings(**settings)
    own = [calculator_tool()]
    if faq is not None:
        own.append(search_tool(faq, verbatim=bound.verbatim_search))  # type: ignore[arg-type]
    generator = ScriptedGenerator(script, context_tokens=context)
    return Agent(generator, [*own, *tools], settings=bound, family=family_of(family), memory=memory, on_step=on_step)
