"""What every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from prefect_on_loopback import PrefectServer, settings_of, shared_server


def pytest_configure() -> None:
    """Let interrupts reach what tests start: a job in a shell's background would pass on that it ignores them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Fitting the answerability model to as many rows as users do would take most of the tests' time.
    os.environ.setdefault("RAGWRIGHT_ANSWERING__CALIBRATION_ROWS", "10")
    # How long an example takes depends on the machine; the first text of a fresh checkout takes seconds.
    # A change is judged by the same examples each time; those who ask for more effort get others each time.
    same = os.environ.get("RAGWRIGHT_TEST_EFFORT", "1") == "1"
    settings.register_profile(
        "ragwright", deadline=None, derandomize=same, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("ragwright")


ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a long test of the flows that failed once more, and name it in the summary.

    They wait for what is not ours, Prefect's server on SQLite, a browser, a scheduler of Dask, which now and then takes
    longer on a busy machine than anybody would wait. Kills, full disks and emulated accounts get no second chance.
    """
    for item in items:
        if item.get_closest_marker("long") and item.path.is_relative_to(ROOT / "tests" / "flows"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public FAQs that lie beside the checkout on some machines."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder.name!r} of shared FAQs beside the checkout")
    return folder


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """Where tests keep model files, so that a machine fetches each of them once. Nothing is fetched here."""
    return Path(os.environ.get("RAGWRIGHT_TEST_CACHE", ROOT / ".cache" / "models"))


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A real Prefect server, which flows in this process use; all processes of a test session share it.

    How tests on it keep apart is told in prefect_on_loopback.py.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with shared_server(shared / "prefect") as server, settings_of(server, own / "prefect-home"):
        yield server


@pytest.fixture
def cheap_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests about what becomes of rows that are fit: re-indexes in this process spend no time on finding that out.

    What Great Expectations finds, what is quarantined and what the Data Docs say have tests of their own.
    """
    from cheap_gate import validate_cheaply

    validate_cheaply(monkeypatch)
