"""Random histories of an index: edits, runs in which anything may go wrong, rollbacks, vacuums, damage and repair."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from effort import EFFORT
from faulty_store import LaggingStore
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from index_world import Run, World
from promised_index import CHUNKERS, Row
from simulated_process import Clock, Trouble

from ragwright.errors import (
    CatalogError,
    GateBlocked,
    LeaseLost,
    NotVisibleYet,
    PublishConflict,
    StoreError,
    WriterBusy,
)
from ragwright.index.history import generations
from ragwright.maintenance import audit_live
from ragwright.stores.lancedb import LanceDBStore
from ragwright.stores.memory import MemoryStore

ANSWERS = [
    "",
    "Short answer.",
    "Another short answer.",
    "This answer has one sentence. It has a second one, too. With a third one it must be cut.",
]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["add", "edit", "delete", "move", "repeat", "go back"]),
        st.integers(0, 20),
        st.sampled_from(ANSWERS),
    ),
    max_size=3,
)
HOW = st.sampled_from(["dies half-way", "dies after", "dies before", "half", "lost", "refused"])
TROUBLES = st.lists(
    st.one_of(
        st.builds(Trouble, on=st.just("store"), at=st.integers(1, 6), kind=HOW),
        st.builds(Trouble, on=st.just("store"), at=st.integers(2, 4), kind=HOW),
        st.builds(Trouble, on=st.just("catalog"), at=st.integers(1, 24), kind=HOW),
        st.builds(Trouble, on=st.just("reading"), at=st.integers(1, 40), kind=st.just("refused")),
    ),
    min_size=1,
    max_size=2,
).map(tuple)


class IndexMachine(RuleBasedStateMachine):
    """Readers see whole generations, whatever happens; and a run to which nothing happens puts everything right."""

    make_store: Callable[[Path], Any]
    remote: bool

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="index-machine-")
        self.patch = pytest.MonkeyPatch()
        self.written = 0
        self.told: list[str] = []

    @initialize(lag=st.sampled_from([0.0, 2.0, 90.0]), retries=st.sampled_from([1, 1, 3]))
    def begin(self, lag: float, retries: int) -> None:
        clock, folder = Clock(), Path(self.folder.name)
        store = LaggingStore(clock, lag) if self.remote and lag else self.make_store(folder)
        self.world = World(folder, self.patch, store, clock, remote=self.remote, retries=retries)
        self.versions = [list(self.world.rows)]

    def tell(self, what: str) -> None:
        """Put something between the steps of a history that failed; hypothesis takes notes in its own thread only."""
        self.told.append(what)
        if threading.current_thread() is threading.main_thread():
            note("; ".join(self.told))
            self.told.clear()

    # What happens to the source and the settings

    def edit(self, edits: list[tuple[str, int, str]]) -> None:
        rows = self.world.rows
        for what, number, answer in edits:
            at = number % len(rows)
            self.written += 1
            if what == "add":
                rows.insert(at, Row(f"n{self.written}", f"Q{number}?", answer))
            elif what == "edit":
                rows[at] = rows[at]._replace(answer=answer)
            elif what == "delete" and len(rows) > 2:
                del rows[at]
            elif what == "move":
                rows.append(rows.pop(at))
            elif what == "repeat":
                rows.append(rows[at]._replace(id=f"n{self.written}"))
            elif what == "go back":
                rows[:] = self.versions[number % len(self.versions)]
        if not any(row.answer for row in rows):
            rows[0] = rows[0]._replace(answer="Not blank.")
        del rows[9:]
        self.versions.append(list(rows))
        self.world.write_source()

    @rule(number=st.integers(0, 4))
    def change_a_setting(self, number: int) -> None:
        if number < len(CHUNKERS):
            self.world.chunking = CHUNKERS[number]
        else:
            self.world.lease_clock.wrong -= 3600.0

    # What is done to the index

    @rule(edits=EDITS, full=st.booleans(), resume=st.booleans(), blocked=st.booleans(), how=st.integers(0, 3))
    def run(self, edits: Any, full: bool, resume: bool, blocked: bool, how: int) -> None:
        """A run to which nothing happens; every fourth is asked for something special."""
        self.edit(edits)
        special = {"full": full, "resume": resume, "blocked": blocked} if how == 0 else {}
        if how == 1 and not isinstance(self.world.store, LaggingStore):
            self.preview_and_run()
        else:
            self.undisturbed(**special)

    @rule(
        edits=EDITS,
        troubles=TROUBLES,
        short=st.none() | st.integers(1, 3),
        full=st.integers(0, 5),
        resume=st.booleans(),
    )
    def run_into_trouble(self, edits: Any, troubles: Any, short: int | None, full: int, resume: bool) -> None:
        self.edit(edits)
        self.wait_for_the_lease()
        process = self.world.process(troubles=troubles, short_batches=frozenset([short]) if short else frozenset())
        done = self.world.run(process, full=full == 0, resume=resume)
        self.tell(f"{process.number}: {done.error!r}")
        if not process.reached and not isinstance(done.error, NotVisibleYet):
            assert done.error is None
        self.world.check_everything()

    @rule(
        tries=st.lists(
            st.tuples(st.integers(0, 20), st.builds(Trouble, on=st.just("store"), at=st.integers(2, 5), kind=HOW)),
            min_size=2,
            max_size=4,
        )
    )
    def fail_again_and_again(self, tries: list[tuple[int, Trouble]]) -> None:
        """One run after another comes to grief among its writes, while the source goes back and forth."""
        for version, trouble in tries:
            self.run_into_trouble([("go back", version, "")], (trouble,), None, full=1, resume=False)

    @rule(
        edits=EDITS,
        at=st.integers(1, 60),
        lapsed=st.sampled_from([None, "stopped", "asleep"]),
        troubles=st.just(()) | TROUBLES,
    )
    def run_twice_at_once(self, edits: Any, at: int, lapsed: str | None, troubles: Any) -> None:
        """Another writer begins between two calls of the first; or takes over from it, if it slept for too long."""
        self.edit(edits)
        self.wait_for_the_lease()
        world, seconds = self.world, []
        first = world.process()

        def another() -> None:
            held = world.holder()
            if lapsed:
                world.let_lease_lapse(asleep=lapsed == "asleep")
            second = world.process(troubles=troubles)
            seconds.append((held, world.run(second)))

        first.interruptions = {at: another}
        done = world.run(first)
        self.tell(f"first: {done.error!r}, second: {[(held, second.error) for held, second in seconds]}")
        for held, second in seconds:
            if held == first.number and not lapsed and not second.process.reached:
                assert isinstance(second.error, WriterBusy)
            if second.report and done.report:
                assert held is None or lapsed  # one after the other
            if second.error is None and held == first.number and done.error:
                late = isinstance(done.error, NotVisibleYet) and isinstance(world.store, LaggingStore)
                assert late or isinstance(done.error, (LeaseLost, PublishConflict, WriterBusy))
        world.check_everything()

    @rule(edits=EDITS, at=st.integers(1, 60))
    def roll_back_during_a_run(self, edits: Any, at: int) -> None:
        self.edit(edits)
        self.wait_for_the_lease()
        process = self.world.process()
        process.interruptions = {at: self.go_back}
        done = self.world.run(process)
        self.tell(f"{done.error!r}")
        assert done.error is None or isinstance(done.error, (PublishConflict, NotVisibleYet))
        self.world.check_everything()

    def go_back(self, to: int | None = None, troubles: Any = ()) -> None:
        targets = self.world.targets() if self.world.live else []
        if not targets:
            return
        target = targets[-1] if to is None else targets[to % len(targets)]
        process = self.world.process(troubles=troubles)
        error = self.world.roll_back(process, target)
        self.tell(f"rollback to {target}: {error!r}")
        assert error is None or process.reached
        if self.world.live.kind == "rollback":
            self.world.retained = {kept for kept in self.world.retained if kept <= self.world.live.generation}

    @precondition(lambda self: self.world.live)
    @rule(to=st.integers(0, 5), troubles=st.just(()) | TROUBLES)
    def roll_back(self, to: int, troubles: Any) -> None:
        self.go_back(to, troubles)
        self.world.check_everything()

    @precondition(lambda self: self.world.live)
    @rule(
        keep=st.integers(1, 4),
        troubles=st.just(()) | TROUBLES,
        meanwhile=st.sampled_from([None, "rollback", "run"]),
        at=st.integers(1, 40),
        to=st.integers(0, 5),
    )
    def vacuum(self, keep: int, troubles: Any, meanwhile: str | None, at: int, to: int) -> None:
        """Somebody may roll back in the middle, or take over from a vacuum that was stopped for too long."""
        self.wait_for_the_lease()
        world = self.world
        kept = sorted(world.readable())[-keep:]
        process = world.process(troubles=troubles)

        def take_over() -> None:
            world.let_lease_lapse()
            self.tell(f"run: {world.run(world.process()).error!r}")

        if meanwhile:
            process.interruptions = {at: take_over if meanwhile == "run" else lambda: self.go_back(to)}
        world.retained &= set(kept)
        error = world.vacuum(process, keep)
        self.tell(f"vacuum: {error!r}")
        if not process.reached:
            assert error is None or (meanwhile == "run" and isinstance(error, (LeaseLost, WriterBusy)))
            assert meanwhile or world.readable() == {*kept}
        if meanwhile == "run":
            world.retained &= world.readable()  # what it published counts among those kept
        world.check_everything()

    @rule(first=EDITS, then=st.none() | EDITS, which=st.integers(0, 1), troubles=st.just(()) | TROUBLES)
    def publish_what_was_blocked(self, first: Any, then: Any, which: int, troubles: Any) -> None:
        """A person's word makes a candidate live as it was judged, or not at all if a later run changed its records."""
        for edits in [first] if then is None else [first, then]:
            self.edit(edits)
            self.undisturbed(blocked=True)
        world = self.world
        blocked = [info.generation for info in generations(world.catalog) if info.state == "blocked"]
        if not blocked:
            return
        chosen = blocked[which % len(blocked)]
        process = world.process(troubles=troubles)
        error = world.release(process, chosen)
        self.tell(f"publish {chosen}: {error!r}")
        assert error is None or process.reached or isinstance(error, (CatalogError, StoreError))
        if world.live and world.live.generation == chosen:
            world.retained.add(chosen)
        world.check_everything()

    @precondition(
        lambda self: self.world.live and not self.world.broken and not isinstance(self.world.store, LaggingStore)
    )
    @rule(
        how=st.sampled_from(["missing", "ended", "altered", "unpromised"]),
        which=st.integers(0, 20),
        troubles=st.just(()) | TROUBLES,
    )
    def break_and_mend(self, how: str, which: int, troubles: Any) -> None:
        """Behind the library's back a record goes wrong: `verify` says so, and a repair puts it right."""
        self.wait_for_the_lease()
        world = self.world
        world.chunking = world.promised[world.live.generation].chunking
        assert not self.audit().damage
        world.break_record(how, which)
        found = self.audit()
        kind = {"ended": "missing"}.get(how, how)
        assert found.to_json()["damage"] == {kind: 1}
        process = world.process(troubles=troubles)
        self.mend(process)
        if world.live.generation == found.generation:
            self.wait_for_the_lease()
            self.mend(world.process())
        assert not self.audit().damage
        world.check_everything()

    def mend(self, process: Any) -> None:
        done = self.world.run(process, repair=True)
        self.tell(f"mend: {done.error!r}")
        assert done.error is None or process.reached

    @precondition(lambda self: self.world.live)
    @rule()
    def verify(self) -> None:
        """`verify` tells the truth about a store that nobody broke, and about the source."""
        self.world.settle()
        found = self.audit()
        assert not found.damage
        live = self.world.promised[found.generation]
        rows, shown = set(self.world.rows), {Row(key, *content) for key, content in live.rows.items()}
        assert found.true == (shown <= rows <= live.source)
        self.world.check_search()

    def audit(self) -> Any:
        world = self.world
        return world.within(world.process(), lambda: audit_live(world.settings))

    # Putting it right

    def wait_for_the_lease(self) -> None:
        """A dead writer's lease keeps others out for as long as its requests may be under way, and no longer."""
        if self.world.holder() is not None and not self.world.lease_lapsed():
            done = self.world.run(self.world.process())
            assert isinstance(done.error, WriterBusy)
            self.world.let_lease_lapse()

    def undisturbed(self, *, blocked: bool = False, **options: bool) -> Run:
        """A run to which nothing happens shows the source as it is, whatever happened before."""
        self.wait_for_the_lease()
        world = self.world
        before = world.promised[world.live.generation] if world.live else None
        done = world.run(world.process(), blocked=blocked, **options)
        if isinstance(done.error, NotVisibleYet):
            assert isinstance(world.store, LaggingStore)
            assert world.store.lag > 30
        elif blocked:
            assert isinstance(done.error, GateBlocked)
        else:
            assert done.error is None, repr(done.error)
            assert done.report.generation == world.live.generation
            assert world.promised[world.live.generation] == world.promise()
            world.check_ledger(done, before)
            world.retained.add(world.live.generation)
        world.check_everything()
        return done

    def preview_and_run(self) -> None:
        """A preview tells what the run then does."""
        self.wait_for_the_lease()
        world = self.world
        seen = world.preview()
        report = self.undisturbed().report
        ended = report.plan["mark"] + report.plan["delete"]
        kept = report.plan["keep"] + report.plan["revive"] + report.plan["rewrite"]
        assert (seen.ledger, seen.embed, seen.end, seen.keep) == (report.ledger, report.embedded, ended, kept)

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.world.settle()  # for as long as the store lags
                if isinstance(self.world.store, LaggingStore):
                    self.world.store.lag = 2.0
                self.undisturbed()
                again = self.undisturbed()
                assert (again.report.embedded, again.report.written) == (0, 0)
                assert self.audit().true
                self.world.check_search()
        finally:
            self.patch.undo()
            self.folder.cleanup()


class LocalMachine(IndexMachine):
    """A store that shows writes at once and dies with its process."""

    remote = False
    make_store = staticmethod(lambda _: MemoryStore())


class RemoteMachine(IndexMachine):
    """A store whose requests outlive their process, and whose reads lag."""

    remote = True
    make_store = staticmethod(lambda _: MemoryStore())


class LanceDBMachine(IndexMachine):
    """The store on disk."""

    remote = False
    make_store = staticmethod(lambda folder: LanceDBStore(folder / "store"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Handing tables of ten rows to a pool takes longer than reading them."""
    before = pa.cpu_count()
    pa.set_cpu_count(1)
    yield
    pa.set_cpu_count(before)


@pytest.mark.slow
@pytest.mark.timeout(900 * EFFORT)  # to shrink a history that fails takes minutes
@pytest.mark.parametrize(("machine", "histories"), [(LocalMachine, 25), (RemoteMachine, 35), (LanceDBMachine, 6)])
@pytest.mark.usefixtures("one_thread")
def test_readers_see_whole_generations_whatever_happens(machine: type[IndexMachine], histories: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories * EFFORT,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
