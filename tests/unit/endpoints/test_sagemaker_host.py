"""What the SageMaker host promises beyond its port: rollback, capacity, updates, leases, and nothing left behind."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from emulators.aws_cloud import AwsCloud

from ragwright.endpoints import EndpointSpec, EndpointStatus, Lease
from ragwright.endpoints.aws import Aws
from ragwright.endpoints.sagemaker import SageMakerHost
from ragwright.errors import ConfigurationError, EndpointError, GuardRefused, RequestRejected
from ragwright.retry import ONCE
from ragwright.settings import Settings

SMALL = EndpointSpec(name="minilm", model="hashing-384", contract="tei")
OTHER = SMALL.model_copy(update={"model": "hashing-128"})
NO_QUOTA = {"ml.m5.xlarge": 0, "ml.m5.2xlarge": 0, "ml.c5.2xlarge": 0}
TOKEN = "hf_aVerySecretToken"


class Killed(BaseException):
    """The process ends here."""


class Mortal(Aws):
    """Calls so many times, and never again."""

    def __init__(self, calls: int) -> None:
        super().__init__("us-east-1", retry=ONCE)
        self._left = calls

    def call(self, service: str, operation: str, **parameters: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Killed
        return super().call(service, operation, **parameters)


class Interrupted(Aws):
    """Is interrupted once, when a call has been answered."""

    def __init__(self, *, after: str) -> None:
        super().__init__("us-east-1", retry=ONCE)
        self._after: str | None = after

    def call(self, service: str, operation: str, **parameters: Any) -> Any:
        answer = super().call(service, operation, **parameters)
        if operation == self._after:
            self._after = None
            raise KeyboardInterrupt
        return answer


def deploy_and_delete(host: SageMakerHost) -> None:
    host.deploy(SMALL, lease(30))
    host.delete("minilm")


def lease(minutes: float = 60, owner: str = "me") -> Lease:
    return Lease.lasting(owner=owner, minutes=minutes, run_id="run-1", flow="pipeline")


@pytest.fixture
def settings(on_sagemaker: Callable[..., Settings]) -> Settings:
    return on_sagemaker()


@pytest.fixture
def host(cloud: AwsCloud, settings: Settings) -> Iterator[SageMakerHost]:
    with SageMakerHost(settings) as host:
        yield host


def tags_of(cloud: AwsCloud, arn: str) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in cloud.client("sagemaker").list_tags(ResourceArn=arn)["Tags"]}


def schedule_of(cloud: AwsCloud, name: str = "minilm") -> dict[str, Any]:
    return dict(cloud.client("scheduler").get_schedule(Name=name, GroupName="ragwright"))


def actions(cloud: AwsCloud) -> list[str]:
    return [action for _, action in cloud.calls]


def test_an_endpoint_says_what_it_runs_on_and_since_when(host: SageMakerHost) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    info = host.deploy(SMALL.model_copy(update={"options": {"instances": "2"}}), lease())
    assert (info.host, info.instance_type, info.instances) == ("sagemaker", "ml.m5.xlarge", 2)
    assert info.created_at is not None
    assert before < info.created_at < datetime.now(UTC)


def test_everything_is_tagged_with_whose_it_is_until_when(
    cloud: AwsCloud, on_sagemaker: Callable[..., Settings]
) -> None:
    wanted = lease()
    with SageMakerHost(on_sagemaker(tags={"team": "search"})) as host:
        host.deploy(SMALL, wanted)
    left = cloud.left()
    for kind, names in (
        ("endpoint", left["endpoints"]),
        ("endpoint-config", left["endpoint_configs"]),
        ("model", left["models"]),
    ):
        tags = tags_of(cloud, f"arn:aws:sagemaker:us-east-1:123456789012:{kind}/{names[0]}")
        assert tags["team"] == "search"
        assert tags["ragwright:owner"] == "me"
        assert tags["ragwright:run"] == "run-1"
        assert tags["ragwright:flow"] == "pipeline"
        assert tags["ragwright:expires-at"] == wanted.expires_at.isoformat()
        assert tags["ragwright:model"] == "hashing-384"
        assert tags["ragwright:contract"] == "tei"
        assert tags["ragwright:instance-type"] == "ml.m5.xlarge"
        assert tags["ragwright:version"]


def test_an_owner_that_no_tag_can_hold_is_refused_before_anything_exists(cloud: AwsCloud, host: SageMakerHost) -> None:
    with pytest.raises(ConfigurationError, match="'me; you'"):
        host.deploy(SMALL, lease(owner="me; you"))
    assert cloud.left() == {}


def test_the_switch_is_armed_before_the_endpoint_exists(cloud: AwsCloud, host: SageMakerHost) -> None:
    wanted = lease()
    host.deploy(SMALL, wanted)
    assert actions(cloud).index("CreateSchedule") < actions(cloud).index("CreateEndpoint")
    schedule = schedule_of(cloud)
    fires = datetime.strptime(schedule["ScheduleExpression"], "at(%Y-%m-%dT%H:%M:%S)").replace(tzinfo=UTC)
    assert wanted.expires_at <= fires < wanted.expires_at + timedelta(seconds=1)
    assert schedule["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:sagemaker:deleteEndpoint"
    assert json.loads(schedule["Target"]["Input"]) == {"EndpointName": "minilm"}
    assert schedule["ActionAfterCompletion"] == "DELETE"


def test_the_switch_ends_an_endpoint_whose_run_died(cloud: AwsCloud, host: SageMakerHost) -> None:
    host.deploy(SMALL, lease(30))
    cloud.advance(minutes=31)
    assert [fired.error for fired in cloud.fired] == [None]
    assert set(cloud.left()) == {"endpoint_configs", "models"}  # which cost nothing
    host.reap(datetime.now(UTC) + timedelta(minutes=31))
    assert cloud.left() == {}


def test_the_switch_does_not_fire_while_an_endpoint_starts_and_cannot_be_deleted(
    cloud: AwsCloud, host: SageMakerHost
) -> None:
    cloud.switches.start_seconds = 500
    host.deploy(SMALL, lease(1))
    host.extend("minilm", datetime.now(UTC) + timedelta(minutes=3))
    cloud.advance(minutes=4)
    assert cloud.fired == []
    cloud.advance(minutes=30)
    assert "endpoints" not in cloud.left()


def test_extending_a_lease_moves_its_switch(cloud: AwsCloud, host: SageMakerHost) -> None:
    host.deploy(SMALL, lease(30))
    host.extend("minilm", datetime.now(UTC) + timedelta(minutes=90))
    cloud.advance(minutes=31)
    assert cloud.left()["endpoints"] == ["minilm"]
    assert schedule_of(cloud)["ActionAfterCompletion"] == "DELETE"
    cloud.advance(minutes=60)
    assert "endpoints" not in cloud.left()
    assert "schedules" not in cloud.left()


def test_a_switch_that_cannot_be_armed_keeps_the_endpoint_from_being_created(
    cloud: AwsCloud, host: SageMakerHost, on_sagemaker: Callable[..., Settings]
) -> None:
    cloud.deny("scheduler:CreateSchedule")
    with pytest.raises(RequestRejected, match="AccessDenied"):
        host.deploy(SMALL, lease())
    with (
        SageMakerHost(on_sagemaker(scheduler_role_arn="")) as other,
        pytest.raises(ConfigurationError, match="scheduler_role"),
    ):
        other.deploy(SMALL, lease())
    assert "CreateEndpoint" not in actions(cloud)
    assert cloud.left() == {}


@pytest.mark.parametrize("action", ["CreateModel", "CreateEndpointConfig", "CreateEndpoint", "scheduler:GetSchedule"])
def test_a_failure_at_any_step_takes_back_what_was_created(cloud: AwsCloud, host: SageMakerHost, action: str) -> None:
    cloud.deny(action if ":" in action else f"sagemaker:{action}")
    with pytest.raises(RequestRejected, match="AccessDenied"):
        host.deploy(SMALL, lease())
    assert cloud.left() == {}


@pytest.mark.parametrize("operation", ["create_schedule", "create_model", "create_endpoint_config", "create_endpoint"])
def test_an_interrupt_after_any_step_takes_back_what_was_created(
    cloud: AwsCloud, settings: Settings, operation: str
) -> None:
    with SageMakerHost(settings, aws=Interrupted(after=operation)) as host, pytest.raises(KeyboardInterrupt):
        host.deploy(SMALL, lease())
    assert cloud.left() == {}


def test_the_error_of_a_failed_deployment_is_told_even_if_it_cannot_be_undone(
    cloud: AwsCloud, host: SageMakerHost, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.deny("sagemaker:CreateEndpoint", "sagemaker:DeleteModel")
    with pytest.raises(RequestRejected, match="sagemaker:CreateEndpoint"):
        host.deploy(SMALL, lease())
    assert "janitor" in caplog.text


@pytest.mark.parametrize("calls", range(0, 24, 3))
def test_a_run_killed_anywhere_leaves_nothing_once_its_lease_is_over(
    cloud: AwsCloud, settings: Settings, calls: int
) -> None:
    run = SageMakerHost(settings, aws=Mortal(calls))
    with pytest.raises(Killed):
        deploy_and_delete(run)
    with SageMakerHost(settings) as janitor:
        janitor.reap(datetime.now(UTC) + timedelta(minutes=61))
    assert cloud.left() == {}


def test_the_next_instance_type_is_tried_when_the_quota_is_used_up(cloud: AwsCloud, host: SageMakerHost) -> None:
    cloud.switches.quotas = {"ml.m5.xlarge": 0}
    cloud.switches.no_capacity = {"ml.m5.2xlarge": "at create"}
    assert host.deploy(SMALL, lease()).instance_type == "ml.c5.2xlarge"


def test_the_next_instance_type_is_tried_when_a_start_finds_no_capacity(cloud: AwsCloud, host: SageMakerHost) -> None:
    cloud.switches.no_capacity = {"ml.m5.xlarge": "while starting", "ml.m5.2xlarge": "while starting"}
    host.deploy(SMALL, lease())
    [info] = host.wait(["minilm"], timeout=20)
    assert (info.status, info.instance_type) == (EndpointStatus.IN_SERVICE, "ml.c5.2xlarge")
    assert cloud.left()["schedules"] == ["minilm"]


def test_without_room_anywhere_every_reason_is_told_and_nothing_is_left(cloud: AwsCloud, host: SageMakerHost) -> None:
    cloud.switches.quotas = NO_QUOTA
    with pytest.raises(EndpointError, match=r"ml\.m5\.xlarge: ResourceLimitExceeded.*ml\.c5\.2xlarge: "):
        host.deploy(SMALL, lease())
    assert cloud.left() == {}


def test_the_last_start_without_capacity_is_a_failure(cloud: AwsCloud, host: SageMakerHost) -> None:
    cloud.switches.no_capacity = dict.fromkeys(NO_QUOTA, "while starting")
    host.deploy(SMALL, lease())
    with pytest.raises(EndpointError, match="InsufficientInstanceCapacity"):
        host.wait(["minilm"], timeout=20)


def test_another_spec_is_brought_to_an_endpoint_in_service_by_an_update(cloud: AwsCloud, host: SageMakerHost) -> None:
    created = host.deploy(SMALL, lease()).created_at
    wanted = lease(20, owner="you")
    host.deploy(OTHER, wanted)
    [info] = host.wait(["minilm"], timeout=20)
    assert (info.model, info.owner, info.lease_expires_at) == ("hashing-128", "you", wanted.expires_at)
    assert info.created_at == created
    assert host.delete("minilm")
    assert cloud.left() == {}


def test_an_update_that_does_not_start_is_an_error_and_the_old_endpoint_serves_on(
    cloud: AwsCloud, host: SageMakerHost
) -> None:
    host.deploy(SMALL, lease())
    cloud.switches.failing_starts = {"minilm": "out of memory"}
    host.deploy(OTHER, lease())
    with pytest.raises(EndpointError, match=r"did not change.*out of memory"):
        host.wait(["minilm"], timeout=20)
    info = host.describe("minilm")
    assert (info.status, info.model) == (EndpointStatus.IN_SERVICE, "hashing-384")
    host.deploy(SMALL, lease())  # giving up the change
    assert host.wait(["minilm"], timeout=5)[0].model == "hashing-384"


def test_an_update_without_capacity_goes_on_to_the_next_instance_type(cloud: AwsCloud, host: SageMakerHost) -> None:
    host.deploy(SMALL, lease())
    cloud.switches.no_capacity = {"ml.m5.xlarge": "while starting"}
    host.deploy(OTHER, lease())
    [info] = host.wait(["minilm"], timeout=20)
    assert (info.model, info.instance_type) == ("hashing-128", "ml.m5.2xlarge")


def test_an_update_without_room_anywhere_puts_everything_back(cloud: AwsCloud, host: SageMakerHost) -> None:
    before = host.deploy(SMALL, lease())
    left = cloud.left()
    cloud.switches.quotas = NO_QUOTA
    with pytest.raises(EndpointError, match="no instance type has room"):
        host.deploy(OTHER, lease(5, owner="you"))
    assert host.wait(["minilm"], timeout=5) == [before]
    assert cloud.left() == left


def test_an_endpoint_becomes_serverless_by_replacement(cloud: AwsCloud, host: SageMakerHost) -> None:
    created = host.deploy(SMALL, lease()).created_at
    info = host.deploy(SMALL.model_copy(update={"model": "hashing-64"}), lease())
    assert (info.instance_type, info.instances) == ("serverless", 0)
    assert info.created_at != created
    with host.connect("minilm") as endpoint:
        assert endpoint.limiter.limit == 5  # type: ignore[attr-defined]


def test_a_failed_endpoint_is_replaced_by_the_next_deployment(cloud: AwsCloud, host: SageMakerHost) -> None:
    cloud.switches.failing_starts = {"minilm": "no ping"}
    host.deploy(SMALL, lease())
    assert host.describe("minilm").failure_reason == "no ping"
    cloud.switches.failing_starts = {}
    assert host.deploy(SMALL, lease()).status is not EndpointStatus.FAILED


def test_reap_removes_what_is_past_its_lease_whoever_owns_it_and_nothing_else(
    cloud: AwsCloud, host: SageMakerHost
) -> None:
    host.deploy(SMALL, lease(10, owner="you"))
    host.deploy(SMALL.model_copy(update={"name": "kept"}), lease(60))
    client = cloud.client("sagemaker")
    client.create_model(ModelName="ragwright-of-others", ExecutionRoleArn="arn:aws:iam::123456789012:role/r")
    variant = {
        "VariantName": "v",
        "ModelName": "ragwright-of-others",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    client.create_endpoint_config(EndpointConfigName="ragwright-of-others", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="of-others", EndpointConfigName="ragwright-of-others")
    assert host.reap(datetime.now(UTC)) == []
    assert host.reap(datetime.now(UTC) + timedelta(minutes=20)) == ["minilm"]
    left = cloud.left()
    assert left["endpoints"] == ["kept", "of-others"]
    assert left["schedules"] == ["kept"]
    assert [len(left[kind]) for kind in ("endpoint_configs", "models")] == [2, 2]


def test_endpoints_of_others_are_not_touched_even_when_asked(cloud: AwsCloud, host: SageMakerHost) -> None:
    client = cloud.client("sagemaker")
    client.create_model(ModelName="m", ExecutionRoleArn="arn:aws:iam::123456789012:role/r")
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="minilm", EndpointConfigName="c")
    with pytest.raises(GuardRefused, match="'minilm'"):
        host.deploy(SMALL, lease())
    with pytest.raises(GuardRefused, match="'minilm'"):
        host.delete("minilm")
    assert host.list() == []
    assert cloud.left()["endpoints"] == ["minilm"]


def test_an_endpoint_whose_name_begins_like_another_keeps_its_resources(cloud: AwsCloud, host: SageMakerHost) -> None:
    long = "a" * 40
    for name in (f"{long}-1", f"{long}-2"):
        host.deploy(SMALL.model_copy(update={"name": name}), lease())
    host.delete(f"{long}-1")
    assert {kind: len(names) for kind, names in cloud.left().items()} == {
        "endpoints": 1,
        "endpoint_configs": 1,
        "models": 1,
        "schedules": 1,
    }
    assert all(len(name) <= 63 for names in cloud.left().values() for name in names)


def test_throttled_calls_are_tried_again_here_and_not_by_the_sdk(cloud: AwsCloud, host: SageMakerHost) -> None:
    cloud.throttle("sagemaker:DescribeEndpoint", 0.5)
    cloud.throttle("sagemaker:CreateModel", 0.5)
    host.deploy(SMALL, lease())
    assert host.wait(["minilm"], timeout=20)[0].status is EndpointStatus.IN_SERVICE


def test_the_hub_token_is_in_the_container_and_nowhere_else(
    cloud: AwsCloud, on_sagemaker: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="ragwright")
    gated = SMALL.model_copy(update={"model": "hashing-32"})
    settings = on_sagemaker(hugging_face_token=TOKEN, accept_eula=("gated",))
    with SageMakerHost(settings) as host:
        info = host.deploy(gated, lease())
        [model] = cloud.left()["models"]
        described = cloud.client("sagemaker").describe_model(ModelName=model)
        assert described["PrimaryContainer"]["Environment"]["HF_TOKEN"] == TOKEN
        tags = [tags_of(cloud, described["ModelArn"]), cloud.left(), schedule_of(cloud)]
        assert TOKEN not in repr((info, settings, host, tags, gated)) + caplog.text


def test_a_gated_model_wants_its_licence_accepted_and_a_token(
    cloud: AwsCloud, on_sagemaker: Callable[..., Settings]
) -> None:
    gated = SMALL.model_copy(update={"model": "hashing-32"})
    with SageMakerHost(on_sagemaker()) as host, pytest.raises(ConfigurationError, match=r"https://licence\.example"):
        host.deploy(gated, lease())
    accepted = on_sagemaker(accept_eula=("gated",))
    with SageMakerHost(accepted) as host, pytest.raises(ConfigurationError, match="HUGGING_FACE_TOKEN"):
        host.deploy(gated, lease())
    assert cloud.left() == {}
