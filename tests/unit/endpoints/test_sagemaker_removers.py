"""Two removers of one endpoint at once: whoever is second finds it gone and says so, and nothing is left."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from emulators.aws_cloud import AwsCloud

from ragwright.endpoints import EndpointSpec, Lease
from ragwright.endpoints.aws import Aws
from ragwright.endpoints.iam import Place, policy, runner
from ragwright.endpoints.sagemaker import SageMakerHost
from ragwright.errors import EndpointError, RequestRejected
from ragwright.retry import ONCE
from ragwright.settings import Settings

SMALL = EndpointSpec(name="minilm", model="hashing-384", contract="tei")
PLACE = Place(account="123456789012", region="us-east-1", containers="containers", scheduler="dead-mans-switch")
LATER = timedelta(hours=2)

Remove = Callable[[SageMakerHost], object]


def in_finally(host: SageMakerHost) -> object:
    return host.delete("minilm")


def janitor(host: SageMakerHost) -> object:
    return host.reap(datetime.now(UTC) + LATER)


class Stepwise(Aws):
    """Runs something before each of its calls.

    Attributes:
        before: Called with a call's number, from 0, and its operation; in whatever thread makes the call.
        calls: How many there were.
    """

    def __init__(self) -> None:
        super().__init__("us-east-1", retry=ONCE)
        self.start(nothing)

    def start(self, before: Callable[[int, str], object]) -> None:
        self.before, self.calls = before, 0

    def call(self, service: str, operation: str, **parameters: Any) -> Any:
        self.calls += 1
        self.before(self.calls - 1, operation)
        return super().call(service, operation, **parameters)


def nothing(number: int, operation: str) -> None:
    pass


class World:
    """An endpoint's deployer and two removers, each with connections of its own."""

    def __init__(self, cloud: AwsCloud, settings: Settings) -> None:
        self.cloud = cloud
        self.aws = [Stepwise(), Stepwise()]
        self.removers = [SageMakerHost(settings, aws=aws) for aws in self.aws]
        self._deployer = SageMakerHost(settings)
        self._pool = ThreadPoolExecutor(2)

    def deploy(self) -> None:
        for aws in self.aws:
            aws.start(nothing)
        self._deployer.deploy(SMALL, Lease.lasting(owner="me", minutes=60, run_id="run-1"))

    def remove(self, which: int, how: Remove) -> Future[object]:
        return self._pool.submit(how, self.removers[which])

    def close(self) -> None:
        self._pool.shutdown()
        for host in (*self.removers, self._deployer):
            host.close()


@pytest.fixture
def settings(cloud: AwsCloud, on_sagemaker: Callable[..., Settings]) -> Settings:
    # Bound to the tag, permission to delete an endpoint goes with the endpoint: AccessDenied, not "not found".
    cloud.allow_only(policy(runner(PLACE)))
    return on_sagemaker(poll_seconds=0.01)


@pytest.fixture
def world(cloud: AwsCloud, settings: Settings) -> Iterator[World]:
    world = World(cloud, settings)
    yield world
    world.close()


@pytest.mark.parametrize(("first", "second", "step"), [(in_finally, janitor, 1), (janitor, in_finally, 2)])
def test_one_may_be_overtaken_before_any_of_its_calls(world: World, first: Remove, second: Remove, step: int) -> None:
    moment, calls = 0, 1
    while moment < calls:
        world.deploy()
        overtake(world, first, second, moment)
        assert world.cloud.left() == {}
        moment, calls = moment + step, max(calls, world.aws[0].calls)
    assert moment > 10, "calls of one removal"


def overtake(world: World, first: Remove, second: Remove, moment: int) -> None:
    """One remover waits before a call until the other has done all of its work."""

    def wait_for_the_other(number: int, _: str) -> None:
        if number == moment:
            world.remove(1, second).result(timeout=60)

    world.aws[0].start(wait_for_the_other)
    world.remove(0, first).result(timeout=60)


@pytest.mark.parametrize(("remove", "step"), [(in_finally, 1), (janitor, 2)])
def test_the_schedule_may_fire_before_any_call(world: World, remove: Remove, step: int) -> None:
    moment, calls = 0, 1
    while moment < calls:
        world.deploy()
        fire_before(world, remove, moment)
        assert world.cloud.left() == {}
        moment, calls = moment + step, max(calls, world.aws[0].calls)
    assert moment > 10, "calls of one removal"


def fire_before(world: World, remove: Remove, moment: int) -> None:
    def fire(number: int, _: str) -> None:
        if number == moment:
            world.cloud.advance(hours=1.5)
            world.cloud.advance(hours=-1.5)

    world.aws[0].start(fire)
    world.remove(0, remove).result(timeout=60)


@pytest.mark.parametrize("delete_seconds", [0, 0.05])
def test_two_may_take_turns_as_it_comes(world: World, delete_seconds: float) -> None:
    chance = random.Random(7)
    world.cloud.switches.delete_seconds = delete_seconds

    def dawdle(number: int, _: str) -> None:
        time.sleep(chance.random() * 0.02)

    for _ in range(5):
        world.deploy()
        for aws in world.aws:
            aws.start(dawdle)
        for done in [world.remove(0, in_finally), world.remove(1, janitor)]:
            done.result(timeout=60)
        assert world.cloud.left() == {}


@pytest.mark.parametrize(
    ("remove", "action"),
    [
        (in_finally, "sagemaker:DeleteEndpoint"),
        (janitor, "sagemaker:DeleteEndpoint"),
        (janitor, "sagemaker:DeleteEndpointConfig"),
        (janitor, "sagemaker:DeleteModel"),
        (in_finally, "scheduler:DeleteSchedule"),
    ],
)
def test_a_permission_that_is_missing_while_the_thing_is_there_is_told(
    world: World, remove: Remove, action: str
) -> None:
    world.deploy()
    world.cloud.deny(action)
    with pytest.raises(RequestRejected) as caught:
        remove(world.removers[0])
    assert action in caught.value.what
    assert "minilm" in caught.value.what
    assert (caught.value.place or "").startswith("AWS ")
    assert "deploy/iam" in (caught.value.hint or "")
    assert world.cloud.left()["schedules"] == ["minilm"], "until all is gone"


def test_extending_what_was_removed_meanwhile_says_that_it_is_gone(world: World) -> None:
    world.deploy()

    def remove_first(_: int, operation: str) -> None:
        if operation == "add_tags":
            in_finally(world.removers[1])

    world.aws[0].start(remove_first)
    with pytest.raises(EndpointError, match="is gone"):
        world.removers[0].extend("minilm", datetime.now(UTC) + timedelta(hours=3))


def test_a_schedule_that_is_being_changed_is_removed_once_it_is_not(world: World) -> None:
    world.deploy()
    world.cloud.switches.conflicts = 2
    assert world.removers[0].delete("minilm")
    assert world.cloud.left() == {}
