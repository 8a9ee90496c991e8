"""The deployments: prefect.yaml as a table, the environments put over it, and all of it on a real server."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from prefect import Flow
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectHTTPStatusError
from prefect.testing.cli import invoke_and_assert
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker
from prefect_on_loopback import PrefectServer, settings_of
from typer.testing import CliRunner

from deploy import register
from flows import run_names
from flows.release import release
from ragwright.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
BASE: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: list[dict[str, Any]] = BASE["deployments"]

SURFACE = """
flow/deployment                  | trigger                  | cron         | a second run
pipeline/pipeline                | by hand                  |              | waits
provision/provision              | by hand                  |              | waits
reindex/nightly-reindex          | every night, by an event | 0 3 * * *    | waits
evaluation/evaluate-live         | every morning            | 30 5 * * *   | is cancelled
watch_source/watch-source        | every 10 minutes         | */10 * * * * | is cancelled
janitor/janitor                  | every 15 minutes         | */15 * * * * | is cancelled
teardown/teardown                | by hand                  |              | runs too
rollback/rollback                | by hand                  |              | runs too
publish/publish                  | by hand                  |              | runs too
agent_benchmark/agent-benchmark  | by hand                  |              | waits
"""
TABLE = [[cell.strip() for cell in line.split("|")] for line in SURFACE.strip().splitlines()[1:]]

# What only a person can say at the moment of the run.
GIVEN: dict[str, dict[str, Any]] = {"publish": {"generation": 2, "reason": "It is meant."}}

# What the examples of environments and pools leave to whoever registers.
ACCOUNT = {
    "RAGWRIGHT_HOME": "/var/lib/ragwright",
    "RAGWRIGHT_SOURCE": "s3://a-bucket/faq.csv",
    "RAGWRIGHT_CATALOG": "s3://a-bucket/ragwright",
    "RAGWRIGHT_SAGEMAKER__REGION": "eu-central-1",
    "RAGWRIGHT_SAGEMAKER__ROLE_ARN": "arn:aws:iam::123456789012:role/containers",
    "RAGWRIGHT_SAGEMAKER__SCHEDULER_ROLE_ARN": "arn:aws:iam::123456789012:role/scheduler",
    "RAGWRIGHT_IMAGE": "registry.example/ragwright:0.1.0",
    "RAGWRIGHT_ECS_CLUSTER": "batch",
    "RAGWRIGHT_VPC_ID": "vpc-1",
    "RAGWRIGHT_TASK_ROLE_ARN": "arn:aws:iam::123456789012:role/runner",
    "RAGWRIGHT_EXECUTION_ROLE_ARN": "arn:aws:iam::123456789012:role/execution",
}


CANARY = "canary-of-the-block"


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "deploy" / folder).glob("*.yaml"))


def entry(deployment: dict[str, Any]) -> Flow[Any, Any]:
    module, _, name = deployment["entrypoint"].rpartition(".")
    found = getattr(import_module(module), name)
    assert isinstance(found, Flow)
    return found


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)


def test_the_table_of_deployments() -> None:
    second = {"ENQUEUE": "waits", "CANCEL_NEW": "is cancelled", None: "runs too"}
    found = []
    for deployment in DEPLOYMENTS:
        limit = deployment.get("concurrency_limit", {"limit": 1})
        assert limit["limit"] == 1
        assert all(schedule["timezone"] and schedule["active"] is False for schedule in deployment.get("schedules", []))
        crons = " ".join(schedule["cron"] for schedule in deployment.get("schedules", []))
        name = f"{entry(deployment).name}/{deployment['name']}"
        found.append([name, crons, second[limit.get("collision_strategy")]])
    assert found == [[name, cron, collision] for name, _, cron, collision in TABLE]


def test_the_readme_shows_the_same_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `([\w/-]+)` \| ([^|]+) \| ", readme, flags=re.MULTILINE)
    assert [(name.partition("/")[0], name, trigger) for name, trigger, _, _ in TABLE] == rows


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_a_deployment_s_form_explains_itself(deployment: dict[str, Any]) -> None:
    schema = parameter_schema(entry(deployment))
    assert schema.properties
    described = dict(schema.properties)
    for group in schema.definitions.values():
        assert group["additionalProperties"] is False, "a mistyped name must not pass"
        described |= {f"{group['title']}.{name}": field for name, field in group["properties"].items()}
        assert [field["position"] for field in group["properties"].values()] == [*range(len(group["properties"]))]
        assert [field["title"] for field in group["properties"].values()] == [*group["properties"]]
    for name, field in described.items():
        group = schema.definitions.get(field.get("$ref", "").rpartition("/")[2], {})
        assert field.get("description") or group.get("description"), name
    optional = [name for name, field in described.items() if {"type": "null"} in field.get("anyOf", [])]
    assert optional == (["names"] if deployment["name"] == "teardown" else [])
    assert deployment["description"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_a_deployment_can_run_with_its_parameters(deployment: dict[str, Any]) -> None:
    parameters = deployment.get("parameters", {}) | GIVEN.get(deployment["name"], {})
    validated = entry(deployment).validate_parameters(parameters)
    assert parameters.keys() <= validated.keys()


WRONG = [
    ("reindex/nightly-reindex", {"source": "ftp://example.com/faq.csv"}, "source"),
    ("reindex/nightly-reindex", {"source": "  "}, "source"),
    ("reindex/nightly-reindex", {"index": "Not A Name"}, "index"),
    ("reindex/nightly-reindex", {"gate": {"mode": "blok"}}, "gate.mode"),
    ("reindex/nightly-reindex", {"gate": {"sampel": 3}}, "gate"),
    ("reindex/nightly-reindex", {"changes": {"full": "perhaps"}}, "changes.full"),
    ("pipeline/pipeline", {"questions": {"sample": -1}}, "questions.sample"),
    ("pipeline/pipeline", {"lease_minutes": 0}, "lease_minutes"),
    ("evaluation/evaluate-live", {"generation": -2}, "generation"),
    ("publish/publish", {"generation": 1, "reason": " "}, "reason"),
    ("janitor/janitor", {"keep": "many"}, "keep"),
    ("agent_benchmark/agent-benchmark", {"models": [""]}, "models"),
]


@pytest.mark.parametrize(("name", "parameters", "place"), WRONG)
def test_a_wrong_parameter_is_refused_with_its_place(name: str, parameters: dict[str, Any], place: str) -> None:
    (deployment,) = (deployment for deployment in DEPLOYMENTS if name.endswith(f"/{deployment['name']}"))
    with pytest.raises(ConfigurationError) as refused:
        entry(deployment).validate_parameters(GIVEN.get(deployment["name"], {}) | parameters)
    assert place in refused.value.what
    assert refused.value.hint
    assert "example.com" not in str(refused.value), "an address may be signed"


@pytest.mark.parametrize(
    ("deployment", "parameters", "name"),
    [
        ("pipeline", {"source": "s3://b/c/faq.csv?X-Amz-Signature=1"}, "Main job: faq from faq.csv"),
        ("nightly-reindex", {}, "Re-index faq from sagemaker_faq.csv"),
        (
            "nightly-reindex",
            {"index": "hr", "changes": {"full": True}, "gate": {"mode": "warn"}},
            "Re-index hr from sagemaker_faq.csv (everything embedded again, gate: warn)",
        ),
        ("provision", {"minutes": 90}, "Start endpoints for 90 minutes"),
        ("evaluate-live", {}, "Evaluate what faq shows"),
        (
            "evaluate-live",
            {"generation": 3, "questions": {"sample": 60}},
            "Evaluate generation 3 of faq (60 questions)",
        ),
        ("teardown", {}, "Stop endpoints (dry run)"),
        ("teardown", {"names": ["a", "b", "c"], "dry_run": False}, "Stop a, b and c"),
        ("teardown", {"names": [], "dry_run": False}, "Stop no endpoint"),
        ("rollback", {}, "Roll faq back to the generation before"),
        ("rollback", {"to": 4}, "Roll faq back to generation 4"),
        ("publish", GIVEN["publish"], "Publish generation 2 of faq by hand"),
        ("janitor", {"keep": 3}, "Clean up after faq (3 generations kept)"),
        ("agent-benchmark", {}, "Benchmark the model that is set as an agent"),
        (
            "agent-benchmark",
            {"models": ["phi@http://127.0.0.1:1/v1?key=1", "/models/big.gguf"], "sample": 12},
            "Benchmark phi and big.gguf as agents (12 cases)",
        ),
    ],
)
def test_runs_are_named_in_words(deployment: str, parameters: dict[str, Any], name: str) -> None:
    (found,) = (entry(declared) for declared in DEPLOYMENTS if declared["name"] == deployment)
    given = found.validate_parameters(parameters)
    with FlowRunContext.model_construct(parameters=given, flow_run=FlowRun(flow_id=uuid4())):
        assert getattr(run_names, found.name)() == name


def test_a_release_names_version_and_commit(tmp_path: Path) -> None:
    plain = release(tmp_path)["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", plain)
    commit = "4b1612941b3dad95f54166be1573bffec4e41262"
    git = tmp_path / ".git"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert release(tmp_path)["version"] == plain, "nothing is committed yet"
    (git / "packed-refs").write_text(f"# pack-refs\n{commit} refs/heads/main\n")
    assert release(tmp_path)["version"] == f"{plain}+4b16129"
    (git / "refs/heads/main").write_text("a" * 40)
    assert release(tmp_path)["version"] == f"{plain}+aaaaaaa"
    (git / "HEAD").write_text(commit)
    assert release(tmp_path)["version"] == f"{plain}+4b16129"
    elsewhere = tmp_path / "tree"
    elsewhere.mkdir()
    (elsewhere / ".git").write_text(f"gitdir: {git}\n")
    assert release(elsewhere)["version"] == f"{plain}+4b16129"


@pytest.mark.parametrize("pool", names("pools"))
@pytest.mark.parametrize("environment", names("environments"))
def test_an_environment_changes_what_it_names_and_nothing_else(account: None, environment: str, pool: str) -> None:
    chosen = register.read(register.Environment, "environments", environment)
    runs = register.read(register.Pool, "pools", pool)
    rendered = register.render(chosen, runs)
    for before, after in zip(DEPLOYMENTS, rendered["deployments"], strict=True):
        for kept in ("name", "entrypoint", "description", "version", "enforce_parameter_schema"):
            assert after[kept] == before[kept]
        assert {schedule["active"] for schedule in after.get("schedules", [])} <= {chosen.schedules == "active"}
        assert after["work_pool"]["name"] == before["work_pool"]["name"]
        assert after["tags"] == before["tags"] + [*chosen.tags]
        entry(after).validate_parameters(after["parameters"] | GIVEN.get(after["name"], {}))
        strategy = before.get("concurrency_limit", {}).get("collision_strategy")
        assert after.get("concurrency_limit", {}).get("collision_strategy") == strategy
    assert ("pull" in rendered) is (pool != "process")
    assert "{{ $" not in json.dumps(rendered)
    if environment == "local" and pool == "process":
        assert rendered["deployments"] == [{"parameters": {}} | deployment for deployment in DEPLOYMENTS]


def test_what_is_not_set_is_named_before_anything_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ACCOUNT:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="RAGWRIGHT_CATALOG, RAGWRIGHT_SAGEMAKER__REGION") as refused:
        register.read(register.Environment, "environments", "production")
    assert refused.value.place == "deploy/environments/production.yaml"
    with pytest.raises(ConfigurationError, match="there is no 'prod'"):
        register.read(register.Environment, "environments", "prod")


def test_a_mistyped_deployment_schedule_or_variable_is_refused(account: None) -> None:
    process = register.read(register.Pool, "pools", "process")
    for said in ({"nightly": {}}, {"nightly-reindex": {"schedules": {"nihgtly": {"cron": "* * * * *"}}}}):
        environment = register.Environment.model_validate({"schedules": "active", "deployments": said})
        with pytest.raises(ConfigurationError, match="there is no"):
            register.render(environment, process)
    docker = register.read(register.Pool, "pools", "docker")
    with pytest.raises(ConfigurationError, match="there is no variable 'imgae'"):
        register.base_job_template(docker.model_copy(update={"variables": {"imgae": "x"}}))
    with pytest.raises(ConfigurationError, match="image_pull_policy"):
        register.base_job_template(docker.model_copy(update={"variables": {"image_pull_policy": "Sometimes"}}))


@pytest.mark.parametrize("pool", names("pools"))
def test_a_pool_s_variables_are_those_of_prefect_s_workers(account: None, pool: str) -> None:
    chosen = register.read(register.Pool, "pools", pool)
    template = register.base_job_template(chosen, ("PINECONE_API_KEY",))
    defaults = {name: field.get("default") for name, field in template["variables"]["properties"].items()}
    assert chosen.variables.items() <= defaults.items()
    named = "{{ prefect.blocks.secret.ragwright-pinecone-api-key }}" in json.dumps(template)
    assert named is (pool == "process"), "containers show their environment"


def test_the_image_is_built_from_the_lock_for_a_user_without_rights() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    instructions = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").strip().splitlines()
    instructions = [" ".join(line.split()) for line in instructions if line]
    copied = [line.split()[1:-1] for line in instructions if line.startswith("COPY") and "--from" not in line]
    sources = {source for line in copied for source in line if not source.startswith("--")}
    for source in sources:
        assert (ROOT / source).exists(), source
    ignored = (ROOT / "deploy/Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    installs = [line for line in instructions if "uv pip install" in line]
    assert any(
        "--constraint requirements.lock" in line and "--requirements pyproject.toml" in line for line in installs
    )
    assert all("--no-deps" in line or "--constraint requirements.lock" in line for line in installs)
    assert "verify-hashes" not in text
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^([\w.-]+)==\S+ .*\\\n    --hash=sha256:", lock, flags=re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[\w.-]+==", lock, flags=re.MULTILINE)) > 100
    uv = re.search(r"^UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert uv is not None
    assert f"uv=={uv[1]}" in text
    last = instructions[max(n for n, line in enumerate(instructions) if line.startswith("FROM")) :]
    assert "USER 10001" in last
    assert not re.search(r"(?i)^(ARG|ENV) .*(key|token|secret|password)", text, flags=re.MULTILINE)
    folders = {pool.folder for name in names("pools") if (pool := _pool(name)).folder}
    assert folders == {next(line.split()[1] for line in last if line.startswith("WORKDIR"))}
    assert {deployment["entrypoint"].split(".")[0] for deployment in DEPLOYMENTS} <= sources


def _pool(name: str) -> register.Pool:
    return register.Pool.model_validate(yaml.safe_load((ROOT / "deploy/pools" / f"{name}.yaml").read_text()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    folder = tmp_path_factory.mktemp("deployments")
    quick = {
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "0.5",
        "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "0.5",
    }
    with PrefectServer(folder, quick) as server, settings_of(server, folder / "home"):
        yield server


@pytest.fixture
def client(server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def deploy(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `prefect --no-prompt deploy --all --prefect-file FILE` does in the checkout."""
    monkeypatch.chdir(ROOT)
    invoke_and_assert(["--no-prompt", "deploy", "--all", "--prefect-file", str(file)], expected_code=0)


def active(client: SyncPrefectClient) -> dict[str, bool]:
    return {
        deployment.name: schedule.active
        for deployment in client.read_deployments()
        for schedule in deployment.schedules
    }


@pytest.mark.long
def test_everything_can_be_registered_in_every_environment(
    server: PrefectServer, client: SyncPrefectClient, account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create_work_pool(WorkPoolCreate(name="ragwright", type="process"))
    deploy(ROOT / "prefect.yaml", monkeypatch)
    deployments = {found.name: found for found in client.read_deployments()}
    assert {name: found.version for name, found in deployments.items()} == {
        deployment["name"]: release()["version"] for deployment in DEPLOYMENTS
    }
    assert set(active(client).values()) == {False}, "nothing starts by itself on a laptop"

    process = register.read(register.Pool, "pools", "process")
    production = register.read(register.Environment, "environments", "production")
    template = register.base_job_template(process, production.secrets)
    with pytest.raises(ConfigurationError, match="ragwright-pinecone-api-key"):
        register.see_to_pool(process, template, production.secrets)
    Secret(value=CANARY).save("ragwright-pinecone-api-key", _sync=True)  # type: ignore[arg-type]
    register.see_to_pool(process, template, production.secrets)
    with pytest.raises(ConfigurationError, match="is of type 'process'"):
        register.see_to_pool(process.model_copy(update={"type": "docker"}), template, ())
    (tmp_path / "prefect.yaml").write_text(register.as_yaml(register.render(production, process)), encoding="utf-8")
    deploy(tmp_path / "prefect.yaml", monkeypatch)
    assert set(active(client).values()) == {True}
    found = client.read_deployment_by_name("reindex/nightly-reindex")
    assert found.parameters["source"] == ACCOUNT["RAGWRIGHT_SOURCE"]
    assert found.tags == ["ragwright", "index", "production"]
    assert len(found.schedules) == 1, "registering again changes a schedule, rather than add one"
    assert all(CANARY.encode() not in path.read_bytes() for path in server.home.rglob("*") if path.is_file())
    pool = client.read_work_pool("ragwright")
    settled = ProcessJobConfiguration.from_template_and_values(pool.base_job_template, found.job_variables or {})
    environment = asyncio.run(settled).env
    assert (environment["PINECONE_API_KEY"], environment["RAGWRIGHT_PROFILE"]) == (CANARY, "aws")

    monkeypatch.setenv("PREFECT_API_URL", server.url)  # for the process that it starts
    staged = CliRunner().invoke(register.app, ["staging", "--json"])
    assert staged.exit_code == 0, staged.output
    assert "staging" in staged.output
    (schedule,) = client.read_deployment_by_name("reindex/nightly-reindex").schedules
    assert isinstance(schedule.schedule, CronSchedule)
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 1 * * *", "Europe/Berlin")


@pytest.mark.long
def test_the_server_makes_no_run_of_wrong_parameters(server: PrefectServer, client: SyncPrefectClient) -> None:
    limits = {"concurrency_limit": None, "enforce_parameter_schema": True}
    made: dict[str, UUID] = {}
    for name, parameters, place in WRONG:
        if name not in made:
            (declared,) = (one for one in DEPLOYMENTS if name.endswith(f"/{one['name']}"))
            found = entry(declared)
            schema = parameter_schema(found).model_dump_for_openapi()
            made[name] = client.create_deployment(
                client.create_flow(found), "wrong", parameter_openapi_schema=schema, **limits
            )
        with pytest.raises(PrefectHTTPStatusError, match="409") as refused:
            client.create_flow_run_from_deployment(made[name], parameters=parameters)
        assert place in refused.value.response.json()["detail"]
    assert not [run for run in client.read_flow_runs() if run.deployment_id in made.values()]


@pytest.mark.long
def test_a_scheduled_run_fires_and_one_that_overlaps_is_cancelled(
    server: PrefectServer, client: SyncPrefectClient, home: Path
) -> None:
    declared = next(deployment for deployment in DEPLOYMENTS if deployment["name"] == "janitor")
    client.create_work_pool(WorkPoolCreate(name="often", type="process"))
    deployment = client.create_deployment(
        client.create_flow(entry(declared)),
        "often",
        work_pool_name="often",
        entrypoint=declared["entrypoint"],
        path=str(ROOT),
        concurrency_limit=declared["concurrency_limit"]["limit"],
        concurrency_options={"collision_strategy": declared["concurrency_limit"]["collision_strategy"]},
        schedules=[DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(seconds=2)), active=True)],
    )

    def ended() -> dict[StateType | None, str]:
        runs = client.read_flow_runs()
        return {run.state_type: run.name for run in runs if run.deployment_id == deployment}

    async def work() -> None:
        async with ProcessWorker(work_pool_name="often", prefetch_seconds=1) as worker:
            deadline = time.monotonic() + 90
            while not {StateType.COMPLETED, StateType.CANCELLED} <= ended().keys():
                assert time.monotonic() < deadline, ended()
                await worker.get_and_submit_flow_runs()
                await asyncio.sleep(0.5)
            client.pause_deployment(deployment)

    asyncio.run(work())
    assert ended()[StateType.COMPLETED] == "Clean up after faq"
