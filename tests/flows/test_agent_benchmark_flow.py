"""The agent benchmark as a flow: models behind URLs, one after another, in one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from emulators.model_server import serve
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.agent_benchmark import agent_benchmark
from ragwright.agent.benchmark.results import LABELS
from ragwright.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("prefect_server")


def completion(payload: dict[str, Any]) -> dict[str, Any]:
    """A model that is polite in the format and knows nothing."""
    text = json.dumps({"action": "Final Answer", "action_input": "Hello! I don't know."})
    message = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"choices": [message], "usage": {"prompt_tokens": 20, "completion_tokens": 9}}


@pytest.fixture
def hashed(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "hashing:384")
    monkeypatch.setenv("RAGWRIGHT_ANSWERING__CALIBRATION_ROWS", "0")
    # The model decides by itself what it calls.
    monkeypatch.setenv("RAGWRIGHT_AGENT__ROUTING", "off")
    return home


def test_models_are_put_side_by_side(hashed: Path) -> None:
    with serve(completion) as server:
        models = [f"scripted@{server.url}/v1", f"smollm2-135m-instruct-q4@{server.url}/v1"]
        result = agent_benchmark(models=models, sample=12)
    assert [model.model for model in result.models] == models
    for model in result.models:
        assert model.peak_memory is None
        assert len(model.played) == 12
        assert model.figures["format_constrained"].value == 1
        assert model.figures["numeric"].value == 0
        assert model.figures["injection"].value == 1
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["agent-benchmark"]))
        told = [str(artifact.data) for artifact in client.read_artifacts(artifact_filter=wanted)]
    table = next(text for text in told if LABELS["numeric"] in text)
    assert all(model in table for model in models)
    assert (hashed / "reports" / "agent-benchmark.html").exists()


def test_a_model_that_does_not_exist_is_refused_before_anything_starts(hashed: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown model"):
        agent_benchmark(models=["smollm2-135m-instruct-q4", "no-such"])
    assert not (hashed / "catalog").exists()
