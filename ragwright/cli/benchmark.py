"""`ragwright benchmark agent`: what models are worth as conversational agents, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragwright.cli.session import Session, verb

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure models with questions of their own.")


@app.callback()
def benchmark() -> None:
    """Measure models with questions of their own."""


@app.command()
@verb
def agent(
    session: Session,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="A name in models.toml, a .gguf file, [MODEL@]URL of an OpenAI-compatible server, or "
            "[MODEL@]sagemaker:ENDPOINT; give it again to put several side by side. Else the model that is set.",
        ),
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help="Only so many cases, and attacks in proportion.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the sample and of the models.")] = 7,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write the page; else reports/ in the home folder.")
    ] = None,
) -> None:
    """Will it work as a conversational agent? Format, tools, numbers, memory, refusal, attacks, time and memory."""
    from ragwright.agent.benchmark.page import write_report
    from ragwright.agent.benchmark.report import markdown
    from ragwright.agent.benchmark.running import benchmark as run

    settings = session.settings()
    with session.progress() as progress:
        result = run(settings, model or [settings.generation.model], at_most=sample, seed=seed, progress=progress)
    path = write_report(settings, result, out=out)

    def text(console: Console) -> None:
        from rich.markdown import Markdown

        console.print(Markdown(markdown(result)))
        console.print(f"Page with every failure: {path}", markup=False)

    session.show(result.to_json() | {"report": str(path)}, text)
