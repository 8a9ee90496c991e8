"""docs/scale.md: its arithmetic and a simulation of the same load agree, and the page shows what they say."""

from __future__ import annotations

import importlib.util
import re
import statistics
import sys
from dataclasses import replace
from types import ModuleType

import pytest
from code_blocks import ROOT

TOLERANCE = 0.03
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def scale_simulation() -> ModuleType:
    path = ROOT / "benchmarks" / "scale_simulation.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


scale = scale_simulation()


@pytest.mark.parametrize("load", scale.LOADS, ids=lambda load: f"{load.instances}x{load.instance_type}-{load.workers}")
def test_the_page_shows_the_arithmetic_and_the_simulation_agrees(load: scale.Load) -> None:
    expected, played = scale.arithmetic(load), scale.simulate(load, seed=0)
    assert played.embedding_hours == pytest.approx(expected.embedding_hours, rel=TOLERANCE)
    assert played.usd == pytest.approx(expected.usd, rel=TOLERANCE)
    assert played.prepare_busy == pytest.approx(expected.prepare_busy, rel=TOLERANCE)
    assert played.embed_busy == pytest.approx(expected.embed_busy, rel=TOLERANCE)
    shown = next(
        line
        for line in PAGE.splitlines()
        if line.startswith(f"| {load.instances} x `{load.instance_type}` | {load.workers} |")
    )
    simulated = float(shown.split(" | ")[3])
    assert shown == scale.row(load, expected, simulated=simulated)
    assert played.embedding_hours == pytest.approx(simulated, rel=TOLERANCE, abs=0.05)


@pytest.mark.parametrize("failing", [0.0, 0.2, 0.5])
def test_failing_batches_cost_what_the_arithmetic_says(failing: float) -> None:
    load = scale.Load(rows=4_000_000, instances=4, workers=30, failing=failing)
    expected = scale.arithmetic(load)
    assert expected.waits_for == "instances"
    assert scale.simulate(load, seed=1).embedding_hours == pytest.approx(expected.embedding_hours, rel=TOLERANCE)
    without = scale.arithmetic(replace(load, failing=0)).embedding_hours
    assert expected.embedding_hours >= without * (1 + 0.9 * failing)


def test_failing_imports_cost_what_the_arithmetic_says() -> None:
    load = scale.Load(rows=20_000, failing_imports=0.4)
    played = statistics.mean(scale.simulate(load, seed).import_hours for seed in range(2_000))
    assert played == pytest.approx(scale.arithmetic(load).import_hours, rel=TOLERANCE)


def test_a_load_of_a_million_rows_waits_for_what_there_is_least_of() -> None:
    load = scale.Load(rows=1_000_000, failing_imports=0, start_seconds=60)
    for workers, instances, slowest in ((1, 8, "workers"), (20, 1, "instances"), (400, 200, "import")):
        one = replace(load, workers=workers, instances=instances)
        assert scale.arithmetic(one).waits_for == slowest
        assert scale.simulate(one, seed=2).waits_for == slowest


def test_the_same_seed_plays_the_same_load() -> None:
    load = scale.Load(rows=100_000)
    assert scale.simulate(load, seed=5) == scale.simulate(load, seed=5)
    assert scale.simulate(load, seed=5) != scale.simulate(load, seed=6)


def test_the_page_names_the_figures_that_it_is_worked_out_from() -> None:
    load = scale.Load()
    hours, usd = scale.by_upsert(load)
    figures = [
        f"{load.sections / 1e6:.0f} million sections",
        f"{load.gigabytes:.0f} GB",
        f"{scale.RECORD_BYTES:,} bytes",
        f"{scale.TEXTS_PER_VCPU:.0f} texts",
        f"{scale.ROWS_PER_WORKER:.0f} rows",
        f"{hours:.1f} hours and {usd:,.0f} USD",
        f"{scale.arithmetic(load).usd_month:.0f} USD a month",
    ]
    plain = re.sub(r"\s+", " ", PAGE)
    assert [figure for figure in figures if figure not in plain] == []
