"""Register the deployments in an environment: `prefect.yaml` with what `deploy/environments/NAME.yaml` says of them.

    python deploy/register.py staging                  # the work pool and the deployments, on the server that is set
    python deploy/register.py production --pool ecs    # runs become ECS tasks: deploy/pools/ecs.yaml
    python deploy/register.py production --show        # prints what would be registered, and asks no server

`{{ $NAME }}` in these files is filled in from the environment of the caller; a name that is not set is refused. Secrets
are never filled in: the work pool names their blocks, and the worker reads them anew for each run.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
import yaml
from pydantic import Field, ValidationError

from ragwright.cli.session import Session, verb
from ragwright.errors import ConfigurationError, RagwrightError
from ragwright.settings_section import Section

ROOT = Path(__file__).resolve().parents[1]
POOL = "ragwright"
_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")
_T = TypeVar("_T", bound=Section)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class Differently(Section):
    """What an environment says of one deployment; what it does not mention stays as prefect.yaml has it."""

    parameters: dict[str, Any] = Field(default_factory=dict, description="Put over those of prefect.yaml, one by one.")
    schedules: dict[str, dict[str, Any]] = Field(default_factory=dict, description="The same by slug.")


class Environment(Section):
    """One file of deploy/environments."""

    schedules: Literal["active", "paused"]
    timezone: str | None = Field(None, description="Of all schedules. None: prefect.yaml's.")
    pool: str = Field("process", description="A file of deploy/pools: what runs are.")
    tags: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict, description="Environment of every run.")
    secrets: tuple[str, ...] = Field((), description="Environment variables whose values Secret blocks hold.")
    deployments: dict[str, Differently] = Field(default_factory=dict)


class Pool(Section):
    """One file of deploy/pools."""

    type: Literal["process", "docker", "ecs", "kubernetes"]
    folder: str | None = Field(None, description="Where an image has the flows' data. None: where one registers from.")
    secrets: Literal["environment", "blocks"] = Field(
        description="Whether a run finds secrets in its environment. Containers show theirs to whoever may describe "
        "them, so there the flow reads the blocks by itself."
    )
    variables: dict[str, Any] = Field(default_factory=dict, description="Put over the defaults of Prefect's template.")
    grace_period_seconds: int | None = Field(
        None, ge=60, le=86_400, description="How long a slot waits for a run whose infrastructure is being started."
    )


@app.command()
@verb
def register(
    session: Session,
    environment: Annotated[str, typer.Argument(help="A file of deploy/environments, without its suffix.")],
    pool: Annotated[str | None, typer.Option("--pool", help="Another file of deploy/pools than it names.")] = None,
    schedules: Annotated[
        Literal["active", "paused"] | None, typer.Option("--schedules", help="Otherwise than it says.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print what would be registered.")] = False,
) -> None:
    """Register the deployments of this project as an environment has them."""
    chosen = read(Environment, "environments", environment)
    if schedules:
        chosen = chosen.model_copy(update={"schedules": schedules})
    runs = read(Pool, "pools", pool or chosen.pool)
    rendered, template = render(chosen, runs), base_job_template(runs, chosen.secrets)
    if show:
        shown = {"prefect.yaml": rendered, "work pool": {"type": runs.type, "base_job_template": template}}
        session.show(shown, lambda out: out.print(as_yaml(rendered), markup=False, highlight=False, soft_wrap=True))
        return
    see_to_pool(runs, template, chosen.secrets)
    _deploy(rendered)
    names = [deployment["name"] for deployment in rendered["deployments"]]
    value = {"environment": environment, "deployments": names, "schedules": chosen.schedules}
    text = f"{len(names)} deployments are registered for {environment}; their schedules are {chosen.schedules}."
    session.show(value, lambda out: out.print(text, markup=False))


def read(kind: type[_T], folder: str, name: str) -> _T:
    """One file, with the caller's environment filled in.

    Raises:
        ConfigurationError: There is no such file, a value is wrong, or a variable is not set.
    """
    path = ROOT / "deploy" / folder / f"{name}.yaml"
    known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
    if path.stem not in known.split(", "):
        raise ConfigurationError(f"there is no {name!r} in deploy/{folder}", hint=f"There are: {known}.")
    lacking: set[str] = set()
    filled = _filled(yaml.safe_load(path.read_text(encoding="utf-8")), lacking)
    if lacking:
        raise ConfigurationError(
            f"not set: {', '.join(sorted(lacking))}", place=f"deploy/{folder}/{path.name}", hint="Export them first."
        )
    try:
        return kind.model_validate(filled)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigurationError(faults, place=f"deploy/{folder}/{path.name}") from None


def render(environment: Environment, pool: Pool) -> dict[str, Any]:
    """What prefect.yaml would say if it were written for this environment.

    Raises:
        ConfigurationError: The environment speaks of a deployment or a schedule that prefect.yaml does not have.
    """
    base: dict[str, Any] = copy.deepcopy(yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8")))
    del base["definitions"]  # resolved when it was read
    if pool.folder:
        base["pull"] = [{"prefect.deployments.steps.set_working_directory": {"directory": pool.folder}}]
    deployments = {deployment["name"]: copy.deepcopy(deployment) for deployment in base["deployments"]}
    _known(environment.deployments, deployments, "deployment")
    for name, deployment in deployments.items():
        differently = environment.deployments.get(name, Differently())
        deployment["tags"] += environment.tags
        deployment["parameters"] = deployment.get("parameters", {}) | differently.parameters
        deployment["work_pool"]["job_variables"] = {"env": dict(environment.env)} if environment.env else {}
        schedules = {schedule["slug"]: schedule for schedule in deployment.get("schedules", [])}
        _known(differently.schedules, schedules, f"schedule of {name}")
        for slug, schedule in schedules.items():
            schedule.update({"active": environment.schedules == "active"} | differently.schedules.get(slug, {}))
            if environment.timezone:
                schedule["timezone"] = environment.timezone
        if pool.grace_period_seconds and "concurrency_limit" in deployment:
            deployment["concurrency_limit"]["grace_period_seconds"] = pool.grace_period_seconds
    return base | {"deployments": list(deployments.values())}


def base_job_template(pool: Pool, secrets: tuple[str, ...] = ()) -> dict[str, Any]:
    """Prefect's own template for this type of pool, with the pool's variables as defaults.

    Raises:
        ConfigurationError: The type has no such variable, or not with such a value.
    """
    from prefect import __module_path__
    from prefect.utilities.schema_tools import ValidationError as NotValid
    from prefect.utilities.schema_tools import validate

    from tasks.secrets import BLOCKS

    # Prefect's server hands these out too, for all types, whether or not their packages are installed.
    known = __module_path__ / "server" / "api" / "collections_data" / "views" / "aggregate-worker-metadata.json"
    types = {name: of for types in json.loads(known.read_bytes()).values() for name, of in types.items()}
    template: dict[str, Any] = types[pool.type]["default_base_job_configuration"]
    properties = template["variables"]["properties"]
    place = f"deploy/pools/{pool.type}.yaml"
    _known(pool.variables, properties, "variable", place)
    try:
        validate(dict(pool.variables), template["variables"], raise_on_error=True)
    except NotValid as error:
        raise ConfigurationError(str(error), place=place) from None
    for name, value in pool.variables.items():
        properties[name]["default"] = value
    if pool.secrets == "environment" and secrets:
        _known(dict.fromkeys(secrets), BLOCKS, "secret", "secrets")
        named = {variable: f"{{{{ prefect.blocks.secret.{BLOCKS[variable]} }}}}" for variable in secrets}
        properties["env"]["default"] = properties["env"].get("default", {}) | named
    return template


def see_to_pool(pool: Pool, template: dict[str, Any], secrets: tuple[str, ...]) -> None:
    """Make the work pool, or change the one that is there; before that, look for the blocks that its runs need.

    Raises:
        ConfigurationError: A block is missing, or there is a pool of this name and another type.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound

    from tasks.secrets import BLOCKS

    with get_client(sync_client=True) as client:
        lacking = []
        for variable in secrets:
            try:
                client.read_block_document_by_name(BLOCKS[variable], "secret", include_secrets=False)
            except ObjectNotFound:
                lacking.append(BLOCKS[variable])
        if lacking:
            raise ConfigurationError(
                f"there is no Secret block {', '.join(map(repr, lacking))} on this Prefect server",
                hint="docs/security.md shows how to make one; runs would fail without.",
            )
        with suppress(ObjectNotFound):
            there = client.read_work_pool(POOL).type
            if there != pool.type:
                raise ConfigurationError(
                    f"the work pool {POOL!r} is of type {there!r}, which cannot be changed to {pool.type!r}",
                    hint=f"When nothing runs there any more: prefect work-pool delete {POOL}. Then register again.",
                )
        client.create_work_pool(WorkPoolCreate(name=POOL, type=pool.type, base_job_template=template), overwrite=True)


def _deploy(rendered: dict[str, Any]) -> None:
    """Let `prefect deploy` register everything.

    Raises:
        RagwrightError: It failed; its output came before.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "prefect.yaml"
        file.write_text(as_yaml(rendered), encoding="utf-8")
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        code = subprocess.run(command, cwd=ROOT, stdout=2, check=False).returncode  # noqa: S603 # our own
    if code:
        raise RagwrightError(f"`prefect deploy --all` ended with exit code {code}", hint="Its output above says why.")


def _filled(value: Any, lacking: set[str]) -> Any:
    """Everything with the variables of the environment in place; what is not set is noted."""
    match value:
        case dict():
            return {name: _filled(item, lacking) for name, item in value.items()}
        case list():
            return [_filled(item, lacking) for item in value]
        case str():
            lacking |= {name for name in _VARIABLE.findall(value) if not os.environ.get(name)}
            return _VARIABLE.sub(lambda found: os.environ.get(found[1], ""), value)
    return value


def _known(named: Mapping[str, Any], there: Mapping[str, Any], what: str, place: str | None = None) -> None:
    if unknown := sorted(named.keys() - there.keys()):
        raise ConfigurationError(
            f"there is no {what} {', '.join(map(repr, unknown))}", place=place, hint=f"There are: {', '.join(there)}."
        )


def as_yaml(value: dict[str, Any]) -> str:
    """A document with its entries in the order given."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    app(prog_name="deploy/register.py")
