"""`ragwright demo`: the main job, run for real on this machine, or in an AWS account."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragwright.bundled import bundled
from ragwright.cli.session import Session, verb
from ragwright.errors import RagwrightError

if TYPE_CHECKING:
    from rich.console import Console

    from ragwright.settings import Settings


# The settings a temporary Prefect server needs to come up on a small machine; a server of the user's own is left as
# it is. Seconds: 20, the default, is not enough where the database has to be made first.
_PREFECT = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


@verb
def demo(
    session: Session,
    source: Annotated[str | None, typer.Option("--source", help="Another FAQ than the one that comes along.")] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Evaluation questions to ask.")] = 30,
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="Where: local, or aws (SageMaker, Pinecone and S3; RAGWRIGHT_PROFILE)."),
    ] = None,
    task_runner: Annotated[
        str | None,
        typer.Option("--task-runner", help="What runs partitions: threads, or dask (RAGWRIGHT_TASK_RUNNER)."),
    ] = None,
) -> None:
    """Provision, validate, index, question and clean up: the pipeline flow, on local models, with no account.

    With `--profile aws` the same flow runs in an account and costs money until it ends. What is missing for that is
    told by `ragwright doctor --profile aws`.
    """
    from ragwright.profiles import require

    settings = session.settings(profile=profile, task_runner=task_runner)
    require(settings)
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [sys.executable, "-m", "flows.pipeline", "--report", str(report)]
        if source is None:
            command += ["--source", str(bundled("sagemaker_faq.csv"))]
            command += ["--questions", str(bundled("questions.jsonl")), "--sample", str(sample)]
        else:
            command += ["--source", source]
        code = _run(command, _environment(settings), session)
        if code or not report.exists():
            raise RagwrightError(
                f"the pipeline flow ended with exit code {code}",
                hint="Its log above says why; `ragwright doctor` checks what it needs.",
            )
        value = json.loads(report.read_text(encoding="utf-8"))
    session.show(value, lambda out: _print(out, value["markdown"], settings))


def _run(command: list[str], environment: dict[str, str], session: Session) -> int:
    """Run the flow in a process of its own, so that Prefect finds the environment when it is imported.

    An interrupt is passed on to the flow, which then still tears its endpoints down. The process leads a session of its
    own because a terminal would also interrupt the temporary Prefect server, and teardown needs that.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    flow = subprocess.Popen(command, env=environment, stdout=sys.stderr, start_new_session=True)  # noqa: S603 # our own
    try:
        return flow.wait()
    except KeyboardInterrupt:
        session.say("Interrupted; the endpoints are being stopped. Interrupt again to leave that to their lease.")
        flow.send_signal(signal.SIGINT)
        try:
            flow.wait()
        except KeyboardInterrupt:
            flow.kill()
        raise


def _environment(settings: Settings) -> dict[str, str]:
    chosen = os.environ | {"RAGWRIGHT_PROFILE": settings.profile, "RAGWRIGHT_TASK_RUNNER": settings.task_runner}
    if "PREFECT_API_URL" not in chosen:
        home = (settings.home / "prefect").resolve()
        home.mkdir(parents=True, exist_ok=True)
        chosen.setdefault("PREFECT_HOME", str(home))
    return _PREFECT | chosen


def _print(out: Console, report: str, settings: Settings) -> None:
    from rich.markdown import Markdown

    out.print(Markdown(report))
    program = os.path.relpath(sys.argv[0])
    if settings.profile != "local":
        program = f"RAGWRIGHT_PROFILE={settings.profile} {program}"
    out.print(f'Next: {program} ask "Which instances can I use for spot training?"', markup=False)
