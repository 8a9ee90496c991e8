"""One writer at a time, on a real folder, with real processes where it matters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from ragwright.errors import LeaseLost, WriterBusy
from ragwright.index.catalog import Catalog
from ragwright.index.lease import Fence, WriterLease, process_identity

HOLD = """
import sys, time
from ragwright.index.catalog import Catalog
from ragwright.index.lease import WriterLease
with WriterLease(Catalog(sys.argv[1], "faq"), run_id="holder", ttl=float(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(str(tmp_path), "faq")


def test_a_second_writer_is_refused_and_told_who_holds_the_lease(catalog: Catalog) -> None:
    with WriterLease(catalog, run_id="nightly"):
        with pytest.raises(WriterBusy, match=rf"run nightly .* process {os.getpid()}") as refused:
            WriterLease(catalog).__enter__()
        assert 0 < refused.value.retry_after <= 33
    with WriterLease(catalog):
        pass


def test_a_lease_given_back_is_free_at_once_and_leaves_one_file(catalog: Catalog) -> None:
    for _ in range(3):
        with WriterLease(catalog) as lease:
            assert lease.remaining() > 20
    assert catalog.names("writer") == ["00000003.json"]


def test_the_heartbeat_outlives_the_ttl(catalog: Catalog) -> None:
    with WriterLease(catalog, ttl=0.6) as lease:
        time.sleep(1.5)
        assert lease.remaining() > 0
        with pytest.raises(WriterBusy):
            WriterLease(catalog).__enter__()


def test_a_dead_holder_is_replaced_at_once_only_where_its_requests_died_with_it(catalog: Catalog) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, catalog.location, "30"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(WriterBusy):
        WriterLease(catalog, trust_dead=True).__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with pytest.raises(WriterBusy):
        WriterLease(catalog, trust_dead=False).__enter__()
    with WriterLease(catalog, trust_dead=True) as lease:
        assert lease.epoch == 2


def test_a_lent_lease_outlives_its_holder_who_cannot_speak_for_the_others(catalog: Catalog) -> None:
    lend = HOLD.replace("    print", "    lease.lent().__enter__()\n    print")
    lend = lend.replace(", ttl=float(sys.argv[2])):", ", ttl=float(sys.argv[2])) as lease:")
    holder = subprocess.Popen([sys.executable, "-c", lend, catalog.location, "30"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with pytest.raises(WriterBusy):
        WriterLease(catalog, trust_dead=True).__enter__()


def test_a_lease_is_given_back_only_when_those_it_was_lent_to_are_done(catalog: Catalog) -> None:
    with WriterLease(catalog) as lease, lease.lent():
        pass
    with WriterLease(catalog) as lease, pytest.raises(ValueError, match="later"), lease.lent():
        raise ValueError("later")
    with pytest.raises(WriterBusy):
        WriterLease(catalog).__enter__()


def test_a_lapsed_lease_is_taken_over_and_its_holder_stops(catalog: Catalog) -> None:
    first = WriterLease(catalog, ttl=30)
    first._acquire()  # no heartbeat: a holder that hangs
    lapsed = {"expires_at": (datetime.now(UTC) - timedelta(seconds=5)).isoformat(), "process": process_identity()}
    catalog.write(f"writer/{first.epoch:08d}.json", json.dumps(lapsed).encode())
    with WriterLease(catalog) as second:
        assert second.epoch == first.epoch + 1
        fence = Fence(catalog, first.epoch)
        with pytest.raises(LeaseLost, match=r"epoch 1.* 0\.0 s left"):
            fence.check(1)
        Fence(catalog, second.epoch, second).check(1)
        Fence(catalog, second.epoch).check(1)


def test_a_renewal_that_was_in_flight_wins_over_a_takeover(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    lapsed = {"expires_at": (datetime.now(UTC) - timedelta(seconds=5)).isoformat(), "process": process_identity()}
    catalog.write("writer/00000001.json", json.dumps(lapsed).encode())
    create = catalog.create

    def renewed_meanwhile(path: str, data: bytes) -> bool:
        renewed = lapsed | {"expires_at": (datetime.now(UTC) + timedelta(seconds=30)).isoformat()}
        catalog.write("writer/00000001.json", json.dumps(renewed).encode())
        return create(path, data)

    monkeypatch.setattr(catalog, "create", renewed_meanwhile)
    with pytest.raises(WriterBusy):
        WriterLease(catalog).__enter__()


def test_of_many_contenders_one_wins(catalog: Catalog) -> None:
    contend = HOLD.replace("time.sleep(60)", "time.sleep(3)")
    contenders = [
        subprocess.Popen(
            [sys.executable, "-c", contend, catalog.location, "30"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(4)
    ]
    outcomes = [contender.communicate()[0] for contender in contenders]
    assert outcomes.count("held\n") == 1


def test_who_gave_way_to_a_holder_leaves_the_door_shut(catalog: Catalog) -> None:
    with WriterLease(catalog, run_id="nightly") as holder:
        gave_way = {"released": True, "expires_at": datetime.now(UTC).isoformat()}
        catalog.write(f"writer/{holder.epoch + 1:08d}.json", json.dumps(gave_way).encode())
        with pytest.raises(WriterBusy, match="run nightly"):
            WriterLease(catalog).__enter__()
    with WriterLease(catalog) as lease:
        assert catalog.names("writer") == [f"{lease.epoch:08d}.json"]


def test_a_machine_that_slept_through_its_lease_does_not_count_on_it(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monotonic clock stood still meanwhile."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=1)

    with WriterLease(catalog) as lease:
        monkeypatch.setattr("ragwright.index.lease.datetime", Later)
        with pytest.raises(LeaseLost):
            Fence(catalog, lease.epoch, lease).check(1)
