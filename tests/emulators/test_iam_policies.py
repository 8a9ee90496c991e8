"""The policies in deploy/iam allow what the code calls, on what it calls it, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from emulators.aws_cloud import AwsCloud
from emulators.aws_conditions import context_of, hold

from ragwright.endpoints import EndpointSpec, Lease
from ragwright.endpoints.dead_man import TARGET
from ragwright.endpoints.iam import Place, Statement, documents, optional, policy, runner, scheduler
from ragwright.endpoints.presets import image_of, load_presets
from ragwright.endpoints.sagemaker import SageMakerHost
from ragwright.errors import EndpointError, RagwrightError
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.history import rollback
from ragwright.index.reindex import reindex, writer_lease
from ragwright.index.vacuum import vacuum
from ragwright.settings import Settings, load_settings
from ragwright.stores import open_store

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "iam"
ACCOUNT = "123456789012"
PLACE = Place(account=ACCOUNT, region="us-east-1", catalog="catalogs/team/ragwright", source="sources/faq.csv")
SMALL = EndpointSpec(name="minilm", model="hashing-384", contract="tei")
LARGE = SMALL.model_copy(update={"model": "hashing-128"})
NOT_CALLED_HERE = {
    "s3:AbortMultipartUpload": "files of many megabytes are sent in parts, and given up if the run ends",
    "scheduler:TagResource": "AWS asks for it where a schedule group is created with tags; the emulator does not",
}


@dataclass(frozen=True)
class Asked:
    """What one request needed to be allowed: an action, on what, and what conditions may speak of."""

    action: str
    resource: str
    context: Mapping[str, str]


class WatchedCloud(AwsCloud):
    """Notes every permission that was needed, with what conditions of a policy can see."""

    def __init__(self) -> None:
        super().__init__(models="hashing")
        self.asked: list[Asked] = []

    def _admit(self, call: Any) -> None:
        if call.service == "s3" and call.action == "DeleteObject" and "/" not in call.resource:
            # Several at once: their keys are in the body, and AWS asks for the permission on each.
            call = replace(call, resource=PLACE.s3(f"{PLACE.catalog}/several"))
        for service, action, resource in self._needs(call):
            context = context_of(call, service, action, resource)
            self.asked.append(Asked(f"{service}:{action}", resource, context))
        super()._admit(call)

    def _needs(self, call: Any) -> Iterator[tuple[str, str, str]]:
        yield from call.needs
        if call.service == "sagemaker" and call.action in ("CreateEndpoint", "UpdateEndpoint"):
            name = call.body["EndpointConfigName"]
            yield call.service, call.action, f"arn:aws:sagemaker:{call.region}:{ACCOUNT}:endpoint-config/{name}"


def allows(statement: Statement, asked: Asked) -> bool:
    """IAM's decision, for what these policies use of its language."""
    return (
        asked.action in statement.actions
        and any(fnmatchcase(asked.resource, pattern) for pattern in statement.resources)
        and hold(statement.conditions, asked.context)
    )


def used(statements: Sequence[Statement], asked: Sequence[Asked]) -> set[tuple[str, str]]:
    """(Sid, action) of every permission that some request rested on."""
    return {(one.sid, what.action) for what in asked for one in statements if allows(one, what)}


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedCloud]:
    """A cloud after the life of an endpoint and an index, lived by somebody with the runner's policy alone."""
    home = tmp_path_factory.mktemp("home")
    (home / "presets.toml").write_text(
        "".join(
            f'[{spec.model}]\nmodel = "{spec.model}"\ncontract = "tei"\ncontainer = "tei-cpu"\n'
            'image = "registry.example/tei-cpu:1"\ninstances = [{ type = "ml.m5.xlarge" }]\n'
            for spec in (SMALL, LARGE)
        )
    )
    with WatchedCloud() as cloud, pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment().items():
            patch.setenv(name, value)
        for bucket in ("catalogs", "sources"):
            cloud.client("s3").create_bucket(Bucket=bucket)
        cloud.client("s3").put_object(Bucket="sources", Key="faq.csv", Body=b"question,answer\nWhat?,This.\nWho?,We.\n")
        cloud.calls.clear()
        cloud.asked.clear()
        cloud.allow_only(policy(runner(PLACE)))
        settings = load_settings(
            home=home,
            catalog=f"s3://{PLACE.catalog}",
            endpoints={"host": "sagemaker"},
            embedding={"endpoint": SMALL.name, "model": SMALL.model},
            generation={"endpoint": "none"},
            sagemaker={
                "role_arn": PLACE.role(PLACE.containers),
                "scheduler_role_arn": PLACE.role(PLACE.scheduler),
                "poll_seconds": 0.02,
            },
            retry={"attempts": 1},
        )
        live(cloud, settings)
        assert cloud.left() == {}
        yield cloud


def live(cloud: AwsCloud, settings: Settings) -> None:
    def lease(minutes: float) -> Lease:
        return Lease.lasting(owner="ragwright", minutes=minutes)

    with SageMakerHost(settings) as host:
        host.deploy(SMALL, lease(60))
        host.wait([SMALL.name], timeout=20)
        host.extend(SMALL.name, datetime.now(UTC) + timedelta(hours=3))
        assert [info.name for info in host.list()] == [host.describe(SMALL.name).name]
        with host.connect(SMALL.name) as endpoint:
            assert endpoint.invoke({"inputs": ["x"]})
        request = ReindexRequest(source=f"s3://{PLACE.source}")
        reindex(settings, request)
        reindex(settings, ReindexRequest(source=request.source, full=True))
        with open_catalog(settings) as catalog, open_store(settings.store_spec) as store:
            rollback(catalog)
            with writer_lease(settings) as held:
                vacuum(catalog, store, held, keep=1, settle=0)
        cloud.switches.no_capacity["ml.m5.xlarge"] = "at create"
        with pytest.raises(EndpointError, match="no instance type has room"):
            host.deploy(LARGE, lease(60))  # and its undoing
        cloud.switches.no_capacity.clear()
        host.deploy(LARGE, lease(60))
        host.wait([LARGE.name], timeout=20)
        assert host.delete(SMALL.name)
        host.deploy(SMALL, lease(60))
        assert host.reap(datetime.now(UTC) + timedelta(hours=2)) == [SMALL.name]


def test_every_call_is_allowed_with_its_conditions(lived: WatchedCloud) -> None:
    assert len(lived.asked) > 100
    refused = [asked for asked in lived.asked if not any(allows(one, asked) for one in runner(PLACE))]
    assert refused == []


def test_nothing_is_allowed_that_is_not_called(lived: WatchedCloud) -> None:
    granted = {(one.sid, action) for one in runner(PLACE) for action in one.actions}
    idle = granted - used(runner(PLACE), lived.asked)
    assert {action for _, action in idle} == NOT_CALLED_HERE.keys()


def test_the_cloud_s_own_record_agrees(lived: WatchedCloud) -> None:
    granted = {action for one in runner(PLACE) for action in one.actions}
    assert {f"{service}:{action}" for service, action in lived.calls} == granted - NOT_CALLED_HERE.keys()


def test_other_people_s_endpoints_can_be_neither_changed_nor_taken_over() -> None:
    theirs = PLACE.sagemaker("endpoint/theirs")
    tagging = {"aws:RequestTag/ragwright:managed": "true"}
    for action in ("DeleteEndpoint", "UpdateEndpoint", "InvokeEndpoint", "AddTags"):
        asked = Asked(f"sagemaker:{action}", theirs, tagging)
        assert not any(allows(one, asked) for one in runner(PLACE)), action
    delete = Asked("sagemaker:DeleteEndpoint", theirs, {})
    assert not any(allows(one, delete) for one in scheduler(PLACE))


def test_roles_are_passed_to_their_service_and_no_other() -> None:
    for role, service in ((PLACE.containers, "sagemaker"), (PLACE.scheduler, "scheduler")):
        for passed_to in ("sagemaker", "scheduler", "ec2"):
            asked = Asked("iam:PassRole", PLACE.role(role), {"iam:PassedToService": f"{passed_to}.amazonaws.com"})
            assert any(allows(one, asked) for one in runner(PLACE)) == (passed_to == service)


def test_the_switch_s_role_allows_what_schedules_call() -> None:
    [statement] = scheduler(PLACE)
    called = TARGET.rpartition(":")[2]
    assert list(statement.actions) == [f"sagemaker:{called[0].upper()}{called[1:]}"]


def test_containers_may_pull_the_images_of_every_packaged_preset(tmp_path: Path) -> None:
    pulls = [one for one in documents(PLACE)["containers"]["Statement"] if one["Sid"] == "PullImages"]
    repositories = {arn.rpartition("/")[2] for arn in pulls[0]["Resource"]}
    images = [
        image_of(preset, region="us-east-1", cache=tmp_path / "images.json")
        for preset in load_presets(Path("nowhere")).values()
    ]
    assert {re.split("[/:]", image)[1] for image in images} <= repositories


def test_without_a_permission_the_run_says_which_and_where_to_find_it(
    lived: WatchedCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(home=tmp_path, endpoints={"host": "sagemaker"}, retry={"attempts": 1})
    lived.deny("sagemaker:ListEndpoints")
    with SageMakerHost(settings) as host, pytest.raises(RagwrightError, match=r"sagemaker:ListEndpoints.*deploy/iam"):
        host.list()
    lived.permissions.denied.clear()


def test_no_statement_is_wider_than_it_must_be() -> None:
    anything = {one.sid for one in (*runner(PLACE), *optional(PLACE)) if "*" in one.resources}
    assert anything == {"ListEndpoints", "ListSwitches", "SeeQuotas", "SeePrices"}, "AWS takes no resource for these"
    for one in (*runner(PLACE), *optional(PLACE), *scheduler(PLACE)):
        assert not any("*" in action for action in one.actions)


def test_the_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, FOLDER / "generate.py", "--out", tmp_path, "--account", "1"], check=True)
    for name, document in documents(Place()).items():
        assert json.loads((FOLDER / f"{name}.json").read_text()) == document, "run deploy/iam/generate.py"
        assert (tmp_path / f"{name}.json").read_text() == (
            (FOLDER / f"{name}.json").read_text().replace("ACCOUNT_ID", "1")
        )
    assert {path.stem for path in FOLDER.glob("*.json")} == documents(Place()).keys()


def test_a_policy_fits_into_a_role() -> None:
    for name, document in documents(Place(account=ACCOUNT, region="ap-southeast-2")).items():
        limit = 2_048 if name.endswith("-trust") else 6_144  # characters without white space, AWS's quotas
        assert len(json.dumps(document, separators=(",", ":"))) <= limit, name
