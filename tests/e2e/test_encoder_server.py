from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_bert import bert
from serving_process import serving

from ragwright.serving.runtimes.reference import sample


def test_the_log_says_how_the_encoder_runs_and_what_went_wrong(tmp_path: Path) -> None:
    bert(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "calibration").write_text("a file where a folder should be")
    settings = {"RAGWRIGHT_HOME": str(tmp_path), "RAGWRIGHT_ENCODER__PRECISION": "f32"}
    with serving(tmp_path, model="tiny", cache=tmp_path / "models", env=settings) as server:
        [vector] = server.ask({"inputs": sample()[0]}).json()
    events = [json.loads(line) for line in server.log.splitlines()]
    [ready] = [event for event in events if event["event"] == "ready"]
    assert (ready["precision"], ready["chosen"], ready["least_cosine"]) == ("f32", "now", pytest.approx(1))
    assert any("cannot be written" in event["reason"] for event in events if event["event"] == "warning")
    assert len(vector) == 32
