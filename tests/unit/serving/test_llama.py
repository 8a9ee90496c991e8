"""The real language model. Its file is fetched once a machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from ragwright.models import get_model
from ragwright.progress import silent
from ragwright.serving.refusal import Refused
from ragwright.serving.runtimes import GenerationRequest, TextModel, open_text_model

PROMPT = "<|im_start|>user\nCount from one to ten.<|im_end|>\n<|im_start|>assistant\n"
REQUEST = GenerationRequest(PROMPT, 24)
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
    "required": ["colour"],
}


def listening() -> set[tuple[str, int]]:
    connections = psutil.Process().net_connections()
    return {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}


LISTENED_BEFORE: set[tuple[str, int]] = set()


@pytest.fixture(scope="module")
def model(model_cache: Path) -> Iterator[TextModel]:
    LISTENED_BEFORE.update(listening())  # other tests' servers may share this process
    opened = open_text_model(get_model("smollm2-135m-instruct-q4"), cache=model_cache, progress=silent)
    yield opened
    opened.close()


def never() -> bool:
    return False


def test_greedy_replies_repeat_whatever_was_asked_before(model: TextModel) -> None:
    first = model.generate(REQUEST, never)
    model.generate(replace(REQUEST, prompt=PROMPT + "One"), never)
    assert model.generate(REQUEST, never) == first
    assert first.prompt_tokens == model.count_tokens(PROMPT)
    assert (first.finish_reason, first.new_tokens) == ("length", 24)


def test_a_seed_makes_sampling_repeat_and_another_changes_it(model: TextModel) -> None:
    warm = replace(REQUEST, temperature=1.5, seed=1)
    texts = {seed: model.generate(replace(warm, seed=seed), never).text for seed in (1, 2)}
    assert model.generate(warm, never).text == texts[1]
    assert texts[1] != texts[2]


def test_a_stop_sequence_ends_the_reply_and_is_named(model: TextModel) -> None:
    free = model.generate(REQUEST, never).text
    stop = free.split()[4]
    reply = model.generate(replace(REQUEST, stop=("never said", stop)), never)
    assert (reply.finish_reason, reply.stop_sequence) == ("stop_sequence", stop)
    assert free.startswith(reply.text + stop)


def test_a_reply_that_ends_by_itself_says_so(model: TextModel) -> None:
    prompt = model.render([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour."}])
    reply = model.generate(GenerationRequest(prompt, 200), never)
    assert reply.finish_reason == "eos_token"
    assert "<|im_end|>" not in reply.text


def test_a_schema_binds_the_reply(model: TextModel) -> None:
    reply = model.generate(replace(REQUEST, max_new_tokens=60, schema=SCHEMA), never)
    assert json.loads(reply.text) in ({"colour": "red"}, {"colour": "blue"})


def test_a_schema_that_cannot_be_kept_is_refused_rather_than_forgotten(model: TextModel) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?=x)"}}, "required": ["a"]}
    with pytest.raises(Refused, match="cannot enforce"):
        model.generate(replace(REQUEST, schema=schema), never)


def test_a_reply_is_told_in_pieces_of_which_none_holds_a_stop_sequence(model: TextModel) -> None:
    stop = model.generate(REQUEST, never).text.split()[4]
    pieces: list[str] = []
    reply = model.generate(replace(REQUEST, stop=(stop,)), never, pieces.append)
    assert "".join(pieces) == reply.text
    assert len(pieces) > 2


def test_it_stops_when_nobody_waits(model: TextModel) -> None:
    began = time.perf_counter()
    model.generate(replace(REQUEST, max_new_tokens=1500), lambda: time.perf_counter() - began > 0.3)
    assert time.perf_counter() - began < 3


def test_a_conversation_takes_the_models_own_format(model: TextModel) -> None:
    prompt = model.render([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_its_own_listener_is_on_loopback_and_locked(model: TextModel) -> None:
    sockets = listening() - LISTENED_BEFORE
    assert sockets
    for address, port in sockets:
        assert address == "127.0.0.1"
        reply = httpx.post(f"http://127.0.0.1:{port}/completion", json={"prompt": "a"}, trust_env=False)
        assert reply.status_code == 401
