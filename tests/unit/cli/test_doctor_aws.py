"""`ragwright doctor` on an account: what is there, what is missing, what could not be checked, and no secret."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from emulators.aws_cloud import AwsCloud
from pinecone_on_loopback import pinecone_on_loopback

from ragwright import cli
from ragwright.cli import doctor
from ragwright.endpoints.iam import Place, optional, policy, runner, trust

ACCOUNT = "123456789012"
PLACE = Place(account=ACCOUNT, region="us-east-1", catalog="catalogs/team")
# The emulator asks for the deletion of several objects on their bucket, AWS on each of them.
DELETIONS = {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": PLACE.s3("catalogs")}
SECRETS = {
    "PINECONE_API_KEY": "pc-canary-key",
    "AWS_SECRET_ACCESS_KEY": "aws-canary-secret",
    "RAGWRIGHT_SAGEMAKER__HUGGING_FACE_TOKEN": "hf_canary",
    "RAGWRIGHT_GENERATION__API_KEY": "generation-canary",
}
Checks = dict[str, list[dict[str, Any]]]
Examine = Callable[..., Checks]


@pytest.fixture(scope="module")
def running_cloud() -> Iterator[AwsCloud]:
    with AwsCloud(models="hashing") as cloud, pinecone_on_loopback():
        yield cloud


@pytest.fixture
def cloud(running_cloud: AwsCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    """An account in which nothing is missing."""
    running_cloud.reset()
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("RAGWRIGHT_"):
            monkeypatch.delenv(name)
    for name, value in running_cloud.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAGWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAGWRIGHT_CATALOG", f"s3://{PLACE.catalog}")
    monkeypatch.setenv("RAGWRIGHT_SAGEMAKER__ROLE_ARN", PLACE.role(PLACE.containers))
    monkeypatch.setenv("RAGWRIGHT_SAGEMAKER__SCHEDULER_ROLE_ARN", PLACE.role(PLACE.scheduler))
    monkeypatch.setenv("RAGWRIGHT_RETRY__ATTEMPTS", "1")
    running_cloud.client("s3").create_bucket(Bucket="catalogs")
    for name, service in ((PLACE.containers, "sagemaker"), (PLACE.scheduler, "scheduler")):
        document = json.dumps(trust(PLACE, f"{service}.amazonaws.com"))
        running_cloud.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document)
    running_cloud.allow_only(policy([*runner(PLACE), *optional(PLACE)]), {"Statement": [DELETIONS]})
    running_cloud.calls.clear()
    return running_cloud


@pytest.fixture
def examine(cloud: AwsCloud, capfd: pytest.CaptureFixture[str]) -> Examine:
    def call(*, code: int = 0) -> Checks:
        with pytest.raises(SystemExit) as ended:
            cli.app(["doctor", "--profile", "aws", "--json", "-vv"], prog_name="ragwright")
        said = capfd.readouterr()
        for secret in SECRETS.values():
            assert secret not in said.out + said.err
        found: Checks = {}
        for check in json.loads(said.out)["checks"]:
            found.setdefault(check["name"], []).append(check)
        assert int(ended.value.code or 0) == code, problems(found)
        return found

    return call


def problems(checks: Checks) -> dict[str, tuple[str, str]]:
    """Status and detail of what is neither well nor about this machine."""
    machine = {"memory", "disk", "index"}
    return {
        name: (check["status"], check["detail"])
        for name, several in checks.items()
        for check in several
        if check["status"] != "ok" and name not in machine
    }


def test_a_sound_account_is_said_to_be_sound_and_nothing_is_left_in_it(cloud: AwsCloud, examine: Examine) -> None:
    checks = examine()
    assert problems(checks) == {}
    assert checks["credentials"][0]["detail"].endswith("in us-east-1")
    assert {"execution role", "switch role", "permissions", "quota", "preset", "catalog", "pinecone"} <= checks.keys()
    assert cloud.left() == {}
    assert "Contents" not in cloud.client("s3").list_objects_v2(Bucket="catalogs")
    granted = {action for one in (*runner(PLACE), *optional(PLACE)) for action in one.actions}
    called = {f"{service}:{action}" for service, action in cloud.calls}
    assert called <= granted | {"sts:GetCallerIdentity"}
    # Prices are asked for by `plan` and `endpoints ls`, and the emulator has none.
    assert {action for one in optional(PLACE) for action in one.actions} - called == {"pricing:GetProducts"}


def test_people_get_a_line_a_check(cloud: AwsCloud, capfd: pytest.CaptureFixture[str]) -> None:
    cloud.deny("iam:SimulatePrincipalPolicy")
    with pytest.raises(SystemExit):
        cli.app(["doctor", "--profile", "aws"], prog_name="ragwright")
    out = capfd.readouterr().out
    assert "ok    execution role  arn:aws:iam::123456789012:role/ragwright-containers trusts" in out
    assert "?     permissions     could not check: AccessDenied" in out
    assert "Attach deploy/iam/optional.json" in out


def test_settings_that_only_the_account_s_owner_knows_are_asked_for(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["PINECONE_API_KEY", "RAGWRIGHT_CATALOG", "RAGWRIGHT_SAGEMAKER__ROLE_ARN"]
    for name in wanted:
        monkeypatch.delenv(name)
    said = [check["detail"] for check in examine(code=1)["settings"] if check["status"] == "fail"]
    assert [line for name in wanted for line in said if f"missing: {name}," in line] != []
    assert len(said) == len(wanted)


def test_without_credentials_one_line_says_so(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    checks = examine(code=1)
    [said] = [check for check in checks["credentials"] if check["status"] == "fail"]
    assert "missing: Unable to locate credentials" in said["detail"]
    assert "AWS_PROFILE" in said["hint"]
    assert checks.keys() & {"permissions", "quota", "catalog", "endpoints"} == set()


def test_without_a_region_one_line_says_so(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    [said] = examine(code=1)["credentials"]
    assert "no AWS region" in said["detail"]


def test_missing_permissions_are_named_with_what_they_are_for(cloud: AwsCloud, examine: Examine) -> None:
    cloud.deny("sagemaker:CreateEndpoint", "scheduler:CreateSchedule")
    said = [check for check in examine(code=1)["permissions"] if check["status"] == "fail"]
    assert {check["detail"].split()[1] for check in said} == {"sagemaker:CreateEndpoint", "scheduler:CreateSchedule"}
    assert "deploy/iam/runner.json" in said[0]["hint"]


def test_what_may_not_be_asked_is_not_known_and_no_failure(cloud: AwsCloud, examine: Examine) -> None:
    cloud.allow_only(policy(runner(PLACE)), {"Statement": [DELETIONS]})
    checks = examine()
    for name in ("execution role", "switch role", "permissions", "quota"):
        [said] = checks[name]
        assert said["status"] == "unknown"
        assert said["detail"].startswith("could not check: AccessDenied")
        assert "deploy/iam/optional.json" in said["hint"]
    assert checks["catalog"][0]["status"] == "ok"


def test_roles_that_are_not_there_or_trust_somebody_else_are_found(cloud: AwsCloud, examine: Examine) -> None:
    cloud.permissions.policies = None
    iam = cloud.client("iam")
    iam.delete_role(RoleName=PLACE.scheduler)
    wrong = json.dumps(trust(PLACE, "ec2.amazonaws.com"))
    iam.update_assume_role_policy(RoleName=PLACE.containers, PolicyDocument=wrong)
    checks = examine(code=1)
    assert "does not trust sagemaker.amazonaws.com" in checks["execution role"][0]["detail"]
    assert "containers-trust.json" in checks["execution role"][0]["hint"]
    assert checks["switch role"][0]["detail"].startswith("missing: arn:aws:iam::123456789012:role/ragwright-scheduler")


def test_a_role_of_another_account_is_found(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_SAGEMAKER__ROLE_ARN", "arn:aws:iam::999999999999:role/theirs")
    assert "no role of account 123456789012" in examine(code=1)["execution role"][0]["detail"]


def test_quotas_are_compared_with_what_the_presets_try(cloud: AwsCloud, examine: Examine) -> None:
    cloud.switches.quotas = {"ml.g5.4xlarge": 0, "ml.m5.xlarge": 0, "ml.m5.2xlarge": 0, "ml.c5.2xlarge": 0}
    [embedder, generator] = examine(code=1)["quota"]
    assert (embedder["status"], generator["status"]) == ("fail", "warn")
    assert "'SageMaker: ml.m5.xlarge for endpoint usage' to 1" in embedder["hint"]
    assert "it will run on ml.g5.2xlarge" in generator["detail"]


def test_a_gated_model_wants_a_token_and_its_licence_accepted(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGWRIGHT_GENERATION__MODEL", "llama-2-70b-chat")
    said = [check["detail"] for check in examine(code=1)["preset"] if check["status"] == "fail"]
    assert len(said) == 2
    assert "Hugging Face token" in said[0]
    assert "licence" in said[1]
    monkeypatch.setenv("RAGWRIGHT_SAGEMAKER__HUGGING_FACE_TOKEN", SECRETS["RAGWRIGHT_SAGEMAKER__HUGGING_FACE_TOKEN"])
    monkeypatch.setenv("RAGWRIGHT_SAGEMAKER__ACCEPT_EULA", '["llama-2-70b-chat"]')
    assert {check["status"] for check in examine()["preset"]} == {"ok"}


def test_a_catalog_that_cannot_be_written_is_found(
    cloud: AwsCloud, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGWRIGHT_CATALOG", "s3://nobodys/x")
    cloud.permissions.policies = None
    [said] = examine(code=1)["catalog"]
    assert "nobodys" in said["detail"]
    assert "export-credentials" in said["hint"]


def test_a_pinecone_key_that_is_refused_is_found(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINECONE_API_KEY", SECRETS["PINECONE_API_KEY"])
    [said] = examine(code=1)["pinecone"]
    assert "401" in said["detail"]
    assert "PINECONE_API_KEY" in said["hint"]


def test_secrets_stay_where_they_are(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert "settings" in examine(code=1)  # `examine` looks for them in all that is said


def test_the_account_is_looked_at_only_where_the_settings_name_it(
    cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ragwright.cli.doctor_aws import examine_account
    from ragwright.settings import load_settings

    monkeypatch.delenv("RAGWRIGHT_CATALOG")
    assert list(examine_account(load_settings(profile="local"))) == []
    assert cloud.calls == []
    assert doctor.Check("a", "unknown", "b").hint is None
