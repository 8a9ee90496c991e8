"""Endpoints on SageMaker: what costs money there is created behind a dead man's switch and goes away with its lease."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from ragwright.endpoints import Endpoint, EndpointInfo, EndpointSpec, EndpointStatus, Lease
from ragwright.endpoints.aws import Aws, is_in_progress, is_missing, is_taken
from ragwright.endpoints.dead_man import START_MARGIN, DeadManSwitch
from ragwright.endpoints.sagemaker_plan import Plan, Variant, is_name, lease_tags, plan_for, spec_from
from ragwright.endpoints.sagemaker_removal import Remover, foreign, is_over
from ragwright.endpoints.sagemaker_resources import Gone, Resources, Seen, is_no_capacity
from ragwright.errors import ConfigurationError, EndpointError, RagwrightError, TimedOut, Unavailable
from ragwright.settings import Settings

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 30.0


class SageMakerHost:
    """An `EndpointHost` on SageMaker.

    Models and configurations are named by their content and endpoints by their spec, so what was begun twice or by two
    processes at once is one thing. What an endpoint runs is written in the tags of its configuration, which never
    change, and whose it is until when in its own. Endpoints without our tags are left alone, even when asked.

    A spec's options are `preset`, `instance_type` and `instances`.

    Args:
        settings: The section `sagemaker`, the retry policy, and the home, where image addresses are cached.
        aws: How it calls AWS; by default as the settings say.
    """

    def __init__(self, settings: Settings, *, aws: Aws | None = None) -> None:
        self._settings = settings
        self._aws = aws or Aws(settings.sagemaker.region, retry=settings.retry)
        self._resources = Resources(self._aws, settings.sagemaker)
        self._switch = DeadManSwitch(self._aws, settings.sagemaker)
        self._remover = Remover(self._resources, self._switch)

    def deploy(self, spec: EndpointSpec, lease: Lease) -> EndpointInfo:
        """Create an endpoint, keep the one that runs this spec, or update one that runs another."""
        plan = plan_for(spec, self._settings, region=self._aws.region)
        lease_tags(lease)
        if lease.expires_at <= datetime.now(UTC):
            raise ConfigurationError(f"the lease of endpoint {spec.name!r} is over already: {lease.expires_at}")
        for _ in self._resources.looks(f"endpoint {spec.name!r} is still changing"):
            seen = self._resources.look(spec.name)
            if seen is None:
                if self._create(plan, lease, plan.variants):
                    break
            elif seen.tags is None:
                raise foreign(spec.name)
            elif seen.status in (EndpointStatus.FAILED, EndpointStatus.DELETING) or is_over(seen):
                self._remover.remove(seen)
                self._resources.sweep(seen.name)  # its model may carry a token that is no longer good
            elif seen.spec_tags.get("spec") == plan.digest:
                with suppress(Gone):
                    self._prolong(seen, lease.expires_at)
                    if seen.missed_its_update:  # what it went back to is what is wanted now
                        self._resources.say(seen.arn, {"config": seen.config})
                    break
            elif not seen.is_settled:
                continue
            elif seen.is_serverless != plan.is_serverless:  # the one thing that an update cannot change
                self._remover.remove(seen)
            elif self._update(seen, plan, lease, plan.variants):
                break
        return self.describe(spec.name)

    def wait(self, names: Sequence[str], *, timeout: float) -> list[EndpointInfo]:
        """Return when all are in service; where there is no capacity, go on to the next instance type."""
        deadline = time.monotonic() + timeout
        pause = self._settings.sagemaker.poll_seconds
        while True:
            seen = [self._look_again(name) for name in names]
            waiting = [name for name, one in zip(names, seen, strict=True) if one is None or not self._serves(one)]
            if not waiting:
                return [one.info() for one in seen if one is not None]
            if (left := deadline - time.monotonic()) <= 0:
                raise TimedOut(
                    f"endpoint {waiting[0]!r} is not in service after {timeout:g} s",
                    place=self._log_link(waiting[0]),
                    hint="Give it longer with RAGWRIGHT_ENDPOINTS__START_TIMEOUT_SECONDS, or read its log.",
                )
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)

    def describe(self, name: str) -> EndpointInfo:
        """Look at the endpoint, its tags and its configuration's."""
        return self._known(name).info()

    def list(self, *, owner: str | None = None) -> list[EndpointInfo]:
        """All endpoints with our tags, or one owner's, by name."""
        infos = [seen.info() for seen in self._resources.look_at_all()]
        return [info for info in infos if owner in (None, info.owner)]

    def extend(self, name: str, until: datetime) -> EndpointInfo:
        """Move a lease's end to `until` if that is later; a lapsed lease stays lapsed (`EndpointError`)."""
        seen = self._known(name)
        if is_over(seen):
            raise EndpointError(
                f"the lease of endpoint {name!r} is over; it is about to be deleted",
                hint="Deploy it again: `ragwright endpoints up`.",
            )
        self._prolong(seen, until)
        return self.describe(name)

    def delete(self, name: str) -> bool:
        """Delete an endpoint, its configurations and models, and at last its switch; whether there was an endpoint."""
        if not is_name(name):
            return False
        seen = self._resources.look(name)
        if seen is not None:
            self._remover.remove(seen)
        self._remover.clear(name)
        return seen is not None

    def reap(self, now: datetime) -> Sequence[str]:
        """Remove what is left of endpoints whose lease has lapsed at `now`, whoever owns them; their names."""
        return self._remover.reap(now)

    def connect(self, name: str, *, timeout: float = 60) -> Endpoint:
        """Open the data plane of an endpoint in service."""
        from ragwright.endpoints.sagemaker_runtime import SageMakerEndpoint

        seen = self._known(name)
        if seen.status in (EndpointStatus.FAILED, EndpointStatus.DELETING):
            raise self._start_failed(seen)
        if seen.state == "Creating":
            raise Unavailable(f"endpoint {name!r} is not in service yet", hint="Wait for it first.")
        most = self._settings.sagemaker.max_concurrency
        limit = seen.spec_tags.get("max-concurrency", "")
        return SageMakerEndpoint(
            name,
            seen.info().contract,
            region=self._aws.region,
            timeout=timeout,
            max_concurrency=min(most, int(limit)) if limit.isdigit() else most,
            accept_eula=seen.spec_tags.get("preset") in self._settings.sagemaker.accept_eula,
        )

    def close(self) -> None:
        """Give back connections; the endpoints go on."""
        self._aws.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _create(self, plan: Plan, lease: Lease, variants: Sequence[Variant]) -> bool:
        """Create an endpoint on the first capacity that has room; False if another process was faster."""
        name = plan.spec.name
        attempt = uuid.uuid4().hex
        refusals = []
        with self._undone(lambda: self._undo_creation(name, attempt)):
            self._arm(name, plan, lease)
            for variant in variants:
                try:
                    self._resources.ensure_config(plan, variant, lease)
                    self._resources.call(
                        "create_endpoint",
                        EndpointName=name,
                        EndpointConfigName=variant.config_name,
                        Tags=self._resources.endpoint_tags(variant, lease, attempt),
                    )
                except RagwrightError as error:
                    if is_no_capacity(error):
                        log.warning("no room for endpoint %s on %s: %s", name, variant.capacity, error)
                        refusals.append(f"{variant.capacity}: {error.what}")
                        continue
                    if is_taken(error) or is_missing(error):
                        return False
                    raise
                if not self._switch.is_armed(name):  # somebody cleared away what an earlier endpoint left
                    self._arm(name, plan, lease)
                return True
            raise _no_room(name, refusals)

    def _update(self, seen: Seen, plan: Plan, lease: Lease, variants: Sequence[Variant]) -> bool:
        """Have an endpoint run another spec, in place; False if something else is going on with it."""
        refusals = []
        with self._undone(lambda: self._undo_update(seen)):
            self._arm(seen.name, plan, lease)
            for variant in variants:
                try:
                    self._resources.ensure_config(plan, variant, lease)
                    self._resources.mark(seen.arn, variant, lease)
                    self._resources.change("update_endpoint", seen.name, EndpointConfigName=variant.config_name)
                except RagwrightError as error:
                    if is_no_capacity(error):
                        log.warning("no room for endpoint %s on %s: %s", seen.name, variant.capacity, error)
                        refusals.append(f"{variant.capacity}: {error.what}")
                        continue
                    if isinstance(error, Gone) or is_in_progress(error) or is_missing(error):
                        return False
                    raise
                return True
            raise _no_room(seen.name, refusals)

    def _undo_creation(self, name: str, attempt: str) -> None:
        seen = self._resources.look(name)
        if seen is not None and (seen.tags or {}).get("attempt") == attempt:
            self._remover.remove(seen)
        self._remover.clear(name)

    def _undo_update(self, seen: Seen) -> None:
        now = self._resources.look(seen.name)
        if now is None or not now.is_settled or now.config != seen.config:
            return  # the update is under way after all, or somebody else's is
        self._resources.say(seen.arn, seen.tags or {})
        if seen.lease is not None:
            self._switch.arm(seen.name, seen.lease.expires_at)
        self._resources.sweep(seen.name)

    def _serves(self, seen: Seen) -> bool:
        """Whether an endpoint is in service with what was deployed; tries the next capacity where one had no room."""
        if seen.missed_its_update or seen.status is EndpointStatus.FAILED:
            self._go_on(seen)
            return False
        if seen.status is EndpointStatus.DELETING:
            raise self._start_failed(seen)
        return seen.status is EndpointStatus.IN_SERVICE

    def _go_on(self, seen: Seen) -> None:
        spec, lease = spec_from(seen.wanted_tags), seen.lease
        if spec is None or lease is None or not is_no_capacity(seen.failure or ""):
            raise self._start_failed(seen)
        plan = plan_for(spec, self._settings, region=self._aws.region)
        rest = plan.after(seen.wanted_tags.get("instance-type", ""))
        if plan.digest != seen.wanted_tags.get("spec") or not rest:
            raise self._start_failed(seen)
        log.warning("no room for endpoint %s: %s; trying %s", seen.name, seen.failure, rest[0].capacity)
        if seen.missed_its_update:
            self._update(seen, plan, lease, rest)
        else:
            self._remover.remove(seen)
            self._create(plan, lease, rest)

    def _arm(self, name: str, plan: Plan, lease: Lease) -> None:
        started = datetime.now(UTC) + timedelta(seconds=plan.preset.startup_seconds) + START_MARGIN
        self._switch.arm(name, max(lease.expires_at, started))

    def _prolong(self, seen: Seen, until: datetime) -> None:
        lease = seen.lease
        if lease is None or until <= lease.expires_at:
            return
        # First the switch: a promised lease must not be cut short by it. For the start it may be set to later already.
        self._switch.arm(seen.name, max(until, self._switch.due(seen.name) or until))
        self._resources.say(seen.arn, {"expires-at": until.isoformat()})

    def _known(self, name: str) -> Seen:
        seen = self._resources.look(name) if is_name(name) else None
        if seen is None or seen.tags is None:
            raise EndpointError(
                f"there is no endpoint {name!r} of ragwright's in {self._aws.region}",
                hint="See `ragwright endpoints ls`.",
            )
        return seen

    def _look_again(self, name: str) -> Seen | None:
        """Look at an endpoint; None while it is missing for a moment, as its switch tells."""
        seen = self._resources.look(name) if is_name(name) else None
        if seen is None and is_name(name) and self._switch.is_armed(name):
            return None
        return self._known(name) if seen is None or seen.tags is None else seen

    @contextmanager
    def _undone(self, undo: Callable[[], object]) -> Iterator[None]:
        """Undo what the block did if it fails; the block's own error is the one to tell."""
        try:
            yield
        except BaseException:
            try:
                undo()
            except RagwrightError as error:
                log.warning("not everything could be undone; the janitor will: %s", error)
            raise

    def _start_failed(self, seen: Seen) -> EndpointError:
        reason = seen.failure or ("it is being deleted" if seen.state == "Deleting" else f"it is {seen.state}")
        what = "did not change to what was deployed" if seen.missed_its_update else "is not in service"
        return EndpointError(
            f"endpoint {seen.name!r} {what}: {reason}",
            place=self._log_link(seen.name),
            hint="Mend what the log says and deploy again.",
        )

    def _log_link(self, name: str) -> str:
        region = self._aws.region
        group = f"$252Faws$252Fsagemaker$252FEndpoints$252F{name}"  # the console escapes twice, with $ for %
        return f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{group}"


def _no_room(name: str, refusals: Sequence[str]) -> EndpointError:
    return EndpointError(
        f"no instance type has room for endpoint {name!r}: {'; '.join(refusals)}",
        hint="Raise the quota, add an instance type to its preset, or try later.",
    )
