"""One run of a verb: its settings, what it prints, and how its errors reach the user."""

from __future__ import annotations

import functools
import inspect
import io
import json as json_module
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, Self

import typer

from ragwright.errors import ConfigurationError, RagwrightError, StorageFull, is_disk_full

if TYPE_CHECKING:
    from rich.console import Console

    from ragwright.progress import Progress
    from ragwright.settings import Settings

Home = Annotated[Path | None, typer.Option("--home", help="Folder for all state (RAGWRIGHT_HOME; else .ragwright).")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, errors too.")]
Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, show_default=False, help="More log lines, and tracebacks; -vv: debug."),
]

PIPE_WIDTH = 200
Flags = ParamSpec("Flags")


class Session:
    """What a verb works with; as a context manager it turns errors into messages and exit codes."""

    def __init__(self, *, home: Path | None = None, json: bool = False, verbose: int = 0) -> None:
        self.home, self.json, self.verbose = home, json, verbose

    def settings(self, **overrides: Any) -> Settings:
        """The settings tree; overrides that are None leave a setting as it is."""
        from ragwright.settings import load_settings

        return load_settings(**{name: value for name, value in overrides.items() if value is not None})

    def show(self, value: Any, text: Callable[[Console], None]) -> None:
        """Print the result: `value` as one JSON document with `--json`, else whatever `text` prints."""
        if self.json:
            self.emit(value)
        else:
            text(_console(stderr=False))

    def emit(self, value: Any) -> None:
        """Print one JSON document on a line of its own; verbs that stream results use it directly."""
        sys.stdout.write(json_module.dumps(value, ensure_ascii=False, default=str) + "\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Tell the person at the terminal something that is not the result."""
        typer.echo(text, err=True)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A `Progress` that draws bars on a terminal and prints a line now and then elsewhere; both on stderr."""
        from ragwright.cli.progress import follow

        with follow(_console(stderr=True)) as progress:
            yield progress

    def __enter__(self) -> Self:
        if self.home is not None:
            # Also for what reads the settings on its own: the model catalog, and processes started from here.
            os.environ["RAGWRIGHT_HOME"] = str(self.home.resolve())
        if isinstance(sys.stdout, io.TextIOWrapper):
            # An argument may hold bytes that are no text; as JSON they become escapes, not a crash.
            sys.stdout.reconfigure(errors="backslashreplace")
        level = {0: logging.WARNING, 1: logging.INFO}.get(self.verbose, logging.DEBUG)
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        logging.getLogger("ragwright").setLevel(level)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, (typer.Exit, typer.Abort, typer.TyperException, SystemExit)):
            return
        if isinstance(error, BrokenPipeError):
            _leave_stdout()
            raise typer.Exit(1) from error
        if isinstance(error, KeyboardInterrupt):
            self.say("Interrupted.")
            raise typer.Exit(130) from error
        if self.verbose:
            traceback.print_exception(error, file=sys.stderr)
        self.report(error)
        raise typer.Exit(1) from error

    def report(self, error: BaseException, **more: Any) -> None:
        """Tell an error: what, where, why and what to do, on stderr; with `--json` as an object on stdout too.

        Args:
            error: What happened.
            more: Other fields of that object, for errors of which more is known.
        """
        told = _as_told(error)
        if self.json:
            fields = {"type": type(told).__name__, "message": told.what, "place": told.place, "hint": told.hint}
            try:
                self.emit({"error": fields, **more})
            except BrokenPipeError:
                _leave_stdout()
        lines = [f"error: {told.what}"]
        lines += [f"  place: {told.place}"] if told.place else []
        cause = told.__cause__ or told.__context__
        lines += [f"  cause: {_one_line(cause)}"] if cause is not None else []
        lines += [f"  next:  {told.hint}"] if told.hint else []
        self.say("\n".join(lines))


def verb(body: Callable[Concatenate[Session, Flags], None]) -> Callable[..., None]:
    """Make a function a verb: the session in its first place becomes `--home`, `--json` and `-v`.

    The same flags before the verb (`ragwright --json endpoints ls`) count too.
    """
    own = list(inspect.signature(body, eval_str=True).parameters.values())[1:]

    @functools.wraps(body)
    def command(ctx: typer.Context, home: Path | None, json: bool, verbose: int, **own_flags: Any) -> None:
        before = ctx.find_root().params
        with Session(
            home=home or before.get("home"),
            json=json or before.get("json", False),
            verbose=verbose or before.get("verbose", 0),
        ) as session:
            body(session, **own_flags)  # type: ignore[call-arg] # Typer fills them in from `own`
            sys.stdout.flush()

    # Typer learns a verb's flags from these two, and would look through to the body otherwise.
    del command.__wrapped__
    shared = {"home": (Home, None), "json": (Json, False), "verbose": (Verbose, 0)}
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("ctx", keyword, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in own),
        *(inspect.Parameter(name, keyword, annotation=kind, default=value) for name, (kind, value) in shared.items()),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _as_told(error: BaseException) -> RagwrightError:
    """Our own errors as they are; others with what a user can do about them."""
    if isinstance(error, RagwrightError):
        return error
    if is_disk_full(error):
        told: RagwrightError = StorageFull(
            "no room left on the disk", hint="Free some space, or name another folder in RAGWRIGHT_HOME."
        )
    elif isinstance(error, OSError) and error.filename is not None:
        told = ConfigurationError(f"{error.strerror}: {str(error.filename)!r}")
    else:
        told = RagwrightError(
            f"unexpected {type(error).__name__}: {error}",
            hint="This is a defect of ragwright; `-v` shows the traceback.",
        )
    told.__suppress_context__ = True
    return told


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    # Off a terminal there is no width to respect, and a table cut to 80 columns is hard to grep.
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=None if terminal else PIPE_WIDTH)


def _leave_stdout() -> None:
    """Nobody reads any more: what is still buffered must not fail once more when Python exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
