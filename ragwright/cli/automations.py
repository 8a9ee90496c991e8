"""`ragwright automations apply`: what a Prefect server does by itself, as a file says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragwright.cli.session import Session, verb

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What Prefect does when something happens.")

FILE = Path("deploy/automations.yaml")


@app.command()
@verb
def apply(
    session: Session,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="Automations (YAML); else those that come along."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Create and update the automations of the Prefect server that this folder's settings name.

    Applying twice changes nothing. Automations without the tag `ragwright` are left alone.
    """
    from ragwright.bundled import bundled

    chosen = file or (FILE if FILE.exists() else bundled("automations.yaml"))
    value = _apply(chosen, dry_run=dry_run)
    session.show(value, lambda out: _print(out, value))


def _apply(file: Path, *, dry_run: bool) -> dict[str, Any]:
    """Have it done by a process that imports Prefect.

    Raises:
        RagwrightError: As that process says.
    """
    from ragwright import errors

    command = [sys.executable, "-m", "tasks.automations", str(file), *(["--dry-run"] if dry_run else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 # our own
    try:
        value: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise errors.RagwrightError(
            f"applying automations ended with exit code {done.returncode}", hint="What it says above is the cause."
        ) from None
    if told := value.get("error"):
        kind = getattr(errors, told["type"], errors.RagwrightError)
        raise kind(told["message"], place=told["place"], hint=told["hint"])
    return value


def _print(out: Console, value: dict[str, Any]) -> None:
    def say(text: str) -> None:
        out.print(text, markup=False, highlight=False, soft_wrap=True)

    would = "would be " if value["dry_run"] else ""
    for one in value["automations"]:
        what = one["did"] if one["did"] == "unchanged" else would + one["did"]
        say(f"{what:<10} {one['name']}{'' if one['enabled'] else ' (switched off)'}")
    if value["blocks"]:
        say(f"Messages go to {', '.join(value['blocks'])}.")
    elif value["mute"]:
        say(
            f"{len(value['mute'])} of them have a message for you and nobody to send it: there is no notification or "
            f"Webhook block called {value['notify']!r}. Until there is, they show in the event feed only "
            f"({value['ui']}/events).\n"
            f"Make one at {value['ui']}/blocks/catalog, then run this again."
        )
