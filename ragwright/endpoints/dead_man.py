"""The dead man's switch: a one-shot schedule that deletes an endpoint when its lease ends, whatever became of us."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ragwright.cloud_settings import SageMakerSettings
from ragwright.endpoints.aws import Aws, is_in_progress, is_missing, is_taken
from ragwright.errors import ConfigurationError, RagwrightError, TransientError, Unavailable

TARGET = "arn:aws:scheduler:::aws-sdk:sagemaker:deleteEndpoint"
# A schedule in the past is refused; this much is allowed for a clock that is behind and for the way there.
SOONEST = timedelta(seconds=5)
# SageMaker refuses to delete an endpoint while it starts: a switch that fired then would have fired for nothing.
START_MARGIN = timedelta(minutes=10)
# Others may create, fire or remove the same schedule and its group at the same time, but not for ever.
_ROUNDS = 4


class DeadManSwitch:
    """Schedules of EventBridge Scheduler, one an endpoint, in a group of their own.

    Schedules carry no tags, so the group is the mark by which ours are known: nothing else may live in it. A schedule
    has the name of its endpoint, calls DeleteEndpoint once, and is gone with that. What remains of the endpoint, its
    model and configuration, costs nothing and is removed by `reap`.
    """

    def __init__(self, aws: Aws, settings: SageMakerSettings) -> None:
        self._aws, self._settings = aws, settings

    def arm(self, endpoint: str, at: datetime) -> None:
        """Have an endpoint deleted at a moment, which replaces an earlier choice; seconds are rounded up.

        Raises:
            ConfigurationError: The role to do it with is missing from the settings.
        """
        if not self._settings.scheduler_role_arn:
            raise ConfigurationError(
                "sagemaker.scheduler_role_arn is not set, and without it nothing would end an endpoint whose run died",
                hint="Set RAGWRIGHT_SAGEMAKER__SCHEDULER_ROLE_ARN; deploy/iam has the role's policy.",
            )
        moment = datetime.fromtimestamp(math.ceil(max(at, datetime.now(UTC) + SOONEST).timestamp()), UTC)
        schedule = {
            "Name": endpoint,
            "GroupName": self._settings.scheduler_group,
            "Description": f"Deletes the endpoint {endpoint} of ragwright when its lease ends",
            "ScheduleExpression": f"at({moment:%Y-%m-%dT%H:%M:%S})",
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": TARGET,
                "RoleArn": self._settings.scheduler_role_arn,
                "Input": json.dumps({"EndpointName": endpoint}),
                "RetryPolicy": {"MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 86_400},
            },
        }
        last: RagwrightError | None = None
        for _ in range(_ROUNDS):
            try:
                self._aws.call("scheduler", "create_schedule", **schedule)
            except RagwrightError as error:
                last = error
                if is_missing(error):
                    self._create_group()
                    continue
                if not is_taken(error):
                    raise
            else:
                return
            try:
                self._aws.call("scheduler", "update_schedule", **schedule)
            except RagwrightError as error:
                last = error
                if not (is_missing(error) or is_in_progress(error)):  # it fired, was removed or is being changed
                    raise
            else:
                return
        raise Unavailable(f"the schedule of endpoint {endpoint!r} comes and goes", place="AWS scheduler") from last

    def is_armed(self, endpoint: str) -> bool:
        """Whether an endpoint has its schedule."""
        return self.due(endpoint) is not None

    def due(self, endpoint: str) -> datetime | None:
        """When the schedule of an endpoint fires; None if it has none."""
        try:
            schedule = self._aws.call(
                "scheduler", "get_schedule", Name=endpoint, GroupName=self._settings.scheduler_group
            )
        except RagwrightError as error:
            if is_missing(error):
                return None
            raise
        return datetime.fromisoformat(schedule["ScheduleExpression"].removeprefix("at(").removesuffix(")")).replace(
            tzinfo=UTC
        )

    def disarm(self, endpoint: str) -> bool:
        """Remove the schedule of an endpoint; whether there was one."""
        last: RagwrightError | None = None
        for _ in range(_ROUNDS):
            try:
                self._aws.call("scheduler", "delete_schedule", Name=endpoint, GroupName=self._settings.scheduler_group)
            except TransientError:
                raise
            except RagwrightError as error:
                if is_missing(error) or not self.is_armed(endpoint):
                    return False
                if not is_in_progress(error):  # somebody changes it at this moment
                    raise
                last = error
            else:
                return True
        raise Unavailable(f"the schedule of endpoint {endpoint!r} is still changing", place="AWS scheduler") from last

    def endpoints(self) -> Iterator[str]:
        """Names of all endpoints that have a schedule."""
        try:
            for schedule in self._aws.pages(
                "scheduler", "list_schedules", "Schedules", GroupName=self._settings.scheduler_group
            ):
                yield schedule["Name"]
        except RagwrightError as error:
            if not is_missing(error):
                raise

    def _create_group(self) -> None:
        try:
            self._aws.call(
                "scheduler",
                "create_schedule_group",
                Name=self._settings.scheduler_group,
                Tags=[{"Key": "ragwright:managed", "Value": "true"}],
            )
        except RagwrightError as error:
            if not is_taken(error):
                raise
