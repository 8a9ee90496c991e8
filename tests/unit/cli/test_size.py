"""`ragwright size` and the cost of `plan`, as a person and as a program read them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ragwright import cli
from ragwright.index.expense import ReindexCost, pinecone_writes, reindex_cost
from ragwright.index.preview import Preview
from ragwright.index.staging import Ledger
from ragwright.settings import load_settings

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGWRIGHT_HOME", str(tmp_path / "home"))

    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            cli.app(["size", *arguments], prog_name="ragwright")
        return int(ended.value.code or 0), capfd.readouterr().out

    return call


def test_a_person_sees_the_arithmetic_and_the_cheapest_instance(run: Run) -> None:
    code, out = run("70e9", "--bits", "4")
    assert code == 0
    assert "280 GB in 32 bits" in out
    assert "x 4 bits / 8 = 35 GB (32.6 GiB)" in out
    assert "Cheapest that fits: ml." in out
    assert "note: Layers and heads are assumed" in out


def test_a_program_reads_the_same_as_json(run: Run) -> None:
    code, out = run("llama-2-70b-chat", "--bits", "4", "--context", "2048", "--batch", "2", "--json")
    said = json.loads(out)
    assert (code, said["bits"], said["context"], said["batch"]) == (0, 4, 2048, 2)
    assert said["cheapest"] == next(fit for fit in said["fitting"] if fit["usd_per_hour"] is not None)
    assert sum(term["bytes"] for term in said["terms"]) > said["weights_bytes"]["4"]


def test_what_fits_nowhere_and_what_is_no_model_are_told(run: Run) -> None:
    assert "No instance type has room" in run("5T")[1]
    code, out = run("no-such-model", "--json")
    assert (code, json.loads(out)["error"]["type"]) == (1, "ConfigurationError")


def planned(embed: int = 100, end: int = 10, seconds: float | None = 36.0) -> Preview:
    ledger = Ledger(source_rows=embed, added=embed, updated=0, unchanged=0, removed=0, quarantined=0)
    return Preview(ledger, embed, 9_000, end, 0, True, seconds, embed * 456, {}, ())


def test_a_plan_on_the_laptop_bills_nothing(tmp_path: Path) -> None:
    cost = reindex_cost(load_settings(home=tmp_path), planned())
    assert cost == ReindexCost()
    assert str(cost) == "nothing is billed."


def test_a_plan_on_sagemaker_bills_the_time_that_embedding_takes(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, endpoints={"host": "sagemaker"}, embedding={"model": "all-minilm-l6-v2"})
    cost = reindex_cost(settings, planned())
    assert cost.instance_type == "ml.m5.xlarge"
    assert cost.total_usd == pytest.approx(36 / 3600 * 0.23)
    unknown = reindex_cost(settings, planned(seconds=None))
    assert (unknown.total_usd, "not known" in str(unknown)) == (None, True)
    assert reindex_cost(settings, planned(embed=0, seconds=0)).total_usd == 0


def test_a_plan_into_pinecone_bills_writes_and_what_stays(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, store="pinecone:faq", embedding={"model": "hashing-384"})
    units, stored = pinecone_writes(settings, planned())
    assert stored == 100 * (456 + 4 * 384 + 160)
    assert units == -(-stored // 1_000) + 10 * 5
    cost = reindex_cost(settings, planned())
    assert (cost.write_units, cost.instance_type) == (units, None)
    assert cost.total_usd == pytest.approx(units * 4e-6)
    assert cost.to_json()["storage_usd_month"] == pytest.approx(stored / 1e9 * 0.33, abs=1e-6)
    assert pinecone_writes(settings, planned(embed=0, end=0)) == (0, 0)
