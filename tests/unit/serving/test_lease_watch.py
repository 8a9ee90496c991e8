from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.errors import ConfigurationError
from ragwright.serving.lease import LeaseWatch

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clocks:
    """A wall clock that can be set and a monotonic one that cannot."""

    def __init__(self) -> None:
        self.wall, self.steady = NOON, 1000.0

    def pass_time(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.steady += seconds

    def watch(self, path: Path) -> LeaseWatch:
        return LeaseWatch(path, now=lambda: self.wall, monotonic=lambda: self.steady)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "lease.json", NOON + timedelta(seconds=60))
    return tmp_path / "lease.json"


def write(path: Path, expires_at: datetime) -> None:
    path.write_text(json.dumps({"expires_at": expires_at.isoformat(), "owner": "somebody"}))


def test_a_lease_lapses_at_its_time(path: Path, clocks: Clocks) -> None:
    watch = clocks.watch(path)
    clocks.pass_time(59)
    assert watch.end is None
    assert watch.remaining == pytest.approx(1)
    clocks.pass_time(1)
    assert "12:01:00" in str(watch.end)


def test_an_extension_is_seen(path: Path, clocks: Clocks) -> None:
    watch = clocks.watch(path)
    write(path, NOON + timedelta(seconds=120))
    watch.refresh()
    clocks.pass_time(100)
    assert watch.end is None


def test_a_wall_clock_set_back_does_not_extend_a_lease(path: Path, clocks: Clocks) -> None:
    watch = clocks.watch(path)
    clocks.wall -= timedelta(days=1)
    for _ in range(60):
        clocks.pass_time(1)
        watch.refresh()
    assert watch.end is not None


def test_a_lease_ends_while_the_machine_sleeps(path: Path, clocks: Clocks) -> None:
    watch = clocks.watch(path)
    clocks.wall += timedelta(hours=1)  # the monotonic clock sleeps too
    assert watch.end is not None


@given(st.lists(st.integers(-100_000, 100_000), max_size=5), st.integers(1, 1000))
def test_whatever_the_wall_clock_does_a_lease_never_outlives_its_length(jumps: list[int], length: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path, clocks = Path(folder) / "lease.json", Clocks()
        write(path, NOON + timedelta(seconds=length))
        watch = clocks.watch(path)
        for jump in jumps:
            clocks.wall += timedelta(seconds=jump)
            watch.refresh()
        clocks.pass_time(length)
        assert watch.end is not None


def test_a_lease_file_that_is_gone_ends_the_lease(path: Path, clocks: Clocks) -> None:
    watch = clocks.watch(path)
    path.unlink()
    watch.refresh()
    assert watch.end == "the lease file is gone"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"expires_at": 7}', '{"expires_at": "2026-01-01T13:00:00"}'])
def test_an_unreadable_lease_neither_ends_nor_extends_one(content: str, path: Path, clocks: Clocks) -> None:
    watch = clocks.watch(path)
    path.write_text(content)
    watch.refresh()
    assert watch.end is None
    clocks.pass_time(60)
    watch.refresh()
    assert watch.end is not None


@pytest.mark.parametrize("content", [None, "", "[]", '{"expires_at": "tomorrow"}'])
def test_there_has_to_be_a_lease_to_start_with(content: str | None, path: Path, clocks: Clocks) -> None:
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ConfigurationError, match="no valid lease") as caught:
        clocks.watch(path)
    assert caught.value.place == str(path)
