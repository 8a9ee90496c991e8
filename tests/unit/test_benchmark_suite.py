"""The benchmarks' own arithmetic, and that what the README shows is what was measured."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> object:
    """Import a module of benchmarks/ as its scripts do."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))

    def module(name: str) -> ModuleType:
        return importlib.import_module(name)

    return module


def test_the_readme_shows_what_was_measured(named):
    table = named("table")
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table.filled(page, table.table(named("suite").RESULTS)) == page, "run python benchmarks/table.py"


def test_the_table_stands_between_its_markers_and_can_be_made_again(named):
    table = named("table")
    page = "a\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nb\n"
    once = table.filled(page, "| new |")
    assert "old" not in once
    assert "| new |" in once
    assert once.startswith("a\n")
    assert once.endswith("\nb\n")
    assert table.filled(once, "| new |") == once
    with pytest.raises(SystemExit, match="bench:begin"):
        table.filled("no markers", "| new |")


def test_a_ratio_is_that_of_the_pairs_taken_by_turns(named):
    comparison = named("comparison")
    faster = comparison.Comparison("x", "s", (1.0, 2.0), "y", (10.0, 30.0))
    share = comparison.Comparison("x", "s", (1.0, 2.0), "y", (10.0,), direction="share")
    assert faster.ratios == (10.0, 15.0)
    assert share.ratios == (0.1, 0.2)


@pytest.mark.parametrize(
    ("promise", "value", "missed"),
    [("at least", 5, False), ("at least", 5.01, True), ("at most", 5, False), ("at most", 4.99, True)],
)
def test_a_missed_target_stands_in_the_table(named, promise, value, missed):
    comparison = named("comparison")
    target = comparison.Target(promise, value)
    found = comparison.Comparison("x", "s", (2.0,), "y", (10.0,), target=target)
    assert found.missed == missed
    assert ("**missed**" in found.row()) == missed


def test_a_peer_that_failed_is_shown_and_breaks_no_promise(named):
    comparison = named("comparison")
    target = comparison.Target("at least", 1)
    found = comparison.Comparison("x", "s", (2.0,), "y", target=target, failed="it exited 1")
    assert not found.missed
    assert "failed: it exited 1" in found.row()
    assert "no figure" in found.row()


def test_what_is_written_is_read_again(named, tmp_path):
    comparison = named("comparison")
    found = [
        comparison.Comparison("x", "s", (1.0, 2.0), "y", (3.0,), target=comparison.Target("at most", 2)),
        comparison.Comparison("z", "MiB", (1.0,), "y", failed="it exited 1", direction="share"),
    ]
    path = comparison.write(tmp_path, "first", {"rows": 3}, found)
    about, again = comparison.read(path)
    assert again == found
    assert about["conditions"] == {"rows": 3}
    shown = named("table").table(tmp_path)
    assert all(one.row() in shown for one in found)


def test_every_benchmark_can_be_run_and_is_explained(named):
    suite = named("suite")
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for name in suite.BENCHMARKS:
        assert callable(suite.benchmark(name))
        assert f"| `{name}` |" in page
