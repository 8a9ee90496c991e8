"""The cloud on loopback, as the SDK sees it: what tests of the SageMaker host rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.exceptions import ClientError
from emulators.aws_cloud import AwsCloud

TEI = "683313688378.dkr.ecr.us-east-1.amazonaws.com/tei-cpu:2.0.1-tei1.8.2-cpu-py310-ubuntu22.04"
TGI = "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-tgi-inference:2.7.0-tgi3.3.6-gpu-py311"
TOOLKIT = "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-inference:2.6.0-transformers4.49.0-cpu"
ROLE = "arn:aws:iam::123456789012:role/ragwright"


@pytest.fixture(scope="module")
def running() -> Iterator[AwsCloud]:
    with AwsCloud(models="hashing") as cloud:
        yield cloud


@pytest.fixture
def cloud(running: AwsCloud) -> Iterator[AwsCloud]:
    yield running
    running.reset()


@pytest.fixture(scope="module")
def sagemaker(running: AwsCloud) -> Any:
    return running.client("sagemaker")


@pytest.fixture(scope="module")
def runtime(running: AwsCloud) -> Any:
    return running.client("sagemaker-runtime")


@pytest.fixture(scope="module")
def scheduler(running: AwsCloud) -> Any:
    return running.client("scheduler")


def define(sagemaker: Any, name: str, *, image: str = TEI, instance: str = "ml.g6.xlarge", **environment: str) -> None:
    container = {"Image": image, "Environment": environment}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": instance, "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])


def deploy(sagemaker: Any, name: str, **given: str) -> None:
    define(sagemaker, name, **given)
    sagemaker.create_endpoint(
        EndpointName=name, EndpointConfigName=name, Tags=[{"Key": "ragwright:owner", "Value": "me"}]
    )


def invoke(runtime: Any, name: str, **payload: Any) -> Any:
    reply = runtime.invoke_endpoint(EndpointName=name, ContentType="application/json", Body=json.dumps(payload))
    return json.load(reply["Body"])


def status(sagemaker: Any, name: str) -> tuple[str, str | None]:
    found = sagemaker.describe_endpoint(EndpointName=name)
    return found["EndpointStatus"], found.get("FailureReason")


def schedule(scheduler: Any, name: str, *, minutes: float, after: str = "DELETE") -> None:
    when = datetime.now(UTC) + timedelta(minutes=minutes)
    scheduler.create_schedule(
        Name=name,
        ScheduleExpression=f"at({when:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        ActionAfterCompletion=after,
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:sagemaker:deleteEndpoint",
            "RoleArn": ROLE,
            "Input": json.dumps({"EndpointName": name}),
        },
    )


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_an_endpoint_answers_as_its_container_would(cloud: AwsCloud, sagemaker: Any, runtime: Any) -> None:
    deploy(sagemaker, "tei", image=TEI)
    deploy(sagemaker, "toolkit", image=TOOLKIT)
    deploy(sagemaker, "tgi", image=TGI)
    assert len(invoke(runtime, "tei", inputs=["one", "two words"])[1]) == 384
    assert len(invoke(runtime, "toolkit", inputs=["two words"])[0][0]) == 384
    assert "generated_text" in invoke(runtime, "tgi", inputs="Hello", parameters={"max_new_tokens": 3})[0]


def test_nothing_is_left_once_all_is_deleted(cloud: AwsCloud, sagemaker: Any, scheduler: Any) -> None:
    schedule(scheduler, "minilm", minutes=60)
    deploy(sagemaker, "minilm")
    assert cloud.left() == {kind: ["minilm"] for kind in ("endpoints", "endpoint_configs", "models", "schedules")}
    sagemaker.delete_endpoint(EndpointName="minilm")
    sagemaker.delete_endpoint_config(EndpointConfigName="minilm")
    sagemaker.delete_model(ModelName="minilm")
    scheduler.delete_schedule(Name="minilm")
    assert cloud.left() == {}


def test_an_endpoint_is_creating_until_time_has_passed(cloud: AwsCloud, sagemaker: Any, runtime: Any) -> None:
    cloud.switches.start_seconds = 300
    deploy(sagemaker, "minilm")
    assert status(sagemaker, "minilm") == ("Creating", None)
    assert sagemaker.list_endpoints(StatusEquals="InService")["Endpoints"] == []
    with pytest.raises(ClientError, match="Endpoint minilm of account 123456789012 not found") as refused:
        invoke(runtime, "minilm", inputs=["x"])
    assert code(refused) == "ValidationError"
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        sagemaker.delete_endpoint(EndpointName="minilm")
    cloud.advance(minutes=6)
    assert status(sagemaker, "minilm") == ("InService", None)
    assert invoke(runtime, "minilm", inputs=["x"])


def test_an_endpoint_is_deleting_until_time_has_passed(cloud: AwsCloud, sagemaker: Any, runtime: Any) -> None:
    cloud.switches.delete_seconds = 30
    deploy(sagemaker, "minilm")
    sagemaker.delete_endpoint(EndpointName="minilm")
    assert status(sagemaker, "minilm") == ("Deleting", None)
    with pytest.raises(ClientError, match="not found"):
        invoke(runtime, "minilm", inputs=["x"])
    cloud.advance(minutes=1)
    assert "endpoints" not in cloud.left()
    with pytest.raises(ClientError, match="Could not find endpoint"):
        sagemaker.describe_endpoint(EndpointName="minilm")


@pytest.mark.parametrize("when", ["at create", "while starting"])
def test_an_instance_type_can_be_out_of_capacity(cloud: AwsCloud, sagemaker: Any, when: Any) -> None:
    cloud.switches.no_capacity["ml.g5.4xlarge"] = when
    if when == "at create":
        with pytest.raises(ClientError) as refused:
            deploy(sagemaker, "flan", instance="ml.g5.4xlarge")
        assert code(refused) == "InsufficientInstanceCapacity"
        assert "endpoints" not in cloud.left()
    else:
        deploy(sagemaker, "flan", instance="ml.g5.4xlarge")
        state, reason = status(sagemaker, "flan")
        assert state == "Failed"
        assert "InsufficientInstanceCapacity" in str(reason)
        sagemaker.delete_endpoint(EndpointName="flan")
    deploy(sagemaker, "other", instance="ml.g6.xlarge")
    assert status(sagemaker, "other") == ("InService", None)


def test_a_quota_counts_what_runs(cloud: AwsCloud, sagemaker: Any) -> None:
    cloud.switches.quotas["ml.g6.xlarge"] = 1
    deploy(sagemaker, "first")
    with pytest.raises(ClientError, match="is 1 Instances, with current utilization of 1 Instances") as refused:
        deploy(sagemaker, "second")
    assert code(refused) == "ResourceLimitExceeded"
    pages = cloud.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    quotas = {quota["QuotaName"]: quota["Value"] for page in pages for quota in page["Quotas"]}
    assert quotas["ml.g6.xlarge for endpoint usage"] == 1


def test_a_start_fails_for_a_given_reason_a_missing_image_or_a_gated_model(cloud: AwsCloud, sagemaker: Any) -> None:
    cloud.switches.failing_starts["told"] = "no luck"
    deploy(sagemaker, "told")
    deploy(sagemaker, "imageless", image="123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1")
    deploy(sagemaker, "gated", image=TGI, HF_MODEL_ID="meta-llama/Llama-2-70b-chat-hf")
    deploy(sagemaker, "granted", image=TGI, HF_MODEL_ID="meta-llama/Llama-2-70b-chat-hf", HF_TOKEN="hf_x")
    assert status(sagemaker, "told") == ("Failed", "no luck")
    assert "does not exist" in str(status(sagemaker, "imageless")[1])
    assert "ping health check" in str(status(sagemaker, "gated")[1])
    assert status(sagemaker, "granted") == ("InService", None)


def test_an_update_takes_over_once_it_runs_and_is_undone_if_it_does_not(
    cloud: AwsCloud, sagemaker: Any, runtime: Any
) -> None:
    deploy(sagemaker, "minilm", HF_MODEL_ID="hashing-16")
    define(sagemaker, "larger", HF_MODEL_ID="hashing-32")
    cloud.switches.start_seconds = 60
    sagemaker.update_endpoint(EndpointName="minilm", EndpointConfigName="larger")
    assert status(sagemaker, "minilm")[0] == "Updating"
    assert len(invoke(runtime, "minilm", inputs=["x"])[0]) == 16
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        sagemaker.update_endpoint(EndpointName="minilm", EndpointConfigName="larger")
    cloud.advance(minutes=2)
    assert sagemaker.describe_endpoint(EndpointName="minilm")["EndpointConfigName"] == "larger"
    assert len(invoke(runtime, "minilm", inputs=["x"])[0]) == 32
    cloud.switches.failing_starts["*"] = "no luck"
    sagemaker.update_endpoint(EndpointName="minilm", EndpointConfigName="minilm")
    cloud.advance(minutes=2)
    assert status(sagemaker, "minilm") == ("InService", "no luck")
    assert sagemaker.describe_endpoint(EndpointName="minilm")["EndpointConfigName"] == "larger"


def test_names_are_taken_once_and_checked_as_the_service_checks_them(cloud: AwsCloud, sagemaker: Any) -> None:
    deploy(sagemaker, "minilm")
    with pytest.raises(ClientError, match="Cannot create already existing model"):
        define(sagemaker, "minilm")
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        sagemaker.create_endpoint(EndpointName="minilm", EndpointConfigName="minilm")
    with pytest.raises(ClientError, match="length less than or equal to 63"):
        define(sagemaker, "x" * 64)
    with pytest.raises(ClientError, match="enum value set"):
        define(sagemaker, "typed", instance="ml.made-up")
    with pytest.raises(ClientError, match=r"tags.1.member.value.*pattern"):
        sagemaker.add_tags(ResourceArn=sagemaker.describe_endpoint(EndpointName="minilm")["EndpointArn"], Tags=[
            {"Key": "until", "Value": "a, b"}
        ])  # fmt: skip
    assert cloud.left()["models"] == ["minilm", "typed"]


def test_a_tag_given_again_replaces_the_one_of_that_name(cloud: AwsCloud, sagemaker: Any) -> None:
    deploy(sagemaker, "minilm")
    arn = sagemaker.describe_endpoint(EndpointName="minilm")["EndpointArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "ragwright:owner", "Value": "you"}, {"Key": "a", "Value": "b"}])
    tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    assert tags == {"ragwright:owner": "you", "a": "b"}
    found = cloud.client("resourcegroupstaggingapi").get_resources(ResourceTypeFilters=["sagemaker:endpoint"])
    assert [one["ResourceARN"] for one in found["ResourceTagMappingList"]] == [arn]
    with pytest.raises(ClientError, match="Could not find"):
        sagemaker.list_tags(ResourceArn=arn + "x")


def test_a_container_s_refusal_is_a_model_error(cloud: AwsCloud, sagemaker: Any, runtime: Any) -> None:
    deploy(sagemaker, "minilm")
    with pytest.raises(ClientError, match="Received client error") as refused:
        invoke(runtime, "minilm", nothing="of use")
    said = refused.value.response
    assert said["Error"]["Code"] == "ModelError"
    assert 400 <= said["OriginalStatusCode"] < 500
    assert "inputs" in said["OriginalMessage"]
    cloud.switches.replies.append((503, b"the worker died"))
    with pytest.raises(ClientError, match=r"server error \(503\) from primary with message \"the worker died\""):
        invoke(runtime, "minilm", inputs=["x"])
    assert invoke(runtime, "minilm", inputs=["x"])


def test_invocations_are_bounded_in_size_time_and_number(cloud: AwsCloud, sagemaker: Any, runtime: Any) -> None:
    deploy(sagemaker, "minilm")
    with pytest.raises(ClientError, match="HTTP content length exceeded 6291456 bytes") as refused:
        invoke(runtime, "minilm", inputs="x" * 6 * 1024 * 1024)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    cloud.switches.invoke_seconds, cloud.switches.model_delay = 0.05, 0.1
    with pytest.raises(ClientError, match="Your invocation timed out") as refused:
        invoke(runtime, "minilm", inputs="x")
    assert refused.value.response["OriginalStatusCode"] == 0
    cloud.switches.most_at_once = 0
    with pytest.raises(ClientError) as refused:
        invoke(runtime, "minilm", inputs="x")
    assert code(refused) == "ThrottlingException"


def test_a_share_of_requests_is_throttled(cloud: AwsCloud, sagemaker: Any) -> None:
    cloud.throttle("sagemaker:ListEndpoints", share=0.25)
    throttled = 0
    for _ in range(12):
        try:
            sagemaker.list_endpoints()
        except ClientError as error:
            throttled += error.response["Error"]["Code"] == "ThrottlingException"
    assert throttled == 3


def test_a_due_schedule_deletes_its_endpoint_and_itself(cloud: AwsCloud, sagemaker: Any, scheduler: Any) -> None:
    deploy(sagemaker, "minilm")
    schedule(scheduler, "minilm", minutes=60)
    cloud.advance(minutes=59)
    assert cloud.left()["endpoints"] == ["minilm"]
    cloud.advance(minutes=2)
    assert "endpoints" not in cloud.left()
    assert "schedules" not in cloud.left()
    assert [(fired.action, fired.error) for fired in cloud.fired] == [("DeleteEndpoint", None)]


def test_a_schedule_comes_true_by_itself(cloud: AwsCloud, sagemaker: Any, scheduler: Any) -> None:
    deploy(sagemaker, "minilm")
    schedule(scheduler, "minilm", minutes=1.5 / 60, after="NONE")
    until(lambda: "endpoints" not in cloud.left())
    assert cloud.left()["schedules"] == ["minilm"]


def test_a_schedule_that_was_moved_fires_later(cloud: AwsCloud, sagemaker: Any, scheduler: Any) -> None:
    deploy(sagemaker, "minilm")
    schedule(scheduler, "minilm", minutes=60)
    before = scheduler.get_schedule(Name="minilm")
    when = datetime.now(UTC) + timedelta(minutes=120)
    scheduler.update_schedule(
        Name="minilm",
        ScheduleExpression=f"at({when:%Y-%m-%dT%H:%M:%S})",
        **{key: before[key] for key in ("FlexibleTimeWindow", "Target")},
    )
    # What an update does not repeat is reset.
    assert scheduler.get_schedule(Name="minilm").get("ActionAfterCompletion") is None
    cloud.advance(minutes=61)
    assert cloud.left()["endpoints"] == ["minilm"]
    cloud.advance(minutes=60)
    assert "endpoints" not in cloud.left()


def test_schedules_are_checked(cloud: AwsCloud, scheduler: Any) -> None:
    with pytest.raises(ClientError, match="the time is in the past"):
        schedule(scheduler, "late", minutes=-1)
    with pytest.raises(ClientError, match="length less than or equal to 64"):
        schedule(scheduler, "x" * 65, minutes=5)
    schedule(scheduler, "taken", minutes=5)
    with pytest.raises(ClientError) as refused:
        schedule(scheduler, "taken", minutes=5)
    assert code(refused) == "ConflictException"
    scheduler.create_schedule_group(Name="ragwright")
    with pytest.raises(ClientError) as refused:
        scheduler.create_schedule_group(Name="ragwright")
    assert code(refused) == "ConflictException"


def test_what_callers_must_be_allowed_is_noted(cloud: AwsCloud, sagemaker: Any, scheduler: Any) -> None:
    deploy(sagemaker, "minilm")
    schedule(scheduler, "minilm", minutes=5)
    assert cloud.calls == [
        ("sagemaker", "CreateModel"),
        ("iam", "PassRole"),
        ("sagemaker", "CreateEndpointConfig"),
        ("sagemaker", "CreateEndpoint"),
        ("sagemaker", "AddTags"),
        ("scheduler", "CreateSchedule"),
        ("iam", "PassRole"),
    ]


def test_only_what_a_policy_allows_is_allowed(cloud: AwsCloud, sagemaker: Any, scheduler: Any) -> None:
    endpoints = "arn:aws:sagemaker:*:*:endpoint/ragwright-*"
    cloud.allow_only({"Statement": [{"Effect": "Allow", "Action": "sagemaker:Describe*", "Resource": endpoints}]})
    with pytest.raises(ClientError, match="Could not find endpoint"):
        sagemaker.describe_endpoint(EndpointName="ragwright-minilm")
    with pytest.raises(ClientError, match="not authorized to perform: sagemaker:DescribeEndpoint") as refused:
        sagemaker.describe_endpoint(EndpointName="theirs")
    assert code(refused) == "AccessDeniedException"
    with pytest.raises(ClientError) as refused:
        scheduler.list_schedules()
    assert code(refused) == "AccessDeniedException"
    with pytest.raises(ClientError) as refused:
        cloud.client("s3").list_buckets()
    assert code(refused) == "AccessDenied"
    identity = cloud.client("sts").get_caller_identity()
    assert identity["Arn"] == "arn:aws:sts::123456789012:assumed-role/ragwright/session"


def test_permissions_can_be_asked_for(cloud: AwsCloud) -> None:
    cloud.deny("scheduler:*")
    found = cloud.client("iam").simulate_principal_policy(
        PolicySourceArn=ROLE, ActionNames=["sagemaker:CreateEndpoint", "scheduler:CreateSchedule"]
    )
    decisions = {result["EvalActionName"]: result["EvalDecision"] for result in found["EvaluationResults"]}
    assert decisions == {"sagemaker:CreateEndpoint": "allowed", "scheduler:CreateSchedule": "implicitDeny"}


def test_objects_are_kept_until_a_reset(cloud: AwsCloud) -> None:
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="faq")
    body = b"\x00\r\n" * 100_000
    s3.put_object(Bucket="faq", Key="a folder/faq.csv", Body=body)
    assert s3.get_object(Bucket="faq", Key="a folder/faq.csv")["Body"].read() == body
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket="faq", Key="missing")
    assert set(cloud.calls) == {("s3", "CreateBucket"), ("s3", "PutObject"), ("s3", "GetObject")}
    cloud.reset()
    assert s3.list_buckets()["Buckets"] == []


def test_a_real_server_runs_behind_an_endpoint_and_ends_with_it(tmp_path: Path) -> None:
    with AwsCloud(models="real", cache=tmp_path) as cloud:
        sagemaker, runtime = cloud.client("sagemaker"), cloud.client("sagemaker-runtime")
        deploy(sagemaker, "minilm", HF_MODEL_ID="hashing-16")
        (tmp_path / "broken.gguf").write_text("no model")
        deploy(sagemaker, "broken", image=TGI, HF_MODEL_ID=str(tmp_path / "broken.gguf"))
        assert status(sagemaker, "minilm") == ("Creating", None)
        until(lambda: status(sagemaker, "minilm")[0] == "InService")
        assert len(invoke(runtime, "minilm", inputs=["x"])[0]) == 16
        # The broken one's server may be a zombie by now, without a command line.
        children = psutil.Process().children()
        served = [child for child in children if "minilm" in (child.as_dict(["cmdline"])["cmdline"] or ())]
        assert len(served) == 1
        sagemaker.delete_endpoint(EndpointName="minilm")
        assert not served[0].is_running()
        until(lambda: status(sagemaker, "broken")[0] == "Failed")
        assert "ping health check" in str(status(sagemaker, "broken")[1])


def test_it_runs_by_itself_and_says_where() -> None:
    command = [sys.executable, "-m", "emulators.aws_cloud", "--models", "hashing"]
    folder = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": folder}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        exports = {}
        while "RAGWRIGHT_SAGEMAKER__SCHEDULER_ROLE_ARN" not in exports and (line := process.stdout.readline()):
            name, _, value = line.removeprefix("export ").strip().partition("=")
            exports[name] = value
        there = boto3.client(
            "sagemaker",
            region_name=exports["AWS_REGION"],
            endpoint_url=exports["AWS_ENDPOINT_URL_SAGEMAKER"],
            aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
        )
        assert there.list_endpoints()["Endpoints"] == []
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
