"""EventBridge Scheduler: moto keeps the schedules and never runs them. Here the one-shot ones come true.

A schedule's target is called once. A throttled or unavailable target would be called again by AWS; one that refuses
the request is given up, and so it is here.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from emulators.aws_calls import ACCOUNT, AwsError, Call, refuse
from emulators.aws_shapes import check_shape
from emulators.aws_switches import Switches
from moto.scheduler.models import Schedule, scheduler_backends
from werkzeug.wrappers import Response

AT = re.compile(r"^at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)$")
RECURRING = re.compile(r"^(rate|cron)\(.+\)$")
TARGET = re.compile(r"^arn:aws:scheduler:::aws-sdk:([a-z0-9]+):([a-z][A-Za-z]+)$")


@dataclass(frozen=True)
class Fired:
    """A schedule that came true: what it called, and what was refused."""

    schedule: str
    service: str
    action: str
    input: Mapping[str, Any]
    error: str | None = None


class Scheduler:
    """Checks what moto does not, and calls the targets of schedules that are due."""

    def __init__(self, switches: Switches, now: Callable[[], float], execute: Callable[[Call], Response]) -> None:
        self.fired: list[Fired] = []
        self._switches, self._now, self._execute = switches, now, execute
        self._done: set[tuple[str, float, str]] = set()
        self._lock = threading.RLock()

    def answer(self, call: Call, forward: Callable[[], Response]) -> Response:
        """Carry out one call; `forward` has moto do it."""
        check_shape("scheduler", call.action, call.body)
        with self._lock:
            _check_group(call)
            if call.action in ("UpdateSchedule", "DeleteSchedule") and self._switches.conflicts > 0:
                self._switches.conflicts -= 1
                raise AwsError(
                    "ConflictException", "Updating or deleting the resource can cause an inconsistent state", 409
                )
            if call.action in ("CreateSchedule", "UpdateSchedule"):
                _check_expression(call.body)
            response = forward()
            if call.action == "UpdateSchedule" and response.status_code == 200:
                # An update replaces the whole schedule: what it leaves out goes back to its default.
                group = scheduler_backends[ACCOUNT][call.region].schedule_groups[call.body.get("GroupName", "default")]
                schedule = group.schedules[call.body["Name"]]
                schedule.action_after_completion = call.body.get("ActionAfterCompletion")
                schedule.state = call.body.get("State", "ENABLED")
            return response

    def fire_due(self) -> None:
        """Call the target of every schedule whose time has come."""
        with self._lock:
            for region, backend in list(scheduler_backends[ACCOUNT].items()):
                for group in list(backend.schedule_groups.values()):
                    for schedule in list(group.schedules.values()):
                        once = (schedule.arn, schedule.creation_date, schedule.schedule_expression)
                        if once in self._done or schedule.state != "ENABLED" or not self._is_due(schedule):
                            continue
                        self._done.add(once)
                        self.fired.append(self._fire(schedule, region))
                        if schedule.action_after_completion == "DELETE":
                            group.schedules.pop(schedule.name, None)

    def reset(self) -> None:
        """Forget what was fired."""
        with self._lock:
            self.fired.clear()
            self._done.clear()

    def _is_due(self, schedule: Schedule) -> bool:
        found = AT.match(schedule.schedule_expression)
        if found is None:
            return False
        zone = ZoneInfo(schedule.schedule_expression_timezone)
        return datetime.fromisoformat(found[1]).replace(tzinfo=zone).timestamp() <= self._now()

    def _fire(self, schedule: Schedule, region: str) -> Fired:
        target = TARGET.match(schedule.target["Arn"])
        if target is None:
            return Fired(schedule.name, "", schedule.target["Arn"], {}, "this target is not emulated")
        service, action = target[1], target[2][0].upper() + target[2][1:]
        given: dict[str, Any] = json.loads(schedule.target.get("Input") or "{}")
        arn = f"arn:aws:sagemaker:{region}:{ACCOUNT}:endpoint/{given.get('EndpointName')}"
        try:
            response = self._execute(Call(service, action, region, arn, given))
        except AwsError as error:
            return Fired(schedule.name, service, action, given, f"{error.code}: {error.message}")
        said = None if response.status_code == 200 else response.get_data(as_text=True)
        return Fired(schedule.name, service, action, given, said)


def _check_group(call: Call) -> None:
    """Where moto fails on a missing group, and replaces one that exists."""
    groups = scheduler_backends[ACCOUNT][call.region].schedule_groups
    if call.action == "CreateScheduleGroup" and call.body["Name"] in groups:
        raise AwsError("ConflictException", f"Schedule group {call.body['Name']} already exists.", 409)
    name = call.body.get("GroupName", "default")
    if call.action == "CreateSchedule" and name not in groups:
        raise AwsError("ResourceNotFoundException", f"Schedule group {name} does not exist.", 404)


def _check_expression(body: Mapping[str, Any]) -> None:
    expression = body["ScheduleExpression"]
    found = AT.match(expression)
    if found is None and not RECURRING.match(expression):
        refuse(f"Invalid Schedule Expression {expression}.")
    if found is None:
        return
    try:
        when = datetime.fromisoformat(found[1])
        zone = ZoneInfo(body.get("ScheduleExpressionTimezone") or "UTC")
    except (ValueError, KeyError):
        refuse(f"Invalid Schedule Expression {expression}.")
    # By the real clock: who moved the cloud's ahead did not move the caller's.
    if when.replace(tzinfo=zone) < datetime.now(UTC):
        refuse(f"Invalid Schedule Expression {expression}: the time is in the past.")
