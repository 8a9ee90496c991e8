"""`ragwright chat`: talk to the agent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from ragwright.cli.index import Index, tell_started
from ragwright.cli.session import Session, verb
from ragwright.errors import ConfigurationError, RequestRejected, SourceError

if TYPE_CHECKING:
    from ragwright.agent import Agent, Step
    from ragwright.agent.conversations import Conversations
    from ragwright.settings import Settings

# What a model writes must not move the cursor or colour the screen; line ends and tabs are text.
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_EACH_LINE = (
    'Name a UTF-8 file in which each line is an object such as {"id": "1", "turns": ["hello", "what is 2+2?"]}.'
)


@verb
def chat(
    session: Session,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="Conversations, one JSON object {id, turns: [text]} a line; one line a turn out."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--session", help="Store the conversation under this name, or continue it.")
    ] = None,
    sessions: Annotated[bool, typer.Option("--sessions", help="List the stored conversations.")] = False,
    delete: Annotated[str | None, typer.Option("--delete", help="Delete a stored conversation.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Another language model: a name in models.toml, or a .gguf file.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="Where it runs: an endpoint's name, or a URL.")
    ] = None,
    no_search: Annotated[bool, typer.Option("--no-search", help="Do without the index.")] = False,
    index: Index = None,
) -> None:
    """Talk with the agent: it remembers, calculates, and looks things up in the FAQ."""
    from ragwright.agent import Memory
    from ragwright.agent.conversations import Conversations

    if sum((file is not None, name is not None, sessions, delete is not None)) > 1:
        raise ConfigurationError(
            "chat takes one of --file, --session, --sessions and --delete", hint="Try: ragwright chat --session work"
        )
    generation = {"model": model, "endpoint": endpoint or _endpoint_of(model)}
    settings = session.settings(index=index, generation={k: v for k, v in generation.items() if v} or None)
    stored = Conversations(settings.home / "conversations")
    if sessions:
        return _list(session, stored)
    if delete is not None:
        stored.delete(delete)
        return session.show({"deleted": delete}, lambda out: out.print(f"deleted {delete}", markup=False))
    conversations = [] if file is None else list(_read(file))
    memory = Memory(settings.agent.window, stored.load(name) if name is not None else ())
    screen = None if file is not None or session.json else _Screen()
    with _agent(session, settings, memory, search=not no_search, screen=screen) as agent:
        if file is not None:
            for conversation in conversations:
                _follow(session, agent, conversation)
        else:
            _talk(session, agent, stored, name, screen)
    return None


@dataclass(frozen=True)
class _Conversation:
    id: Any
    turns: tuple[str, ...]


@contextmanager
def _agent(
    session: Session, settings: Settings, memory: Any, *, search: bool, screen: _Screen | None
) -> Iterator[Agent]:
    """The agent, with what it needs running."""
    from ragwright.agent import open_agent
    from ragwright.assembly import in_service, wanted_endpoints
    from ragwright.endpoints import generator_spec
    from ragwright.index.attempt import open_catalog

    if search and "Search" in settings.agent.tools:
        with open_catalog(settings) as catalog:
            search = bool(catalog.head().live)
        if not search:
            session.say(f"index {settings.index!r} has no published generation: Search is off")
    else:
        search = False
    own = generator_spec(settings)
    specs = wanted_endpoints(settings) if search else [own] if own else []
    minutes = settings.endpoints.ask_lease_minutes
    with session.progress() as progress, in_service(settings, specs, minutes=minutes, progress=progress) as started:
        tell_started(session, [info.name for info in started], minutes)
        shown: dict[str, Any] = {}
        if screen is not None:
            shown = {"on_action": screen.acts, "on_step": screen.acted, "on_text": screen.says}
        with open_agent(settings, search=search, memory=memory, **shown) as agent:
            yield agent


def _endpoint_of(model: str | None) -> str | None:
    """A name of its own for a model that is named by itself: two models cannot run under one name."""
    if model is None:
        return None
    return f"chat-{re.sub('[^A-Za-z0-9]+', '-', Path(model).stem).strip('-')}"[:63].rstrip("-")


def _talk(session: Session, agent: Agent, stored: Conversations, name: str | None, screen: _Screen | None) -> None:
    """A turn for each line typed, until the input ends."""
    if sys.stdin.isatty():
        import readline  # noqa: F401 - gives `input` its history and keys

        session.say("Empty line or Ctrl-D to end.")
    for text in _typed():
        try:
            with screen or nullcontext():
                turn = agent.turn(text)
        except RequestRejected as error:
            session.report(error)
            continue
        if name is not None:
            stored.append(name, turn)
        if screen is None:
            session.emit({"turn": turn.text} | turn.to_json())


def _typed() -> Iterator[str]:
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            return
        if not text:
            return
        yield text


class _Screen:
    """Shows a turn while it is answered: tools on stderr, as soon as they are named, and the reply on stdout."""

    def __init__(self) -> None:
        self._said = self._named = False

    def acts(self, action: str) -> None:
        """A tool is called."""
        self._end_lines()
        typer.echo(f"  {action}", nl=False, err=True)
        self._named = True

    def acted(self, step: Step) -> None:
        """It has answered."""
        typer.echo(f": {step.action_input} -> {step.observation}".translate(_CONTROLS), err=True)
        self._named = False

    def says(self, piece: str) -> None:
        """The reply goes on."""
        typer.echo(piece.translate(_CONTROLS), nl=False)
        self._said = True

    def _end_lines(self) -> None:
        if self._said:
            typer.echo()
        if self._named:
            typer.echo(err=True)
        self._said = self._named = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The turn has ended, or broke off: what comes next begins a line of its own."""
        self._end_lines()


def _follow(session: Session, agent: Agent, conversation: _Conversation) -> None:
    """One conversation from its beginning; a turn that cannot be taken is an error in its own line."""
    agent.memory.clear()
    for number, text in enumerate(conversation.turns, start=1):
        place = {"id": conversation.id, "turn": number}
        try:
            session.emit(place | agent.turn(text).to_json())
        except RequestRejected as error:
            fault = {"type": type(error).__name__, "message": error.what, "place": error.place, "hint": error.hint}
            session.emit(place | {"error": fault})


def _list(session: Session, stored: Conversations) -> None:
    found = stored.all()

    def show(out: Any) -> None:
        for info in found:
            out.print(f"{info.name}  {info.turns} turns, last {info.updated}", markup=False)

    session.show([info.to_json() for info in found], show)


def _read(file: Path) -> Iterator[_Conversation]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SourceError(f"the turns cannot be read: {why}", place=str(file), hint=_EACH_LINE) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"not JSON: {line[:60]!r}", place=place, hint=_EACH_LINE) from error
        turns = value.get("turns") if isinstance(value, dict) else None
        if not isinstance(turns, list) or not turns:
            raise SourceError(f"no list of texts under 'turns' in {line[:60]!r}", place=place, hint=_EACH_LINE)
        for turn in turns:
            if not isinstance(turn, str) or not turn.strip():
                raise SourceError(f"a turn is no text: {turn!r}"[:120], place=place, hint=_EACH_LINE)
        yield _Conversation(value.get("id", number), tuple(turns))
