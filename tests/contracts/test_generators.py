"""What every generator promises in its port's docstring, one clause a test.

RAGWRIGHT_TEST_GENERATOR names one of another package, to be tested with the others.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ragwright.endpoints import Contract, EndpointSpec, Lease
from ragwright.endpoints.local import LocalHost
from ragwright.errors import RequestRejected
from ragwright.generation import EndpointGenerator, Generator, Message, ScriptedGenerator, open_generator
from ragwright.model_settings import GenerationSettings
from ragwright.models import get_model
from ragwright.settings import load_settings

SMOLLM = "smollm2-135m-instruct-q4"
CONTRACTS: tuple[Contract, ...] = ("tgi", "openai-chat")
OUTSIDE = os.environ.get("RAGWRIGHT_TEST_GENERATOR")
GENERATORS = ("scripted", *CONTRACTS, *(["outside"] if OUTSIDE else []))
TALK = [
    Message("system", "You answer briefly."),
    Message("user", "Name the four seasons, one after the other, separated by commas."),
]
SEASONS = "Spring, summer, autumn and winter: these are the four seasons of a year."
SCHEMA = {
    "type": "object",
    "properties": {"action": {"type": "string", "enum": ["Calculator", "Final Answer"]}},
    "required": ["action"],
    "additionalProperties": False,
}


def script(prompt: object) -> str:
    return '{"action": "Calculator"}' if "JSON" in str(prompt) else SEASONS


@pytest.fixture(scope="module")
def generators(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Iterator[dict[str, Generator]]:
    """One of each kind; the endpoints are real server processes that run the real model."""
    with ExitStack() as stack:
        host = stack.enter_context(LocalHost(tmp_path_factory.mktemp("home"), cache=model_cache))
        lease = Lease.lasting(owner="tests", minutes=10)
        for contract in CONTRACTS:
            stack.callback(host.delete, contract)
            host.deploy(EndpointSpec(name=contract, model=SMOLLM, contract=contract), lease)
        host.wait(CONTRACTS, timeout=100)
        opened: dict[str, Generator] = {"scripted": ScriptedGenerator(script)}
        for contract in CONTRACTS:
            opened[contract] = EndpointGenerator(host.connect(contract), get_model(SMOLLM), GenerationSettings())
            stack.enter_context(opened[contract])
        if OUTSIDE and (generator := open_generator(load_settings(generation={"endpoint": OUTSIDE}))):
            opened["outside"] = stack.enter_context(generator)
        yield opened


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest, generators: dict[str, Generator]) -> Generator:
    return generators[request.param]


def test_a_generator_is_a_generator(generator: Generator) -> None:
    assert isinstance(generator, Generator)
    assert generator.model


def test_a_reply_has_words_and_no_marks_of_the_chat_format(generator: Generator) -> None:
    reply = generator.generate(TALK, max_new_tokens=40)
    assert reply.text.strip()
    assert "<|im" not in reply.text


def test_a_reply_at_the_limit_says_it_was_cut(generator: Generator) -> None:
    reply = generator.generate(TALK, max_new_tokens=3)
    assert reply.finish_reason == "length"
    assert reply.new_tokens == 3


def test_the_same_prompt_gives_the_same_reply(generator: Generator) -> None:
    assert generator.generate(TALK, max_new_tokens=16) == generator.generate(TALK, max_new_tokens=16)


def test_a_reply_ends_before_its_stop_string(generator: Generator) -> None:
    whole = generator.generate(TALK, max_new_tokens=16).text
    stop = whole.split()[2]
    reply = generator.generate(TALK, max_new_tokens=16, stop=[stop])
    assert reply.text == whole[: whole.index(stop)]
    assert reply.finish_reason == "stop"


def test_a_grammar_binds_the_reply(generator: Generator) -> None:
    prompt = [Message("user", "Reply in JSON: which action?")]
    reply = generator.generate(prompt, max_new_tokens=40, grammar=SCHEMA)
    assert reply.finish_reason == "stop"
    assert json.loads(reply.text)["action"] in SCHEMA["properties"]["action"]["enum"]  # type: ignore[index]


def test_a_reply_in_pieces_is_the_whole_reply(generator: Generator) -> None:
    for options in ({}, {"stop": [generator.generate(TALK, max_new_tokens=16).text.split()[2]]}):
        *pieces, whole = generator.stream(TALK, max_new_tokens=16, **options)
        assert whole == generator.generate(TALK, max_new_tokens=16, **options)
        assert "".join(map(str, pieces)) == whole.text  # type: ignore[union-attr]
        assert len(pieces) > 1
        assert all(pieces)


def test_a_prompt_that_does_not_fit_is_refused(generator: Generator) -> None:
    with pytest.raises(RequestRejected):
        generator.generate([Message("user", "word " * 20_000)], max_new_tokens=16)
    with pytest.raises(RequestRejected):
        next(generator.stream([Message("user", "word " * 20_000)], max_new_tokens=16))


def test_threads_share_a_generator(generator: Generator) -> None:
    expected = generator.generate(TALK, max_new_tokens=8)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(generator.generate(TALK, max_new_tokens=8))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 3


def test_the_chat_format_is_the_same_whoever_applies_it(generators: dict[str, Generator]) -> None:
    here = generators["tgi"].generate(TALK, max_new_tokens=16)
    by_server = generators["openai-chat"].generate(TALK, max_new_tokens=16)
    assert here.text == by_server.text
