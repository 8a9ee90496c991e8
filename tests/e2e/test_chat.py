"""`ragwright chat` on the embedded model, as its users run it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import CommandLine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # seconds; the model may have to be fetched first

TURNS = ["hey how are you today?", "what is 4 to the power of 2.1?", "can you multiply that by 3?"]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> CommandLine:
    # No reply here needs more tokens, and a model that rambles would only take longer.
    settings = {"RAGWRIGHT_MODEL_CACHE": str(model_cache), "RAGWRIGHT_AGENT__MAX_NEW_TOKENS": "64"}
    return CommandLine(tmp_path_factory.mktemp("chat"), settings)


def test_three_turns_greet_compute_and_go_on_with_the_result(shell: CommandLine) -> None:
    (shell.folder / "turns.jsonl").write_text(json.dumps({"id": "a", "turns": TURNS}) + "\n")
    try:
        done = shell.run("chat", "--file", "turns.jsonl", "--no-search", timeout=500)
    finally:
        shell.run("endpoints", "down")
    greeting, power, product = done.lines
    assert [(line["id"], line["turn"]) for line in done.lines] == [("a", 1), ("a", 2), ("a", 3)]
    assert greeting["reply"]
    assert greeting["steps"] == []
    assert "18.3" in power["reply"]
    assert power["steps"] == [
        {"action": "Calculator", "action_input": power["steps"][0]["action_input"], "observation": "18.37917367995256"}
    ]
    assert product["steps"][-1]["observation"] == "55.13752103985769"
    assert "55.1" in product["reply"]
    assert power["timings_ms"]["total"] > 0


@pytest.mark.parametrize(
    ("line", "place"),
    [('{"id": 1, "turns": ["hi", ', "line 2"), ('{"id": 1, "turns": []}', "line 2"), ('{"turns": ["a", 3]}', "line 2")],
)
def test_a_bad_line_stops_before_anything_is_started(shell: CommandLine, line: str, place: str) -> None:
    (shell.folder / "bad.jsonl").write_text(f'{{"id": 0, "turns": ["hi"]}}\n{line}\n')
    error = shell.run("chat", "--file", "bad.jsonl", "--json").error
    assert error["type"] == "SourceError"
    assert place in str(error["place"])
