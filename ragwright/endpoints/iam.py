"""What ragwright must be allowed on AWS, as data: the policies in deploy/iam and what `ragwright doctor` asks for.

A test runs the life of endpoints and of a catalog against an emulated cloud that allows nothing else, and fails where
a policy allows what nobody called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MANAGED = "ragwright:managed"
"""The tag on all that is ours."""

OURS: Mapping[str, Mapping[str, Sequence[str]]] = {"StringEquals": {f"aws:ResourceTag/{MANAGED}": ["true"]}}
TO_BE_OURS: Mapping[str, Mapping[str, Sequence[str]]] = {"StringEquals": {f"aws:RequestTag/{MANAGED}": ["true"]}}
# Repositories of AWS's own images that the packaged presets name; their accounts differ from region to region.
IMAGES = ("huggingface-pytorch-tgi-inference", "huggingface-pytorch-inference", "djl-inference", "tei", "tei-cpu")


@dataclass(frozen=True)
class Place:
    """What the policies of one installation name; the defaults are to be replaced before use.

    Attributes:
        catalog: Bucket, and prefix if it has one, of the catalog.
        source: Bucket and key of the FAQ; `*` stands for anything.
        models: Bucket and prefix of model files, for presets with `model_data`.
        runner, containers, scheduler: Names of the three roles.
        group: The schedule group of `sagemaker.scheduler_group`.
    """

    account: str = "ACCOUNT_ID"
    region: str = "REGION"
    partition: str = "aws"
    catalog: str = "CATALOG_BUCKET"
    source: str = "SOURCE_BUCKET/*"
    models: str = "MODEL_BUCKET/*"
    runner: str = "ragwright"
    containers: str = "ragwright-containers"
    scheduler: str = "ragwright-scheduler"
    group: str = "ragwright"

    def sagemaker(self, resource: str) -> str:
        """ARN of something of SageMaker's."""
        return f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:{resource}"

    def of_scheduler(self, resource: str) -> str:
        """ARN of something of EventBridge Scheduler's."""
        return f"arn:{self.partition}:scheduler:{self.region}:{self.account}:{resource}"

    def role(self, name: str) -> str:
        """ARN of a role."""
        return f"arn:{self.partition}:iam::{self.account}:role/{name}"

    def s3(self, path: str) -> str:
        """ARN of a bucket, or of objects in it."""
        return f"arn:{self.partition}:s3:::{path}"


@dataclass(frozen=True)
class Statement:
    """Actions on resources, under conditions."""

    sid: str
    actions: Sequence[str]
    resources: Sequence[str]
    conditions: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As IAM takes it."""
        said: dict[str, Any] = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": sorted(self.actions),
            "Resource": list(self.resources),
        }
        if self.conditions:
            said["Condition"] = {
                operator: {key: list(values) for key, values in keys.items()}
                for operator, keys in self.conditions.items()
            }
        return said


def runner(place: Place) -> list[Statement]:
    """Whoever runs the flows or the command line: provision, re-index, teardown, janitor.

    Endpoints have names of the user's choice, so they are told by their tag; models and configurations have a prefix.
    Looking is not bound to the tag: that something is not there, or is somebody else's, must be seen.
    """
    endpoints = place.sagemaker("endpoint/*")
    configs, models = place.sagemaker("endpoint-config/ragwright-*"), place.sagemaker("model/ragwright-*")
    bucket = place.catalog.partition("/")[0]
    schedules = place.of_scheduler(f"schedule/{place.group}/*")
    group = place.of_scheduler(f"schedule-group/{place.group}")
    while_creating = {"sagemaker:TaggingAction": ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"]}
    return [
        Statement("ListEndpoints", _sagemaker("ListEndpoints", "ListEndpointConfigs", "ListModels"), ["*"]),
        Statement("LookAtEndpoints", _sagemaker("DescribeEndpoint", "ListTags"), [endpoints]),
        Statement("LookAtConfigurations", _sagemaker("DescribeEndpointConfig", "ListTags"), [configs]),
        Statement("LookAtModels", _sagemaker("ListTags"), [models]),
        Statement("CreateConfigurations", _sagemaker("CreateEndpointConfig"), [configs], TO_BE_OURS),
        Statement("CreateModels", _sagemaker("CreateModel"), [models], TO_BE_OURS),
        Statement("CreateEndpoints", _sagemaker("CreateEndpoint"), [endpoints, configs], TO_BE_OURS),
        Statement(
            "TagWhatIsCreated",
            _sagemaker("AddTags"),
            [endpoints, configs, models],
            {"StringEquals": {**TO_BE_OURS["StringEquals"], **while_creating}},
        ),
        Statement(
            "ChangeOwnEndpoints",
            _sagemaker("AddTags", "DeleteEndpoint", "InvokeEndpoint", "UpdateEndpoint"),
            [endpoints],
            OURS,
        ),
        Statement("UpdateToOwnConfigurations", _sagemaker("UpdateEndpoint"), [configs]),
        Statement("DeleteConfigurations", _sagemaker("DeleteEndpointConfig"), [configs]),
        Statement("DeleteModels", _sagemaker("DeleteModel"), [models]),
        Statement(
            "RunContainersAs",
            ["iam:PassRole"],
            [place.role(place.containers)],
            {"StringEquals": {"iam:PassedToService": ["sagemaker.amazonaws.com"]}},
        ),
        Statement(
            "DeadMansSwitch",
            [f"scheduler:{verb}Schedule" for verb in ("Create", "Update", "Get", "Delete")],
            [schedules],
        ),
        Statement("ListSwitches", ["scheduler:ListSchedules"], ["*"]),
        # A group is created with tags, which takes the permission to tag it.
        Statement("GroupOfSwitches", ["scheduler:CreateScheduleGroup", "scheduler:TagResource"], [group], TO_BE_OURS),
        Statement(
            "ScheduleAs",
            ["iam:PassRole"],
            [place.role(place.scheduler)],
            {"StringEquals": {"iam:PassedToService": ["scheduler.amazonaws.com"]}},
        ),
        # Not bound to a prefix: S3 says that an object is missing, and not that it is forbidden, only to those who may
        # list the whole bucket, and the catalog relies on being told.
        Statement("ListCatalog", ["s3:ListBucket"], [place.s3(bucket)]),
        Statement(
            "WriteCatalog",
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            [place.s3(f"{place.catalog}/*")],
        ),
        Statement("ReadSource", ["s3:GetObject"], [place.s3(place.source)]),
    ]


def optional(place: Place) -> list[Statement]:
    """With these `ragwright doctor` and `costs.use_pricing_api` say more; nothing fails for want of them."""
    roles = [place.role(name) for name in (place.containers, place.scheduler)]
    return [
        Statement("AskWhatIsAllowed", ["iam:SimulatePrincipalPolicy"], [place.role(place.runner)]),
        Statement("SeeRoles", ["iam:GetRole"], roles),
        Statement("SeeQuotas", ["servicequotas:ListServiceQuotas"], ["*"]),
        Statement("SeePrices", ["pricing:GetProducts"], ["*"]),
    ]


def containers(place: Place) -> list[Statement]:
    """The execution role: SageMaker's, to start containers and to keep their logs.

    Our code makes none of these calls; AWS documents them for the role of a model.
    """
    logs = f"arn:{place.partition}:logs:{place.region}:{place.account}:log-group:/aws/sagemaker/Endpoints/*"
    images = [f"arn:{place.partition}:ecr:{place.region}:*:repository/{name}" for name in IMAGES]
    pulls = ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer")
    return [
        Statement("SignInForImages", ["ecr:GetAuthorizationToken"], ["*"]),
        Statement("PullImages", [f"ecr:{what}" for what in pulls], images),
        Statement(
            "WriteLogs",
            [f"logs:{what}" for what in ("CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents")],
            [logs],
        ),
        Statement(
            "WriteMetrics",
            ["cloudwatch:PutMetricData"],
            ["*"],
            {"StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "AWS/SageMaker"]}},
        ),
        Statement("ListModelFiles", ["s3:ListBucket"], [place.s3(place.models.partition("/")[0])]),
        Statement("ReadModelFiles", ["s3:GetObject"], [place.s3(place.models)]),
    ]


def network(place: Place) -> list[Statement]:
    """What the execution role needs on top where `sagemaker.subnets` is set, as AWS documents it."""
    looks = ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs")
    changes = ("Interface", "InterfacePermission")
    return [
        Statement("SeeNetwork", [f"ec2:Describe{what}" for what in looks], ["*"]),
        Statement(
            "ConnectContainers",
            [f"ec2:{verb}Network{what}" for verb in ("Create", "Delete") for what in changes],
            [f"arn:{place.partition}:ec2:{place.region}:{place.account}:*/*"],
        ),
    ]


def scheduler(place: Place) -> list[Statement]:
    """The role of the dead man's switch: delete endpoints of ours, and nothing else."""
    return [Statement("DeleteOwnEndpoints", _sagemaker("DeleteEndpoint"), [place.sagemaker("endpoint/*")], OURS)]


def trust(place: Place, service: str) -> dict[str, Any]:
    """Who may take a role: one service of AWS, for this account alone."""
    conditions: dict[str, Any] = {"StringEquals": {"aws:SourceAccount": place.account}}
    if service == "scheduler.amazonaws.com":
        conditions["ArnEquals"] = {"aws:SourceArn": place.of_scheduler(f"schedule-group/{place.group}")}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": service},
                "Action": "sts:AssumeRole",
                "Condition": conditions,
            }
        ],
    }


def documents(place: Place) -> dict[str, dict[str, Any]]:
    """Every policy by the name of its file."""
    policies = {
        "runner": runner(place),
        "optional": optional(place),
        "containers": containers(place),
        "containers-in-a-vpc": network(place),
        "scheduler": scheduler(place),
    }
    trusted = {
        "containers-trust": trust(place, "sagemaker.amazonaws.com"),
        "scheduler-trust": trust(place, "scheduler.amazonaws.com"),
        "runner-trust": _trust_of_the_account(place),
    }
    return {name: policy(statements) for name, statements in policies.items()} | trusted


def policy(statements: Sequence[Statement]) -> dict[str, Any]:
    """Statements as a policy document."""
    return {"Version": "2012-10-17", "Statement": [statement.to_json() for statement in statements]}


def _trust_of_the_account(place: Place) -> dict[str, Any]:
    """Whoever the account itself allows to take the runner's role."""
    account = {"AWS": f"arn:{place.partition}:iam::{place.account}:root"}
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": account, "Action": "sts:AssumeRole"}],
    }


def _sagemaker(*actions: str) -> list[str]:
    return [f"sagemaker:{action}" for action in actions]
