"""Taking endpoints on SageMaker away. Several removers may be at it: what the others were faster with is done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ragwright.endpoints.aws import is_denied, is_in_progress, is_missing
from ragwright.endpoints.dead_man import START_MARGIN, DeadManSwitch
from ragwright.endpoints.sagemaker_plan import Tags, is_name, lease_from
from ragwright.endpoints.sagemaker_resources import KINDS, Resources, Seen
from ragwright.errors import GuardRefused, RagwrightError


class Remover:
    """Removes endpoints, what belongs to them, and at last their dead man's switch."""

    def __init__(self, resources: Resources, switch: DeadManSwitch) -> None:
        self._resources, self._switch = resources, switch

    def remove(self, seen: Seen) -> None:
        """Delete an endpoint and return when it is gone; waits while SageMaker refuses, since it starts or changes.

        Raises:
            GuardRefused: It is somebody else's.
            RagwrightError: AWS refuses, and the endpoint is still there.
        """
        if seen.tags is None:
            raise foreign(seen.name)
        denied: RagwrightError | None = None
        for _ in self._resources.looks(f"endpoint {seen.name!r} is not gone"):
            described = self._resources.describe(seen.name)
            if described is None or described["CreationTime"] != seen.created_at:
                return
            if described["EndpointStatus"] == "Deleting":
                continue
            if denied is not None:
                raise denied
            try:
                self._resources.call("delete_endpoint", EndpointName=seen.name)
            except RagwrightError as error:
                # Its tag, on which the permission rests, goes with the endpoint: the next look tells which it was.
                if is_denied(error):
                    denied = error
                elif not (is_missing(error) or is_in_progress(error)):
                    raise

    def clear(self, name: str) -> None:
        """Remove what an endpoint that is not there left: configurations, models, and at last the switch."""
        self._resources.sweep(name)
        there = self._resources.look(name)
        if there is not None and there.tags is not None:
            return
        # Somebody else's endpoint by this name must not be deleted by our switch.
        if self._switch.disarm(name):
            # One that was created meanwhile believes its switch to be armed.
            seen = self._resources.look(name)
            if seen is not None and seen.lease is not None:
                self._switch.arm(name, seen.lease.expires_at + START_MARGIN)

    def reap(self, now: datetime) -> Sequence[str]:
        """Remove what is left of endpoints whose lease has lapsed at `now`, whoever owns them; their names.

        Somebody's failure to go does not keep the others: its error is raised once they are gone.
        """
        failures: list[RagwrightError] = []
        reaped = []
        for name in sorted(self._lapsed(now)):
            try:
                seen = self._resources.look(name)
                if seen is not None and seen.tags is not None and not is_over(seen, now):
                    continue  # prolonged or deployed again since
                if seen is not None and seen.tags is not None:
                    self.remove(seen)
                self.clear(name)
                reaped.append(name)
            except RagwrightError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return reaped

    def _lapsed(self, now: datetime) -> set[str]:
        """Names of endpoints that are past their lease, or are gone and left something."""
        seen_all = self._resources.look_at_all()
        lapsed = {seen.name for seen in seen_all if is_over(seen, now)}
        alive = {seen.name for seen in seen_all} - lapsed
        for kind in KINDS:
            for left in self._resources.litter(kind):
                name = left.tags.get("endpoint", "")
                if is_name(name) and name not in alive and _has_ended(left.tags, now):
                    lapsed.add(name)
        for name in self._switch.endpoints():
            due = self._switch.due(name) if name not in alive | lapsed else None
            if due is not None and due <= now:
                lapsed.add(name)
        return lapsed


def is_over(seen: Seen, now: datetime | None = None) -> bool:
    """Whether the lease of an endpoint has ended; one that cannot be read has."""
    return seen.lease is None or seen.lease.expires_at <= (now or datetime.now(UTC))


def foreign(name: str) -> GuardRefused:
    """What is told of an endpoint without our tags."""
    return GuardRefused(
        f"endpoint {name!r} is not ragwright's: it has none of its tags",
        hint="Choose another name, or delete it by hand.",
    )


def _has_ended(tags: Tags, now: datetime) -> bool:
    lease = lease_from(tags)
    return lease is None or lease.expires_at <= now
