"""`ragwright chat` on the embedded model, as its users run it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import RAGWRIGHT, CommandLine
from emulators.model_server import Pieces, events, serve

from ragwright.models import resolve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # seconds; the model may have to be fetched first

TURNS = ["hey how are you today?", "what is 4 to the power of 2.1?", "can you multiply that by 3?"]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> CommandLine:
    # No reply here needs more tokens, and a model that rambles would only take longer.
    settings = {"RAGWRIGHT_MODEL_CACHE": str(model_cache), "RAGWRIGHT_AGENT__MAX_NEW_TOKENS": "64"}
    return CommandLine(tmp_path_factory.mktemp("chat"), settings)


@pytest.mark.long
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


def spoken(reply: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": reply}, "finish_reason": None}]}


ENDED = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
BEGINNING = '{"action": "Final Answer", "action_input": "The cat sat'


@pytest.fixture
def elsewhere(tmp_path: Path) -> CommandLine:
    """A shell whose model runs on a server that the test plays."""
    return CommandLine(tmp_path, {"RAGWRIGHT_GENERATION__CONTRACT": "openai-chat"})


def test_a_reply_is_on_the_screen_while_it_is_still_being_written(elsewhere: CommandLine) -> None:
    out = elsewhere.folder / "out"

    def slowly() -> Iterator[bytes]:
        yield events(spoken(BEGINNING))
        end = time.monotonic() + 60
        while "The cat sat" not in out.read_text() and time.monotonic() < end:
            time.sleep(0.02)
        yield events(spoken(" on" if "The cat sat" in out.read_text() else " too late"))
        yield events(spoken(' the mat."}'), ENDED, done=True)

    with serve(lambda _: Pieces(slowly())) as server, out.open("wb") as file:
        command = [str(RAGWRIGHT), "chat", "--no-search", "--endpoint", f"{server.url}/v1", "--session", "cats"]
        done = subprocess.run(
            command,
            cwd=elsewhere.folder,
            env=elsewhere.env,
            input=b"tell me a story\n",
            stdout=file,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
    assert (done.returncode, out.read_text()) == (0, "The cat sat on the mat.\n"), done.stderr


def test_a_reply_that_breaks_off_ends_with_an_error_and_nothing_of_it_is_stored(elsewhere: CommandLine) -> None:
    replies = [Pieces([events(spoken('{"action": "Final Answer", "action_input": "Hello."}'), ENDED, done=True)])]
    replies.append(Pieces([events(spoken(BEGINNING))], whole=False))
    with serve(lambda _: replies.pop(0)) as server:
        command = [str(RAGWRIGHT), "chat", "--no-search", "--endpoint", f"{server.url}/v1", "--session", "cats"]
        options = {"cwd": elsewhere.folder, "env": elsewhere.env, "input": b"hello there\ntell me a story\n"}
        done = subprocess.run(command, capture_output=True, check=False, timeout=120, **options)
    assert (done.returncode, done.stdout) == (1, b"Hello.\nThe cat sat\n")
    said = done.stderr.decode()
    assert "the reply broke off" in said
    assert f"place: endpoint {server.url}" in said
    assert "next:  Ask again" in said
    assert not replies
    [stored] = elsewhere.run("chat", "--sessions", "--json").value
    assert (stored["name"], stored["turns"]) == ("cats", 1)


@pytest.mark.long
def test_any_gguf_file_can_be_talked_to(shell: CommandLine, model_cache: Path) -> None:
    path = resolve("smollm2-135m-instruct-q4", cache=model_cache)["model"]
    (shell.folder / "one.jsonl").write_text(json.dumps({"id": "g", "turns": ["what is 12 times 7?"]}) + "\n")
    try:
        done = shell.run("chat", "--file", "one.jsonl", "--no-search", "--model", str(path), timeout=500)
    finally:
        shell.run("endpoints", "down")
    [line] = done.lines
    assert line["steps"][-1]["observation"] == "84"
    assert "84" in line["reply"]
