"""`ragwright ask`: questions to the live generation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ragwright.cli.index import Index, tell_started
from ragwright.cli.session import Session, verb
from ragwright.errors import ConfigurationError, RagwrightError, RequestRejected, SourceError

if TYPE_CHECKING:
    from rich.console import Console

    from ragwright.answering import Answer, Answerer
    from ragwright.answers import Explanation
    from ragwright.settings import Settings

_EACH_LINE = 'Name a UTF-8 file in which each line is an object such as {"id": "1", "question": "..."}.'


@verb
def ask(
    session: Session,
    question: Annotated[str | None, typer.Argument(help="The question.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Questions, one JSON object {id, question} a line; answers as JSONL.")
    ] = None,
    no_rag: Annotated[
        bool, typer.Option("--no-rag", help="Send the bare question to the language model, to see the difference.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the evidence that the decision to answer rests on, and its weight.")
    ] = False,
    generation: Annotated[
        int | None, typer.Option("--generation", help="Another generation than the live one, published or not.")
    ] = None,
    index: Index = None,
) -> None:
    """Answer from the FAQ, with citations, or say "I don't know"."""
    from ragwright.assembly import in_service, open_answerer, wanted_endpoints

    if (question is None) == (file is None):
        raise ConfigurationError(
            "ask takes a question or --file, one of the two", hint='Try: ragwright ask "What is Managed Spot Training?"'
        )
    settings = session.settings(index=index)
    questions = [] if file is None else list(_read(file))
    if generation is not None:
        settings = _settings_of(settings, generation)
    elif not no_rag:
        _refuse_unpublished(settings)
    minutes = settings.endpoints.ask_lease_minutes
    with ExitStack() as stack:
        with session.progress() as progress:
            started = stack.enter_context(
                in_service(settings, wanted_endpoints(settings), minutes=minutes, progress=progress)
            )
        tell_started(session, [info.name for info in started], minutes)
        answerer = stack.enter_context(open_answerer(settings, generation=generation))
        if question is not None:
            answer = _answer(answerer, question, no_rag=no_rag)
            session.show(answer.to_json(explain=explain), lambda out: _print(out, answer, explain=explain))
        for number, asked in enumerate(questions):
            session.emit(_line(answerer, asked, number, no_rag=no_rag, explain=explain))


def _answer(answerer: Answerer, question: str, *, no_rag: bool) -> Answer:
    return answerer.answer_without_context(question) if no_rag else answerer.answer(question)


def _line(answerer: Answerer, asked: dict[str, Any], number: int, *, no_rag: bool, explain: bool) -> dict[str, Any]:
    """One line of output; a question that cannot be asked is an error in its own line and stops no other."""
    identity = {"id": asked.get("id", number)}
    try:
        return identity | _answer(answerer, asked["question"], no_rag=no_rag).to_json(explain=explain)
    except RequestRejected as error:
        fault = {"type": type(error).__name__, "message": error.what, "place": error.place, "hint": error.hint}
        return identity | {"question": asked["question"], "error": fault}


def _read(file: Path) -> Iterator[dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SourceError(f"the questions cannot be read: {why}", place=str(file), hint=_EACH_LINE) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise SourceError(f"not JSON: {line[:60]!r}", place=f"{file}, line {number}", hint=_EACH_LINE) from error
        if not isinstance(value, dict) or not isinstance(value.get("question"), str):
            raise SourceError(
                f"no text under 'question' in {line[:60]!r}",
                place=f"{file}, line {number}",
                hint=_EACH_LINE,
            )
        yield value


def _refuse_unpublished(settings: Settings) -> None:
    """Say that there is no index before models are started for it."""
    from ragwright.index.attempt import open_catalog

    with open_catalog(settings) as catalog:
        if not catalog.head().live:
            raise _nothing_published(settings)


def _settings_of(settings: Settings, generation: int) -> Settings:
    """The settings with the embedder that made a generation, which may not be the one that is set."""
    from ragwright.index.attempt import open_catalog
    from ragwright.measuring import settings_of

    with open_catalog(settings) as catalog:
        return settings_of(settings, catalog.begin_of(generation).fingerprint)


def _nothing_published(settings: Settings) -> RagwrightError:
    return ConfigurationError(
        f"index {settings.index!r} has no published generation",
        place=settings.catalog_url,
        hint="Run `ragwright reindex --source FILE` first, or `ragwright demo` to see it all.",
    )


def _print(out: Console, answer: Answer, *, explain: bool) -> None:
    out.print(answer.answer, markup=False)
    for citation in answer.citations:
        out.print(f"  [{citation.row}] {citation.question}  ({citation.score:.2f})", markup=False, style="dim")
    took = answer.timings_ms.get("total", 0.0) / 1000
    of = f"generation {answer.generation}, " if answer.generation is not None else ""
    out.print(f"  {of}{took:.2f} s" + (f"; {answer.reason}" if answer.abstained else ""), style="dim", markup=False)
    if explain and answer.explanation:
        _print_explanation(out, answer.explanation)


def _print_explanation(out: Console, why: Explanation) -> None:
    """The decision in three tables: what weighed how much, the question's words, what was found."""
    from rich.table import Table

    limit = "" if why.threshold is None else f"; answers are given from {why.threshold:.2f}"
    out.print(f"\nprobability that the FAQ answers this: {why.probability:.2f}{limit}", markup=False)
    evidence = Table("evidence", "value", "weight", box=None)
    for name, weight in sorted(why.weights.items(), key=lambda item: -abs(item[1])):
        evidence.add_row(name.replace("_", " "), f"{why.evidence[name]:.2f}", f"{weight:+.2f}")
    out.print(evidence)
    if why.words:
        met = ", ".join(f"{word} {cosine:.2f}" for word, cosine in sorted(why.words.items(), key=lambda item: item[1]))
        out.print(f"words of the question in the first row below, worst met first: {met}", markup=False)
    rows = Table("row", "relevance", "cosine", "question", box=None)
    for found, relevance in why.candidates[:5]:
        rows.add_row(str(found.row), f"{relevance:.2f}", f"{found.score:.2f}", escape(found.question))
    out.print(rows)
