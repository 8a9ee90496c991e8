"""What a test can have go wrong in the cloud on loopback."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from emulators.aws_conditions import hold

NoCapacity = Literal["at create", "while starting"]


@dataclass
class Switches:
    """Set any of these at any time; `AwsCloud.reset` sets all of them back.

    Attributes:
        start_seconds: How long an endpoint is Creating or Updating at least, on the cloud's clock.
        delete_seconds: How long it is Deleting, on the cloud's clock.
        failing_starts: FailureReason by endpoint name; "*" means every endpoint.
        no_capacity: By instance type: CreateEndpoint refuses, or the endpoint becomes Failed.
        quotas: Instances for endpoint usage by instance type; any number of the types that are not named.
        invoke_seconds: How long a container may take to answer.
        model_delay: Seconds that every answer takes longer.
        most_at_once: Invocations at once, before the others are throttled; None: any number.
        conflicts: Changes to schedules that are refused because another one is going on.
        replies: (status, body) that containers give before they answer properly again, one an invocation.
        part_bytes: Streamed replies come in parts of so many bytes; None: as the container sends them.
        break_stream_after: Streamed replies break off after so many parts, with this error of the stream, or in the
            middle of a frame if it is empty; None: they do not.
    """

    start_seconds: float = 0
    delete_seconds: float = 0
    failing_starts: dict[str, str] = field(default_factory=dict)
    no_capacity: dict[str, NoCapacity] = field(default_factory=dict)
    quotas: dict[str, int] = field(default_factory=dict)
    invoke_seconds: float = 60
    model_delay: float = 0
    most_at_once: int | None = None
    conflicts: int = 0
    replies: deque[tuple[int, bytes]] = field(default_factory=deque)
    part_bytes: int | None = None
    break_stream_after: tuple[int, str] | None = None


@dataclass
class Permissions:
    """What the caller may do: everything, unless something is denied or only policies are allowed."""

    denied: set[str] = field(default_factory=set)
    policies: list[Mapping[str, Any]] | None = None

    def allows(self, service: str, action: str, resource: str, context: Mapping[str, str] | None = None) -> bool:
        """Whether the caller may; without a context, whether it might under the right conditions."""
        name = f"{service}:{action}"
        if any(_like(name, pattern) for pattern in self.denied):
            return False
        if self.policies is None or name == "sts:GetCallerIdentity":
            return True
        said = [
            statement["Effect"]
            for policy in self.policies
            for statement in _several(policy["Statement"])
            if any(_like(name, pattern) for pattern in _several(statement["Action"]))
            and any(resource == "*" or fnmatchcase(resource, pattern) for pattern in _several(statement["Resource"]))
            and (context is None or hold(statement.get("Condition", {}), context))
        ]
        return "Allow" in said and "Deny" not in said


@dataclass
class Throttle:
    """Refuses a share of the requests for an action, evenly spread."""

    share: float
    _due: float = 0

    def refuses(self) -> bool:
        self._due += self.share
        if self._due < 1:
            return False
        self._due -= 1
        return True


def _like(name: str, pattern: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower())


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
