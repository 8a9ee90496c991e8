"""The cloud on loopback, as the SDK sees it: what tests of the SageMaker host rely on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

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
