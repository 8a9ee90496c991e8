"""The planner against a model of a store: random histories of edits, crashes, lost reads, rollbacks and vacuums."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragwright.documents import FOREVER
from ragwright.index.plan import Op, Plan, known_records, needs_reading, read_back, reconcile


class Crash(Exception):
    pass


@dataclass
class World:
    """What survives a crash: the store, and what the catalog wrote down."""

    store: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    log: list[int] = field(default_factory=list)
    plans: dict[int, pa.Table] = field(default_factory=dict)
    manifests: dict[int, pa.Table] = field(default_factory=dict)
    promised: dict[int, list[str]] = field(default_factory=dict)
    abandoned: set[int] = field(default_factory=set)
    next: int = 1
    embedded: int = 0

    @property
    def live(self) -> int:
        return self.log[-1] if self.log else 0

    def visible(self, generation: int) -> list[str]:
        return sorted(chunk for chunk, born, died in self.store.values() if born <= generation < died)

    def plan(self, generation: int, desired: set[str]) -> Plan:
        live = self.live
        attempts = [plan for number, plan in sorted(self.plans.items()) if number > live]
        known = known_records(self.manifests.get(live), attempts)
        asked = needs_reading(known)
        there = [record for record in asked if record in self.store]
        found = pa.table(
            {
                "record_id": pa.array(there, pa.string()),
                "died": pa.array([self.store[record][2] for record in there], pa.int64()),
            }
        )
        known = read_back(known, asked, found)
        return reconcile(known, pa.array(sorted(desired), pa.string()), base=live, generation=generation)

    def attempt(self, desired: set[str], fuel: int) -> None:
        generation, self.next = self.next, self.next + 1

        def step() -> None:
            nonlocal fuel
            fuel -= 1
            if fuel < 0:
                raise Crash

        step()
        plan = self.plan(generation, desired)
        self.plans[generation] = plan.operations
        for row in plan.of(Op.INSERT).to_pylist():
            step()
            self.embedded += 1
            self.store[row["record_id"]] = (row["chunk_id"], generation, FOREVER)
        for record in plan.ids(Op.REVIVE, Op.REWRITE):
            step()
            self.store[record] = (*self.store[record][:2], FOREVER)
        for record in plan.ids(Op.MARK):
            step()
            self.store[record] = (*self.store[record][:2], generation)
        for record in plan.ids(Op.DELETE):
            step()
            self.store.pop(record, None)
        step()
        assert self.visible(generation) == sorted(desired)
        shown = plan.of(Op.KEEP, Op.INSERT, Op.REVIVE, Op.REWRITE)
        self.manifests[generation] = shown.select(["record_id", "chunk_id", "born"])
        step()
        self.log.append(generation)
        self.promised[generation] = sorted(desired)

    def rollback(self, generation: int) -> None:
        self.abandoned |= set(range(generation + 1, self.next))
        self.log.append(generation)

    def vacuum(self, keep: int) -> None:
        floor = min((g for g in self.log[-keep:] if g not in self.abandoned), default=0)
        self.store = {record: value for record, value in self.store.items() if value[2] > floor}
        self.manifests = {g: manifest for g, manifest in self.manifests.items() if g >= floor}


CHUNKS = st.sets(st.sampled_from([f"chunk-{n}" for n in range(9)]))
EVENTS = st.one_of(
    st.tuples(st.just("attempt"), CHUNKS, st.one_of(st.integers(0, 14), st.just(10**6))),
    st.tuples(st.just("rollback"), st.integers(0, 5)),
    st.tuples(st.just("vacuum"), st.integers(1, 4)),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=14), CHUNKS)
def test_readers_see_what_was_promised_and_a_rerun_converges(events: list[tuple], last: set[str]) -> None:
    world = World()
    for event in events:
        if event[0] == "attempt":
            with contextlib.suppress(Crash):
                world.attempt(event[1], event[2])
        elif event[0] == "rollback":
            targets = sorted(g for g in set(world.log) if g in world.manifests and g not in world.abandoned)
            if targets:
                world.rollback(targets[event[1] % len(targets)])
        else:
            world.vacuum(event[1])
        if world.log:
            assert world.visible(world.live) == world.promised[world.live]
    world.attempt(last, 10**6)
    assert world.visible(world.live) == sorted(last)
    spent = world.embedded
    world.attempt(last, 10**6)
    assert world.embedded == spent
    assert len(world.plans[world.next - 1].filter(pa.compute.not_equal(world.plans[world.next - 1]["op"], "keep"))) == 0


def known(*records: tuple[str, str, int, int, bool, bool, bool]) -> pa.Table:
    names = ["record_id", "chunk_id", "born", "died", "seen", "touched", "doomed"]
    return pa.Table.from_pylist([dict(zip(names, record, strict=True)) for record in records]) if records else None


@pytest.mark.parametrize(
    ("record", "desired", "op"),
    [
        (("a.1", "a", 1, FOREVER, True, False, False), ["a"], "keep"),
        (("a.1", "a", 1, FOREVER, True, False, False), [], "mark"),
        (("a.1", "a", 1, 6, True, True, False), ["a"], "revive"),
        # An earlier revival may not show yet: what was touched is written again, whatever a read says.
        (("a.1", "a", 1, FOREVER, True, True, False), ["a"], "revive"),
        (("a.1", "a", 1, 6, True, True, False), [], "mark"),
        (("a.6", "a", 6, FOREVER, True, False, False), ["a"], "keep"),
        (("a.6", "a", 6, FOREVER, True, False, False), [], "delete"),
        # A delete may not show yet: the record is written again under its id.
        (("a.6", "a", 6, FOREVER, True, False, True), ["a"], "rewrite"),
        # An insert may not show yet: it must not appear later beside its successor.
        (("a.6", "a", 6, FOREVER, False, False, False), [], "delete"),
    ],
)
def test_the_fate_of_one_record(record: tuple, desired: list[str], op: str) -> None:
    plan = reconcile(known(record), pa.array(desired, pa.string()), base=5, generation=7)
    assert plan.operations.to_pylist() == [{"op": op, "record_id": record[0], "chunk_id": "a", "born": record[2]}]


def test_an_insert_that_is_not_seen_is_embedded_again_under_a_new_id() -> None:
    plan = reconcile(known(("a.6", "a", 6, FOREVER, False, False, False)), pa.array(["a"]), base=5, generation=7)
    assert plan.ids(Op.INSERT) == ["a.7"]
    assert plan.ids(Op.DELETE) == ["a.6"]


def test_history_is_left_alone() -> None:
    plan = reconcile(known(("a.1", "a", 1, 3, True, False, False)), pa.array(["a"]), base=5, generation=7)
    assert plan.counts() == {"keep": 0, "insert": 1, "revive": 0, "rewrite": 0, "mark": 0, "delete": 0, "lost": 0}


flags = st.tuples(st.sampled_from([FOREVER, FOREVER, 3, 6]), st.booleans(), st.booleans(), st.booleans())
records = st.dictionaries(st.tuples(st.sampled_from("abcd"), st.integers(1, 6)), flags, min_size=1, max_size=10)


@given(records, st.lists(st.sampled_from("abcde"), unique=True))
def test_records_that_plainly_stay_are_decided_as_the_others_are(
    known_by_id: dict[tuple[str, int], tuple], desired: list[str]
) -> None:
    there = known(*((f"{chunk}.{born}", chunk, born, *rest) for (chunk, born), rest in known_by_id.items()))
    wanted = pa.array(desired, pa.string())
    found = reconcile(there, wanted, base=5, generation=7)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("ragwright.index.plan._plainly_kept", lambda known, _: np.zeros(len(known), bool))
        expected = reconcile(there, wanted, base=5, generation=7)
    others = [
        one.operations.filter(pa.compute.not_equal(one.operations["op"], "keep")).to_pylist()
        for one in (found, expected)
    ]
    assert others[0] == others[1]
    assert found.operations.sort_by("record_id") == expected.operations.sort_by("record_id")
