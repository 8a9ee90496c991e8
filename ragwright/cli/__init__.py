"""The command `ragwright`: a thin layer that reads flags, calls the library, and prints what came back.

A verb is a function in a module of this package, decorated with `verb` and taking a `Session` first::

    @verb
    def evaluate(session: Session, questions: Annotated[Path | None, Option(help="...")] = None) -> None:
        \"\"\"Score the live generation.\"\"\"
        from ragwright.evaluation import ...        # heavy imports wait until the verb runs
        with session.progress() as progress:
            scores = ...                            # raise the library's errors; the session tells the user
        session.show(scores.as_dict(), lambda out: out.print(...))

and is added at the foot of this file by one line, `app.command()(evaluate)`, or `app.add_typer(...)` for a family of
verbs. `verb` gives every one of them `--json`, `--home` and `-v`. Stdout carries the result and nothing else; logs,
progress and errors go to stderr.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ragwright.cli import (
    ask,
    automations,
    benchmark,
    chat,
    demo,
    doctor,
    endpoints,
    evaluation,
    history,
    index,
    questions,
    size,
)
from ragwright.cli.session import Home, Json, Verbose

app = typer.Typer(
    name="ragwright",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help takes longer to import than everything else together
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 fine; 1 error (its message says what to do); 2 wrong usage; 130 interrupted.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ragwright {version('ragwright')}")
        raise typer.Exit


@app.callback()
def ragwright(
    home: Home = None,
    json: Json = False,
    verbose: Verbose = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Keep a question-answering index over an FAQ fresh, evaluated and honest.

    Settings come from ragwright.toml, .env and RAGWRIGHT_... in the environment; `ragwright doctor` shows them.
    """


def main() -> None:
    """Run the command line; the script's entry."""
    app(prog_name="ragwright")


app.command()(demo.demo)
app.command()(index.reindex)
app.command()(history.plan)
app.command()(history.generations)
app.command()(history.rollback)
app.command()(history.publish)
app.command()(history.verify)
app.command()(history.vacuum)
app.command()(evaluation.evaluate)
app.command()(evaluation.compare)
app.command()(evaluation.report)
app.command()(ask.ask)
app.command()(chat.chat)
app.add_typer(questions.app, name="questions")
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(automations.app, name="automations")
app.command()(size.size)
app.command()(doctor.doctor)
