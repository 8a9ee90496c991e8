from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.endpoints import Contract
from ragwright.errors import ConfigurationError
from ragwright.hashing import hash_embed
from ragwright.models import get_model
from ragwright.serving.contracts import open_service, refusal_body
from ragwright.serving.refusal import Refused

TEXTS = ["one two", "three", "four, five six!"]


def ask(contract: Contract, payload: dict[str, Any]) -> Any:
    """One payload to a model without files: hashed vectors or scripted replies."""
    model = "scripted" if contract in ("tgi", "openai-chat") else "hashing-16"
    service = open_service(contract, get_model(model), cache=Path("unused"))
    return json.loads(json.dumps(service.handle(payload, lambda: False)))


def streamed(contract: Contract, payload: dict[str, Any]) -> list[str]:
    """The data of the events that the same payload gives in pieces."""
    service = open_service(contract, get_model("scripted"), cache=Path("unused"))
    assert service.streams(payload)
    assert service.stream is not None
    sent: list[bytes] = []
    service.stream(payload, lambda: False, sent.append)
    return [line.removeprefix("data:").strip() for line in b"".join(sent).decode().split("\n\n") if line]


def refused(contract: Contract, payload: dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        ask(contract, payload)
    return caught.value


def test_tei_gives_one_normalised_vector_a_text_in_order() -> None:
    vectors = ask("tei", {"inputs": TEXTS})
    np.testing.assert_allclose(vectors, hash_embed(TEXTS, 16), atol=1e-7)
    assert ask("tei", {"inputs": TEXTS[1]}) == [vectors[1]]


def test_fields_the_original_does_not_know_are_ignored() -> None:
    assert ask("tei", {"inputs": "a", "colour": "red", "normalize": None}) == ask("tei", {"inputs": "a"})


@pytest.mark.parametrize("contract", ["tei", "hf-feature-extraction"])
@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (None, "`inputs` is missing"),
        ("", "`inputs` cannot be empty"),
        ([], "`inputs` cannot be empty"),
        (["a", ""], "`inputs[1]` cannot be empty"),
        (7, "`inputs` must be a string or a list of strings, not an integer"),
        ({"a": 1}, "not an object"),
        (["a", None], "`inputs[1]` must be a string, not null"),
        (["a", ["b"]], "`inputs[1]` must be a string, not a list"),
        ("\ud800", "`inputs` has half a surrogate pair at character 0"),
    ],
)
def test_bad_inputs_are_refused_with_the_reason(contract: Contract, inputs: object, reason: str) -> None:
    found = refused(contract, {"inputs": inputs})
    assert found.status == 400
    assert reason in found.reason


def test_wrong_types_are_refused() -> None:
    assert "`truncate` must be true or false, not a string" in refused("tei", {"inputs": "a", "truncate": "yes"}).reason
    assert "`normalize` must be true or false" in refused("tei", {"inputs": "a", "normalize": 1}).reason


def test_tei_refuses_a_text_over_the_limit_unless_told_to_cut_it() -> None:
    long = "word " * 300
    found = refused("tei", {"inputs": ["short", long]})
    assert (found.status, found.kind) == (413, "validation")
    assert found.reason == "`inputs` must have less than 256 tokens. Given: 300 (text 1)"
    cut = ask("tei", {"inputs": long, "truncate": True})
    np.testing.assert_allclose(cut, hash_embed([("word " * 256).strip()], 16), atol=1e-7)
    assert ask("tei", {"inputs": "word " * 256})


def test_tei_refuses_more_texts_than_a_batch() -> None:
    found = refused("tei", {"inputs": ["a"] * 33})
    assert (found.status, found.reason) == (413, "batch size 33 > maximum allowed batch size 32")
    assert len(ask("tei", {"inputs": ["a"] * 32})) == 32


def test_the_hugging_face_reply_has_a_vector_a_token_padded_to_the_longest() -> None:
    states = np.array(ask("hf-feature-extraction", {"inputs": TEXTS}))
    assert states.shape == (3, 5, 16)
    np.testing.assert_allclose(states[0, 1], hash_embed(["two"], 16)[0], atol=1e-3)
    assert np.array_equal(states[1], np.tile(states[1, 0], (5, 1)))  # padding is not nothing
    assert np.array(ask("hf-feature-extraction", {"inputs": "one two"})).shape == (1, 2, 16)


def test_tei_gives_the_states_of_all_tokens_text_after_text() -> None:
    service = open_service("tei", get_model("hashing-16"), cache=Path("unused"))
    states = service.operations["embed_all"]({"inputs": TEXTS}, lambda: False)
    assert (states.rows.dtype, list(states.lengths)) == (np.float16, [2, 1, 5])
    words = ["one", "two", "three", "four", ",", "five", "six", "!"]
    np.testing.assert_allclose(states.rows, hash_embed(words, 16), atol=1e-3)
    assert [rows.shape for rows in states.rounded()] == [(2, 16), (1, 16), (5, 16)]


def test_openai_embeddings_come_as_numbers_or_bytes_with_their_usage() -> None:
    plain = ask("openai-embeddings", {"input": TEXTS, "model": "any"})
    packed = ask("openai-embeddings", {"input": TEXTS, "encoding_format": "base64"})
    assert [item["index"] for item in plain["data"]] == [0, 1, 2]
    assert plain["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
    for left, right in zip(plain["data"], packed["data"], strict=True):
        vector = np.frombuffer(base64.b64decode(right["embedding"]), dtype=np.float32)
        np.testing.assert_allclose(left["embedding"], vector, atol=1e-7)


def test_tgi_gives_a_list_of_one_with_details_on_request() -> None:
    payload: dict[str, Any] = {"inputs": "Say\none two three", "parameters": {"details": True, "seed": 5}}
    [reply] = ask("tgi", payload)
    assert reply["generated_text"] == "one two three"
    assert reply["details"]["finish_reason"] == "eos_token"
    assert reply["details"]["generated_tokens"] == 3
    assert reply["details"]["prefill"] == []
    assert "details" not in ask("tgi", {"inputs": "a"})[0]


@pytest.mark.parametrize(
    ("parameters", "text", "reason"),
    [
        ({"max_new_tokens": 2}, "one two", "length"),
        ({"stop": ["three", "two"]}, "one two", "stop_sequence"),
        ({"return_full_text": True}, "one two threeone two three", "eos_token"),
    ],
)
def test_tgi_says_why_it_stopped_and_keeps_the_stop_sequence(
    parameters: dict[str, Any], text: str, reason: str
) -> None:
    [reply] = ask("tgi", {"inputs": "one two three", "parameters": {**parameters, "details": True}})
    assert (reply["generated_text"], reply["details"]["finish_reason"]) == (text, reason)


@pytest.mark.parametrize(
    ("payload", "status", "reason"),
    [
        ({}, 400, "`inputs` cannot be empty"),
        ({"inputs": ["a"]}, 400, "`inputs` must be a string, not a list"),
        ({"inputs": "a", "parameters": []}, 400, "`parameters` must be an object, not a list"),
        ({"inputs": "a", "parameters": {"max_new_tokens": "5"}}, 400, "`max_new_tokens` must be an integer"),
        ({"inputs": "a", "parameters": {"max_new_tokens": True}}, 400, "`max_new_tokens` must be an integer"),
        ({"inputs": "a", "parameters": {"max_new_tokens": 0}}, 422, "`max_new_tokens` must be strictly positive"),
        ({"inputs": "a", "parameters": {"temperature": 0}}, 422, "`temperature` must be strictly positive"),
        ({"inputs": "a", "parameters": {"top_p": 1.0}}, 422, "`top_p` must be > 0.0 and < 1.0"),
        ({"inputs": "a", "parameters": {"top_k": 0}}, 422, "`top_k` must be strictly positive"),
        ({"inputs": "a", "parameters": {"repetition_penalty": -1}}, 422, "`repetition_penalty`"),
        ({"inputs": "a", "parameters": {"best_of": 2}}, 422, "`best_of` != 1"),
        ({"inputs": "a", "parameters": {"stop": ["a"] * 5}}, 422, "up to 4 stop sequences. Given: 5"),
        ({"inputs": "a", "parameters": {"stop": "a"}}, 400, "`stop` must be a list"),
        ({"inputs": "a", "parameters": {"stop": [1]}}, 400, "`stop[0]` must be a string"),
        ({"inputs": "a " * 2000}, 422, "must be <= 2048. Given: 2001 `inputs` tokens and 100 `max_new_tokens`"),
        (
            {"inputs": "a", "parameters": {"grammar": {"type": "regex", "value": "x"}}},
            422,
            "`grammar.type` must be json",
        ),
        ({"inputs": "a", "parameters": {"grammar": {"type": "json", "value": 7}}}, 400, "must be a JSON schema"),
        ({"inputs": "a", "parameters": {"grammar": {"type": "json", "value": "{"}}}, 400, "is not JSON"),
        (
            {"inputs": "a", "parameters": {"grammar": {"type": "json", "value": {"properties": {"b": {"type": "x"}}}}}},
            422,
            "`grammar.value.properties.b.type` is none of",
        ),
    ],
)
def test_tgi_refuses_what_the_original_refuses(payload: dict[str, Any], status: int, reason: str) -> None:
    found = refused("tgi", payload)
    assert (found.status, reason in found.reason) == (status, True), found


SCHEMA = {"type": "object", "properties": {"type": {"type": "string", "enum": ["a", "b"]}}, "required": ["type"]}


def test_a_schema_binds_the_reply_under_both_contracts() -> None:
    for value in (SCHEMA, json.dumps(SCHEMA)):
        [reply] = ask("tgi", {"inputs": "x", "parameters": {"grammar": {"type": "json", "value": value}}})
        assert json.loads(reply["generated_text"]) == {"type": "a"}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    reply = ask("openai-chat", {"messages": [{"role": "user", "content": "x"}], "response_format": form})
    assert json.loads(reply["choices"][0]["message"]["content"]) == {"type": "a"}


def test_a_tgi_stream_has_an_event_a_piece_and_the_whole_text_in_the_last() -> None:
    payload = {"inputs": "Say\none two three", "stream": True, "parameters": {"details": True, "stop": [" three"]}}
    found = [json.loads(data) for data in streamed("tgi", payload)]
    [whole] = ask("tgi", payload)
    assert [item["token"]["text"] for item in found] == ["one", " two", " three"]
    assert [item["generated_text"] for item in found] == [None, None, whole["generated_text"]]
    last = found[-1]["details"]
    assert (last["finish_reason"], last["generated_tokens"], last["input_length"]) == ("stop_sequence", 2, 4)
    ended = [json.loads(data) for data in streamed("tgi", {"inputs": "one two", "stream": True})]
    assert [item["token"]["special"] for item in ended] == [False, False, True]
    assert ended[-1]["details"] is None


def test_a_chat_stream_has_a_chunk_a_piece_why_it_ended_and_the_counts_on_request() -> None:
    payload = {"messages": [{"role": "user", "content": "one two"}], "stream": True, "max_tokens": 1}
    *chunks, done = streamed("openai-chat", payload | {"stream_options": {"include_usage": True}})
    first, one, last, usage = map(json.loads, chunks)
    assert done == "[DONE]"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert one["choices"][0]["delta"] == {"content": "one"}
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "length")
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 1)
    assert len(streamed("openai-chat", payload)) == len(chunks)


@pytest.mark.parametrize(
    ("contract", "payload", "reason"),
    [
        ("tgi", {"inputs": "", "stream": True}, "`inputs` cannot be empty"),
        ("openai-chat", {"messages": [], "stream": True}, "`messages` cannot be empty"),
        ("tgi", {"inputs": "a", "stream": "yes"}, "`stream` must be true or false"),
    ],
)
def test_a_stream_refuses_what_a_whole_reply_would_be_refused_for(
    contract: Contract, payload: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Refused, match=reason):
        streamed(contract, payload)


def test_chat_replies_to_the_last_turn_and_leaves_the_stop_sequence_out() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "one two "}, {"type": "text", "text": "three"}]},
    ]
    whole = ask("openai-chat", {"messages": messages})
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "one two three"}
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["usage"]["completion_tokens"] == 3
    stopped = ask("openai-chat", {"messages": messages, "stop": " three"})
    assert stopped["choices"][0]["message"]["content"] == "one two"
    assert ask("openai-chat", {"messages": messages, "max_tokens": 1})["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({}, "`messages` cannot be empty"),
        ({"messages": ["hi"]}, "`messages[0]` must be an object"),
        ({"messages": [{"role": "wizard", "content": "a"}]}, "`messages[0].role`"),
        ({"messages": [{"role": "user", "content": 3}]}, "`messages[0].content` must be text"),
        ({"messages": [{"role": "user", "content": "a"}], "n": 2}, "`n`"),
        ({"messages": [{"role": "user", "content": "a"}], "max_tokens": 5000}, "must be <= 2048"),
        (
            {"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "xml"}},
            "`response_format.type`",
        ),
    ],
)
def test_chat_refuses_what_it_cannot_read(payload: dict[str, Any], reason: str) -> None:
    found = refused("openai-chat", payload)
    assert (found.status, reason in found.reason) == (400, True), found


def test_refusals_take_the_shape_of_each_original() -> None:
    refusal = Refused(413, "too long", "validation")
    assert refusal_body("tei", refusal) == {"error": "too long", "error_type": "Validation"}
    assert refusal_body("tgi", refusal) == {"error": "too long", "error_type": "validation"}
    assert refusal_body("openai-chat", refusal)["error"]["code"] == 413


def test_a_contract_of_another_task_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'tgi' is for text-generation, and model 'hashing-16'"):
        open_service("tgi", get_model("hashing-16"), cache=Path("unused"))
    with pytest.raises(ConfigurationError, match="no runtime"):
        open_service("tgi", get_model("flan-t5-xl"), cache=Path("unused"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(
    st.sampled_from(["tei", "hf-feature-extraction", "openai-embeddings", "tgi", "openai-chat"]),
    st.dictionaries(
        st.sampled_from(["inputs", "input", "truncate", "normalize", "stream", "messages", "stop", "n", "parameters"]),
        json_values | st.dictionaries(st.sampled_from(["stop", "seed", "top_p", "grammar", "details"]), json_values),
    ),
)
def test_any_payload_is_answered_or_refused(contract: Contract, payload: dict[str, Any]) -> None:
    status = 200
    try:
        ask(contract, payload)
    except Refused as refusal:
        status = refusal.status
    assert status in (200, 400, 413, 422)
