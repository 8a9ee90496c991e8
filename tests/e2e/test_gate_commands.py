"""The gate as its users meet it: a candidate of the wrong embedder, looked at, compared, and published all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import NO_MODELS, CommandLine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # seconds; a model may have to be fetched first

ROOT = Path(__file__).resolve().parents[2]
FAQ = ("--source", str(ROOT / "data/sagemaker_faq.csv"))
ASKED = ("--questions", str(ROOT / "data/questions.jsonl"), "--sample", "60")
SPOT = "Which instances can I use with Managed Spot Training in SageMaker?"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Iterator[CommandLine]:
    """All-MiniLM-L6-v2 in a server of its own; what takes long and says nothing about the gate is switched off."""
    settings = {
        "RAGWRIGHT_MODEL_CACHE": str(model_cache),
        "RAGWRIGHT_GENERATION__ENDPOINT": "none",
        "RAGWRIGHT_ANSWERING__CALIBRATION_ROWS": "0",
        "RAGWRIGHT_ANSWERING__LATE_INTERACTION": "false",
    }
    shell = CommandLine(tmp_path_factory.mktemp("gate"), settings)
    yield shell
    shell.run("endpoints", "down", "--json")
    assert shell.processes() == []


@pytest.mark.long
def test_the_wrong_embedder_is_blocked_and_a_person_may_overrule_that(shell: CommandLine) -> None:
    first = shell.run("reindex", *FAQ, *ASKED, "--json").value
    assert (first["published"], first["gate"]["verdict"]) == (True, "passed"), first["gate"]["reason"]
    before = shell.run("ask", SPOT, "--json").value

    wrong = replace(shell, settings=shell.settings | {"RAGWRIGHT_EMBEDDING__ENDPOINT": "hashing:384"})
    blocked = wrong.run("reindex", *FAQ, *ASKED, "--json")
    assert blocked.code == 1
    report = json.loads(blocked.out)
    assert report["error"]["type"] == "GateBlocked"
    assert (report["generation"], report["published"], report["gate"]["verdict"]) == (2, False, "blocked")
    assert report["gate"]["live"] == 1
    assert report["gate"]["changed"]
    assert 'ragwright publish 2 --reason "..."' in blocked.err

    after = shell.run("ask", SPOT, "--json").value
    assert (after["answer"], after["generation"]) == (before["answer"], 1)
    assert shell.run("ask", "--generation", "2", SPOT, "--json").value["generation"] == 2

    # Both are known, so nothing is asked again; neither depends on the embedder that is set.
    compared = wrong.run("compare", "live", "2", *ASKED, "--json").value
    assert (compared["before"], compared["after"]) == (1, 2)
    assert compared["figures"]["hit_at_5"]["worse"] > compared["figures"]["hit_at_5"]["better"]
    assert compared["changed"] == report["gate"]["changed"]
    told = shell.run("compare", "1", "2", *ASKED).out
    assert "Questions that changed" in told
    assert "was right, is now" in told

    assert wrong.run("publish", "2", "--reason", " ", "--json").error["type"] == "ConfigurationError"
    assert wrong.run("publish", "2", "--reason", "Cheaper vectors are worth it.", "--json").value["generation"] == 2
    newest, *_ = shell.run("generations", "--json").value
    assert (newest["state"], newest["reason"]) == ("live", "Cheaper vectors are worth it.")
    assert wrong.run("ask", SPOT, "--json").value["generation"] == 2


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """No models at all, and no floors, which hashed vectors would miss."""
    least = dict.fromkeys(["answer_correctness", "answerable_correctness", "hit_at_5"], 0)
    floors = least | dict.fromkeys(["false_answer_rate", "over_refusal_rate"], 1)
    settings = {"RAGWRIGHT_GATE__FLOORS": json.dumps(floors), "RAGWRIGHT_ANSWERING__CALIBRATION_ROWS": "0"}
    return CommandLine(tmp_path_factory.mktemp("bare-gate"), NO_MODELS | settings)


def test_evaluations_say_what_differs_from_another_generation(bare: CommandLine) -> None:
    questions = ("--questions", ASKED[1], "--sample", "40")
    assert bare.run("reindex", *FAQ, *questions).code == 0
    same = bare.run("reindex", *FAQ, *questions)
    assert "Gate: passed (identical to generation 1)" in same.out
    told = bare.run("evaluate", "--against", "1", *questions, "--json").value
    assert (told["generation"], told["questions"]) == (2, 40)
    assert (told["against"]["before"], told["against"]["changed"]) == (1, [])
    nothing = bare.run("evaluate", "--against", "live", *questions, "--json").error
    assert "no candidate came after it" in str(nothing["message"])
    assert "is no generation" in str(bare.run("compare", "last", "1", *questions, "--json").error["message"])


def test_a_bad_question_set_is_an_error_before_anything_is_written(bare: CommandLine) -> None:
    attempts = len(bare.run("generations", "--json").value)
    bad = bare.folder / "bad.jsonl"
    bad.write_text("{}\n", encoding="utf-8")
    assert bare.run("reindex", *FAQ, "--questions", str(bad), "--json").error["type"] == "SourceError"
    assert bare.run("reindex", *FAQ, "--gate", "maybe", "--json").error["type"] == "ConfigurationError"
    assert len(bare.run("generations", "--json").value) == attempts
