"""prefect.yaml: what it names exists, and what it sets would be accepted."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]

# What only a person can say at the moment of the run.
GIVEN: dict[str, dict[str, Any]] = {"publish": {"generation": 2, "reason": "It is meant."}}


def entry(deployment: dict[str, Any]) -> Flow[Any, Any]:
    module, _, name = deployment["entrypoint"].rpartition(".")
    found = getattr(import_module(module), name)
    assert isinstance(found, Flow)
    return found


def test_the_table_of_deployments() -> None:
    assert {deployment["name"]: deployment["entrypoint"] for deployment in DEPLOYMENTS} == {
        "pipeline": "flows.pipeline.pipeline",
        "provision": "flows.provision.provision",
        "reindex": "flows.reindex.reindex",
        "evaluate-live": "flows.evaluation.evaluation",
        "teardown": "flows.teardown.teardown",
        "rollback": "flows.rollback.rollback",
        "publish": "flows.publish.publish",
        "janitor": "flows.janitor.janitor",
        "agent-benchmark": "flows.agent_benchmark.agent_benchmark",
    }


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_a_deployment_can_run_with_its_parameters(deployment: dict[str, Any]) -> None:
    found = entry(deployment)
    parameters = deployment.get("parameters", {}) | GIVEN.get(deployment["name"], {})
    assert parameters.keys() <= found.validate_parameters(parameters).keys()
    described = parameter_schema(found).properties
    assert described
    assert all(field.get("description") for field in described.values())
    assert deployment["description"]


@pytest.mark.parametrize("name", ["pipeline", "reindex"])
def test_writers_run_one_at_a_time(name: str) -> None:
    (deployment,) = (deployment for deployment in DEPLOYMENTS if deployment["name"] == name)
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
