"""docs/scale.md: its arithmetic and a simulation of the same load agree, and the page shows what they say."""

from __future__ import annotations

import importlib.util
import json
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


@pytest.mark.parametrize("load", scale.LOADS, ids=lambda load: f"{load.instances}-{load.workers}-{load.transform}")
def test_the_page_shows_the_arithmetic_and_what_is_simulated(load: scale.Load) -> None:
    bound, played = scale.arithmetic(load), scale.median([scale.simulate(load, seed) for seed in range(5)])
    assert scale.row(load, bound, simulated=played) in PAGE.splitlines()
    crowded = load.workers == load.indexes  # the slowest of a hundred is waited for
    above = 0.4 if crowded and load.transform else 0.12
    assert played.hours == pytest.approx(bound.hours, rel=above)
    assert played.usd == pytest.approx(bound.usd, rel=above)


@pytest.mark.parametrize("failing", [0.0, 0.2, 0.5])
def test_failing_batches_cost_what_the_arithmetic_says(failing: float) -> None:
    load = scale.Load(rows=20_000_000, instances=4, workers=20, failing=failing)
    expected, played = scale.arithmetic(load), scale.simulate(load, seed=1)
    assert expected.waits_for == "instances"
    assert played.hours == pytest.approx(expected.hours, rel=TOLERANCE)
    embedding = [one.hours * one.busy for one in (scale.arithmetic(replace(load, failing=0)), expected, played)]
    assert embedding[1] == pytest.approx(embedding[0] / (1 - failing))
    assert embedding[2] == pytest.approx(embedding[1], rel=TOLERANCE)


def test_failing_imports_cost_what_the_arithmetic_says() -> None:
    load = scale.Load(rows=20_000, instances=16, failing_imports=0.4, start_seconds=0)
    without = scale.arithmetic(replace(load, failing_imports=0)).hours
    played = statistics.mean(scale.simulate(load, seed).hours for seed in range(2_000))
    assert played - without == pytest.approx(scale.arithmetic(load).hours - without, rel=0.05)


def test_a_load_waits_for_what_there_is_least_of() -> None:
    load = scale.Load(rows=20_000_000)
    for workers, instances, scarce in ((1, 16, "workers"), (20, 1, "instances")):
        one = replace(load, workers=workers, instances=instances)
        assert scale.arithmetic(one).waits_for == scarce
        before = scale.simulate(one, seed=2).hours
        more = {scarce: 2 * getattr(one, scarce)}
        other = {"workers": "instances", "instances": "workers"}[scarce]
        assert scale.simulate(replace(one, **more), seed=2).hours < 0.7 * before
        assert scale.simulate(replace(one, **{other: 2 * getattr(one, other)}), seed=2).hours > 0.9 * before


def test_a_transform_takes_longer_than_endpoints_and_pays_for_fewer_idle_instances() -> None:
    load = scale.Load(rows=20_000_000, instances=16, workers=5)
    one, other = (scale.simulate(replace(load, transform=transform), seed=3) for transform in (False, True))
    assert other.hours > one.hours
    assert other.busy > one.busy


def test_the_same_seed_plays_the_same_load() -> None:
    load = scale.Load(rows=2_000_000)
    assert scale.simulate(load, seed=5) == scale.simulate(load, seed=5)
    assert scale.simulate(load, seed=5) != scale.simulate(load, seed=6)


def test_what_a_worker_does_is_what_was_measured_last() -> None:
    passes = json.loads((ROOT / "benchmarks" / "results" / "memory.json").read_text(encoding="utf-8"))["passes"]
    (first,) = (one for one in passes if one["what"].endswith("-1000000") and one["embedded"])
    measured = 1_000_000 / first["seconds"]
    assert measured == pytest.approx(scale.ROWS_PER_WORKER, rel=0.25), "update it, and docs/scale.md"


def test_the_page_names_the_figures_that_it_is_worked_out_from() -> None:
    load = scale.Load()
    hours, usd = scale.by_upsert(load)
    figures = [
        f"{load.sections / 1e6:.0f} million sections",
        f"{load.indexes} indexes",
        f"{load.gigabytes:.0f} GB",
        f"its {load.gigabytes / load.indexes:.1f} GB",
        f"{scale.RECORD_BYTES:,} bytes",
        f"{scale.TEXTS_PER_VCPU:.0f} texts",
        f"{round(scale.ROWS_PER_WORKER, -1):,.0f} rows",
        f"prepare of {load.prepare_seconds:.0f} s",
        f"import of {load.import_seconds * (1 + 0.05 / 0.95 / 2):.0f} s",
        f"{(load.prepare_seconds + load.import_seconds * (1 + 0.05 / 0.95 / 2)) / 60:.0f} minutes",
        f"{hours:.1f} hours and {usd:,.0f} USD",
        f"{scale.arithmetic(load).usd_month:.0f} USD a month",
        f"{load.sections * scale.TRANSFORMED_BYTES / 1e9:.0f} GB in all",
    ]
    plain = re.sub(r"\s+", " ", PAGE)
    assert [figure for figure in figures if figure not in plain] == []
