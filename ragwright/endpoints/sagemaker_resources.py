"""Models, endpoint configurations and endpoints of SageMaker, told apart from other people's by their tags."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from ragwright.cloud_settings import SageMakerSettings
from ragwright.endpoints import EndpointInfo, EndpointStatus, Lease
from ragwright.endpoints.aws import Aws, code_of, is_denied, is_in_progress, is_missing, is_taken
from ragwright.endpoints.sagemaker_plan import (
    NAME_PREFIX,
    SERVERLESS,
    Plan,
    Tags,
    Variant,
    from_aws,
    lease_from,
    lease_tags,
    spec_from,
    stem,
    to_aws,
)
from ragwright.errors import EndpointError, RagwrightError, RequestRejected, TimedOut, TransientError

_STATUS = {
    "InService": EndpointStatus.IN_SERVICE,
    "SystemUpdating": EndpointStatus.IN_SERVICE,  # AWS maintains it; it serves meanwhile
    "Deleting": EndpointStatus.DELETING,
    "Failed": EndpointStatus.FAILED,
    "OutOfService": EndpointStatus.FAILED,
    "UpdateRollbackFailed": EndpointStatus.FAILED,
}
# Transient beside these names: whoever asks again soon gets the same answer.
_NO_CAPACITY = ("InsufficientInstanceCapacity", "ResourceLimitExceeded", "Insufficient capacity")
Kind = Literal["endpoint_config", "model"]
KINDS: tuple[Kind, ...] = ("endpoint_config", "model")
_LISTS: dict[Kind, tuple[str, str, str, str]] = {
    "endpoint_config": ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName", "EndpointConfigArn"),
    "model": ("list_models", "Models", "ModelName", "ModelArn"),
}


class Gone(EndpointError):
    """The endpoint that was to be changed is not there any more."""


@dataclass(frozen=True)
class Left:
    """A model or configuration of ours."""

    kind: Kind
    name: str
    arn: str
    tags: dict[str, str]


def is_no_capacity(said: RagwrightError | str) -> bool:
    """Whether there is no room on this instance type: no capacity now, or none within the account's quota."""
    text = said if isinstance(said, str) else f"{code_of(said)} {said.what}"
    return any(name in text for name in _NO_CAPACITY)


@dataclass(frozen=True)
class Seen:
    """One look at an endpoint.

    Attributes:
        state: SageMaker's word for what it does.
        config: The configuration it runs, or still runs while it is being updated.
        tags: Ours; None: the endpoint is somebody else's.
        spec_tags: Of the configuration that it runs, or is to run when it is creating or updating.
        wanted_tags: Of the configuration last deployed.
    """

    name: str
    arn: str
    state: str
    config: str
    created_at: datetime
    failure: str | None = None
    tags: dict[str, str] | None = None
    spec_tags: dict[str, str] = field(default_factory=dict)
    wanted_tags: dict[str, str] = field(default_factory=dict)

    @property
    def lease(self) -> Lease | None:
        """Its lease; None if it is not ours or the lease cannot be read."""
        return lease_from(self.tags or {})

    @property
    def status(self) -> EndpointStatus:
        """Its state in the port's words."""
        return _STATUS.get(self.state, EndpointStatus.CREATING)

    @property
    def is_settled(self) -> bool:
        """Whether SageMaker takes a change to it now."""
        return self.state in ("InService", "Failed", "OutOfService", "UpdateRollbackFailed")

    @property
    def missed_its_update(self) -> bool:
        """Whether it went back to what it ran before, because the new configuration did not start."""
        return self.state == "InService" and (self.tags or {}).get("config", self.config) != self.config

    @property
    def is_serverless(self) -> bool:
        """Whether it runs without instances."""
        return self.spec_tags.get("instance-type") == SERVERLESS

    def info(self) -> EndpointInfo:
        """What the port tells of it."""
        spec, lease = spec_from(self.spec_tags), self.lease
        instances = self.spec_tags.get("instances", "1")
        return EndpointInfo(
            name=self.name,
            host="sagemaker",
            status=self.status,
            model=spec.model if spec else "",
            # Of a configuration that somebody deleted nobody knows the contract.
            contract=spec.contract if spec else "tei",
            owner=lease.owner if lease else "",
            run_id=lease.run_id if lease else "",
            lease_expires_at=lease.expires_at if lease else None,
            failure_reason=self.failure if self.status is EndpointStatus.FAILED or self.missed_its_update else None,
            created_at=self.created_at,
            instance_type=self.spec_tags.get("instance-type"),
            instances=int(instances) if instances.isdigit() else 1,
        )


class Resources:
    """The calls that look at and change them."""

    def __init__(self, aws: Aws, settings: SageMakerSettings) -> None:
        self._aws, self._settings = aws, settings

    def call(self, operation: str, **parameters: Any) -> Any:
        """Call an operation of SageMaker."""
        return self._aws.call("sagemaker", operation, **parameters)

    def change(self, operation: str, name: str, **parameters: Any) -> Any:
        """Call an operation that changes an endpoint of ours.

        Raises:
            Gone: Somebody has removed it. AWS may call that a missing permission, for the permission rests on a tag.
        """
        with self._still_there(name):
            return self.call(operation, EndpointName=name, **parameters)

    def looks(self, complaint: str) -> Iterator[None]:
        """One turn a look, with growing waits in between, until it takes too long.

        Raises:
            TimedOut: It did; the message begins with the complaint.
        """
        limit = self._settings.settle_seconds
        deadline = time.monotonic() + limit
        pause = min(1.0, self._settings.poll_seconds)
        while True:
            yield
            if time.monotonic() > deadline:
                raise TimedOut(f"{complaint} after {limit:g} s", hint="Try again; its lease ends it in any case.")
            time.sleep(pause)
            pause = min(pause * 1.5, self._settings.poll_seconds * 3)

    def describe(self, name: str) -> dict[str, Any] | None:
        """SageMaker's description of an endpoint; None if there is none."""
        try:
            return dict(self.call("describe_endpoint", EndpointName=name))
        except RagwrightError as error:
            if is_missing(error):
                return None
            raise

    def look(self, name: str) -> Seen | None:
        """Look at an endpoint, its tags and its configuration's; None if there is none."""
        described = self.describe(name)
        if described is None:
            return None
        try:
            tags = self._tags(described["EndpointArn"])
        except RagwrightError as error:
            if is_missing(error):  # gone since
                return None
            raise
        seen = Seen(
            name=name,
            arn=described["EndpointArn"],
            state=described["EndpointStatus"],
            config=described["EndpointConfigName"],
            created_at=described["CreationTime"].astimezone(UTC),
            failure=described.get("FailureReason"),
            tags=tags,
        )
        if tags is None:
            return seen
        wanted = self._config_tags(seen.arn, tags.get("config", seen.config))
        runs = seen.state in ("InService", "SystemUpdating") and seen.missed_its_update
        actual = self._config_tags(seen.arn, seen.config) if runs else wanted
        # A configuration that is gone left its words on the endpoint too.
        return Seen(**{**seen.__dict__, "spec_tags": actual or tags, "wanted_tags": wanted or tags})

    def look_at_all(self) -> list[Seen]:
        """All endpoints of ours, by name."""
        listed = self._aws.pages("sagemaker", "list_endpoints", "Endpoints", MaxResults=100)
        found = [(item["EndpointName"], item["EndpointArn"]) for item in listed]
        with ThreadPoolExecutor(max_workers=8) as pool:
            ours = pool.map(lambda pair: pair[0] if self._tags_if_there(pair[1]) is not None else None, found)
            seen = pool.map(self.look, [name for name in ours if name])
            return sorted((one for one in seen if one is not None and one.tags is not None), key=lambda one: one.name)

    def ensure_config(self, plan: Plan, variant: Variant, lease: Lease) -> None:
        """Have the model and the endpoint configuration of a variant. Names tell the content, so one there will do."""
        tags = to_aws({**variant.tags, **lease_tags(lease)}, self._settings.tags)
        container = {**variant.container, "Environment": dict(variant.container["Environment"])}
        if plan.preset.gated and self._token:
            container["Environment"]["HF_TOKEN"] = self._token
        subnets, groups = list(self._settings.subnets), list(self._settings.security_groups)
        vpc = {"VpcConfig": {"Subnets": subnets, "SecurityGroupIds": groups}} if subnets else {}
        self._create(
            "create_model",
            ModelName=variant.model_name,
            ExecutionRoleArn=self._settings.role_arn,
            PrimaryContainer=container,
            Tags=tags,
            **vpc,
        )
        self._create(
            "create_endpoint_config",
            EndpointConfigName=variant.config_name,
            ProductionVariants=[dict(variant.production)],
            Tags=tags,
        )

    def mark(self, arn: str, variant: Variant, lease: Lease) -> None:
        """Say on an endpoint what it is to run, and for whom."""
        self.say(arn, {**variant.tags, **lease_tags(lease), "config": variant.config_name})

    def say(self, arn: str, tags: Tags) -> None:
        """Put tags on an endpoint, in place of those of the same names."""
        with self._still_there(arn.rpartition("/")[2]):
            self.call("add_tags", ResourceArn=arn, Tags=to_aws(tags))

    def endpoint_tags(self, variant: Variant, lease: Lease, attempt: str) -> list[dict[str, str]]:
        """Tags of a new endpoint that is to run a variant; `attempt` tells whose creation made it."""
        tags = {**variant.tags, **lease_tags(lease), "config": variant.config_name, "attempt": attempt}
        return to_aws(tags, self._settings.tags)

    def sweep(self, name: str) -> None:
        """Remove the models and configurations of an endpoint that it does not use."""
        configs = self._used_configs(name)
        models = {model for config in configs for model in self._models_of(config)}
        for kind in KINDS:
            for left in self.litter(kind, stem(name)):
                if left.tags.get("endpoint") == name and left.name not in configs | models:
                    self.remove(left)

    def litter(self, kind: Kind, beginning: str = NAME_PREFIX) -> Iterator[Left]:
        """All models or configurations that are ours."""
        operation, key, name, arn = _LISTS[kind]
        for item in self._aws.pages("sagemaker", operation, key, NameContains=beginning, MaxResults=100):
            if item[name].startswith(beginning) and (tags := self._tags_if_there(item[arn])) is not None:
                yield Left(kind, item[name], item[arn], tags)

    def remove(self, left: Left) -> None:
        """Delete a model or configuration; one that is gone is fine, whatever AWS says to whom comes second."""
        refused: RagwrightError | None = None
        for _ in self.looks(f"{left.kind} {left.name!r} is not gone"):
            if refused is not None and self._tags_if_there(left.arn) is None:
                return
            if refused is not None and not is_in_progress(refused):
                raise refused
            try:
                self.call(f"delete_{left.kind}", **{_LISTS[left.kind][2]: left.name})
            except TransientError:
                raise
            except RagwrightError as error:
                if is_missing(error):
                    return
                refused = error
            else:
                return

    @property
    def _token(self) -> str:
        token = self._settings.hugging_face_token
        return token.get_secret_value().strip() if token else ""

    def _create(self, operation: str, **parameters: Any) -> None:
        try:
            self.call(operation, **parameters)
        except RagwrightError as error:
            if is_taken(error):
                return
            if self._token and self._token in error.what:  # AWS quotes what it finds wrong; the cause does so too
                raise RequestRejected(error.what.replace(self._token, "***"), place=error.place) from None
            raise

    @contextmanager
    def _still_there(self, name: str) -> Iterator[None]:
        """Tell a refusal to change an endpoint from its absence."""
        try:
            yield
        except RagwrightError as error:
            if is_missing(error) or (is_denied(error) and self.describe(name) is None):
                hint = "Somebody has removed it; deploy it again."
                raise Gone(f"endpoint {name!r} is gone", place=error.place, hint=hint) from error
            raise

    def _used_configs(self, name: str) -> set[str]:
        described = self.describe(name)
        if described is None:
            return set()
        tags = self._tags_if_there(described["EndpointArn"]) or {}
        return {described["EndpointConfigName"], tags.get("config", described["EndpointConfigName"])}

    def _models_of(self, config: str) -> list[str]:
        try:
            described = self.call("describe_endpoint_config", EndpointConfigName=config)
        except RagwrightError as error:
            if is_missing(error):
                return []
            raise
        return [variant["ModelName"] for variant in described["ProductionVariants"] if "ModelName" in variant]

    def _config_tags(self, endpoint_arn: str, config: str) -> dict[str, str]:
        return self._tags_if_there(f"{endpoint_arn.rpartition(':endpoint/')[0]}:endpoint-config/{config}") or {}

    def _tags(self, arn: str) -> dict[str, str] | None:
        """Our tags of a resource; None if it is not ours."""
        return from_aws(list(self._aws.pages("sagemaker", "list_tags", "Tags", ResourceArn=arn)))

    def _tags_if_there(self, arn: str) -> dict[str, str] | None:
        """The same; None also if there is no such resource."""
        try:
            return self._tags(arn)
        except RagwrightError as error:
            if is_missing(error):
                return None
            raise
