"""From settings to an agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType

from ragwright.agent.loop import Agent
from ragwright.agent.memory import Memory
from ragwright.agent.prompts import family_of
from ragwright.agent.protocol import Step
from ragwright.agent.tools import Tool, calculator_tool, search_tool
from ragwright.assembly import open_answerer
from ragwright.errors import ConfigurationError
from ragwright.generation import Generator, open_generator
from ragwright.models import get_model
from ragwright.settings import Settings


def open_agent(
    settings: Settings,
    *,
    search: bool = True,
    tools: Sequence[Tool] = (),
    memory: Memory | None = None,
    generator: Generator | None = None,
    on_step: Callable[[Step], None] | None = None,
    on_action: Callable[[str], None] | None = None,
    on_text: Callable[[str], None] | None = None,
) -> Agent:
    """Open the agent that the settings describe; it closes what it opened.

    Args:
        settings: `generation` says which model, `agent` how it is led.
        search: Whether the index is among its tools, if the settings have it there.
        tools: Further tools.
        memory: A conversation to go on with.
        generator: The model, where the caller has it open already.
        on_step: Called after every tool call.
        on_action: As of `Agent`.
        on_text: As of `Agent`.

    Raises:
        ConfigurationError: No language model is configured, or something in the settings does not exist.
        EndpointError: An endpoint is not there.
    """
    generation = settings.generation.model_copy(update={"temperature": settings.agent.temperature})
    settings = settings.model_copy(update={"generation": generation})
    scripted = generation.endpoint in ("none", "scripted")
    model = None if scripted else get_model(generation.model)
    with ExitStack() as stack:
        generator = generator or open_generator(settings)
        if generator is None:
            raise ConfigurationError(
                "there is no language model to talk to: generation.endpoint is 'none'",
                hint="Name one with RAGWRIGHT_GENERATION__ENDPOINT, or --endpoint.",
            )
        stack.push(generator)
        own: list[Tool] = []
        if "Calculator" in settings.agent.tools:
            own.append(calculator_tool())
        if search and "Search" in settings.agent.tools:
            answerer = stack.enter_context(open_answerer(settings))
            own.append(search_tool(answerer, verbatim=settings.agent.verbatim_search))
        context = settings.agent.context_tokens or (model.context_tokens if model else None)
        agent = _OpenedAgent(
            generator,
            [*own, *tools],
            settings=settings.agent.model_copy(update={"context_tokens": context}),
            family=family_of(model),
            memory=memory,
            on_step=on_step,
            on_action=on_action,
            on_text=on_text,
        )
        agent.opened = stack.pop_all()
        return agent


class _OpenedAgent(Agent):
    """An agent with the adapters that were opened for it."""

    opened: ExitStack

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.opened.__exit__(kind, error, trace)

    def close(self) -> None:
        """Give back connections."""
        self.opened.close()
