"""Replies in pieces, over real HTTP: the same text as the whole reply, however they are cut, and told when cut off."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import pytest
from emulators.model_server import ModelServer, Pieces, Raw, cut, events, serve
from hypothesis import given
from hypothesis import strategies as st

from ragwright.endpoints import Contract
from ragwright.endpoints.http import HttpEndpoint
from ragwright.errors import (
    BadReply,
    PayloadTooLarge,
    RagwrightError,
    RequestRejected,
    Throttled,
    TimedOut,
    Unavailable,
)
from ragwright.generation import EndpointGenerator, Generation, Message, ScriptedGenerator
from ragwright.generation.pieces import UntilStop, chat_pieces, read_events, tgi_pieces
from ragwright.model_settings import GenerationSettings
from ragwright.models import get_model

TALK = [Message("user", "What is up?")]
WORDS = ("Not ", "much, ", "café ", "😀.")


def token(text: str, *, special: bool = False, **last: Any) -> dict[str, Any]:
    token = {"id": 5, "text": text, "logprob": -0.1, "special": special}
    return {"token": token, "generated_text": None, "details": None, **last}


def tgi_events(words: Iterable[str] = WORDS, finish: str = "eos_token") -> list[dict[str, Any]]:
    words = list(words)
    details = {"finish_reason": finish, "generated_tokens": 4, "input_length": 9}
    return [*map(token, words), token("</s>", special=True, generated_text="".join(words), details=details)]


def chunk(text: str | None = None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}]}


def chat_events(words: Iterable[str] = WORDS, finish: str | None = "stop") -> list[dict[str, Any]]:
    usage = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    return [chunk(""), *map(chunk, words), chunk(finish=finish), usage]


SENT: dict[Contract, bytes] = {"tgi": events(*tgi_events()), "openai-chat": events(*chat_events(), done=True)}


def generator(server: ModelServer, contract: Contract, **options: Any) -> EndpointGenerator:
    return EndpointGenerator(
        HttpEndpoint("llm", server.url, contract, **options), get_model("scripted"), GenerationSettings()
    )


def streamed(model: EndpointGenerator, **options: Any) -> tuple[list[str], Generation]:
    *pieces, whole = model.stream(TALK, max_new_tokens=20, **options)
    assert isinstance(whole, Generation)
    assert "".join(map(str, pieces)) == whole.text
    return list(map(str, pieces)), whole


@pytest.mark.parametrize("contract", ["tgi", "openai-chat"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_come_as_they_are_written_however_the_bytes_are_cut(contract: Contract, size: int) -> None:
    with serve(lambda _: Pieces(cut(SENT[contract], size))) as server, generator(server, contract) as model:
        pieces, whole = streamed(model)
    assert pieces == list(WORDS)
    assert whole == Generation("".join(WORDS), "stop", prompt_tokens=9, new_tokens=4)
    assert server.asked[0]["stream"] is True


def test_the_first_piece_is_there_before_the_last_is_written() -> None:
    seen: list[str] = []

    def slowly() -> Iterable[bytes]:
        yield events(token("Not "))
        while not seen:  # the server waits for the reader
            pass
        yield events(*tgi_events([])[-1:])

    with serve(lambda _: Pieces(slowly())) as server, generator(server, "tgi") as model:
        seen.extend(str(piece) for piece in model.stream(TALK, max_new_tokens=20))
    assert seen[0] == "Not "


@pytest.mark.parametrize("contract", ["tgi", "openai-chat"])
def test_stop_strings_are_never_shown_and_a_cut_reply_says_so(contract: Contract) -> None:
    made = tgi_events if contract == "tgi" else chat_events
    sent = events(*made(["Yes", ". EN", "D more"]))
    with serve(lambda _: Pieces([sent])) as server, generator(server, contract) as model:
        assert streamed(model, stop=["END"]) == (["Yes", ". "], Generation("Yes. ", "stop", 9, 4))
        pieces, whole = streamed(model, stop=["EN!"])
        assert (pieces, whole.finish_reason) == (["Yes", ". ", "END more"], "stop")
    cut_off = events(*made(["Yes, EN"], finish="length"))
    with serve(lambda _: Pieces([cut_off])) as server, generator(server, contract) as model:
        assert streamed(model, stop=["END"])[1] == Generation("Yes, EN", "length", 9, 4)


def test_a_stop_string_the_server_does_not_know_ends_the_reply_at_once() -> None:
    def endless() -> Iterable[bytes]:
        yield events(chunk("one two"))
        while True:
            yield events(chunk(" three"))

    with serve(lambda _: Pieces(endless())) as server, generator(server, "openai-chat") as model:
        pieces, whole = streamed(model, stop=["A", "B", "C", "D", "two"])
    assert (pieces, whole.finish_reason, whole.new_tokens) == (["one "], "stop", None)
    assert server.asked[0]["stop"] == ["A", "B", "C", "D"]


@pytest.mark.parametrize("contract", ["tgi", "openai-chat"])
def test_a_server_that_answers_whole_all_the_same_is_read_whole(contract: Contract) -> None:
    tgi = [{"generated_text": "Not much.", "details": {"finish_reason": "length"}}]
    chat = {"choices": [{"message": {"content": "Not much."}, "finish_reason": "length"}]}
    with serve(lambda _: tgi if contract == "tgi" else chat) as server, generator(server, contract) as model:
        pieces, whole = streamed(model)
    assert (pieces, whole.finish_reason, len(server.asked)) == (["Not much."], "length", 1)


def test_a_server_that_refuses_streams_is_asked_for_whole_replies_from_then_on() -> None:
    def reply(payload: dict[str, Any]) -> Any:
        if "stream" in payload:
            return Raw(b'{"error": "`stream` is not supported"}', 400)
        return [{"generated_text": "Not much."}]

    with serve(reply) as server, generator(server, "tgi") as model:
        assert streamed(model)[0] == ["Not much."]
        assert streamed(model)[0] == ["Not much."]
    assert [payload.get("stream") for payload in server.asked] == [True, None, None]


def test_a_request_that_is_refused_in_any_form_says_why_and_streams_later() -> None:
    replies = [Raw(b'{"error": "too many tokens"}', 422)] * 2 + [Pieces([SENT["tgi"]])]
    with serve(lambda _: replies.pop(0)) as server, generator(server, "tgi") as model:
        with pytest.raises(RequestRejected, match="too many tokens"):
            streamed(model)
        assert streamed(model)[0] == list(WORDS)


BROKEN: list[tuple[Contract, Any, type[RagwrightError], str]] = [
    ("tgi", Pieces([events(token("Not "))], whole=False), Unavailable, "broke off"),
    ("openai-chat", Pieces([events(chunk("Not "))], whole=False), Unavailable, "broke off"),
    ("tgi", Pieces([events(token("Not "))]), Unavailable, "broke off before its end"),
    ("openai-chat", Pieces([events(chunk("Not "))]), Unavailable, "broke off before its end"),
    ("tgi", Pieces([events(token("Not ")), b'data:{"token": {"te']), BadReply, "no JSON"),
    ("tgi", Pieces([events(token("Not "), {"error": "no room", "error_type": "generation"})]), Unavailable, "no room"),
    ("tgi", Pieces([events(token("Not "), {"error": "busy", "error_type": "overloaded"})]), Throttled, "busy"),
    ("openai-chat", Pieces([events(chunk("Not "), {"error": {"message": "b", "code": 400}})]), RequestRejected, "b"),
    ("openai-chat", Pieces([events(chunk("Not "), chunk(finish="content_filter"))]), RequestRejected, "filter"),
    ("openai-chat", Pieces([events(chunk("Not "), {"choices": [7]})]), BadReply, "expected `choices`"),
    ("tgi", Pieces([events(token("Not "), [1])]), BadReply, "expected an event"),
    ("tgi", Pieces([events(token("Not "), {"token": 3})]), BadReply, "expected a `token`"),
]  # fmt: skip


@pytest.mark.parametrize(("contract", "reply", "error", "words"), BROKEN)
def test_a_reply_that_breaks_off_is_an_error_with_its_place_and_is_not_asked_for_again(
    contract: Contract, reply: Any, error: type[RagwrightError], words: str
) -> None:
    shown: list[str] = []
    with serve(lambda _: reply) as server, generator(server, contract) as model, pytest.raises(error, match=words) as e:
        shown.extend(str(piece) for piece in model.stream(TALK, max_new_tokens=20))
    assert shown == ["Not "]
    assert "endpoint llm" in str(e.value.place)
    assert e.value.hint or error is not Unavailable
    assert len(server.asked) == 1


def test_a_stream_that_says_nothing_in_time_and_one_that_never_begins_are_told_apart() -> None:
    def stuck() -> Iterable[bytes]:
        yield events(token("Not "))
        time.sleep(1)

    late = serve(lambda _: Pieces(stuck()))
    with late as server, generator(server, "tgi", timeout=0.3) as model, pytest.raises(TimedOut):
        streamed(model)
    with serve(lambda _: Raw(b'{"error": "too long"}', 413)) as server, generator(server, "tgi") as model:
        with pytest.raises(PayloadTooLarge):
            streamed(model)
        assert len(server.asked) == 1


def test_giving_up_a_stream_gives_the_connection_back() -> None:
    with serve(lambda _: Pieces([SENT["tgi"]])) as server, generator(server, "tgi") as model:
        for _ in range(3):
            pieces = model.stream(TALK, max_new_tokens=20)
            assert next(pieces) == "Not "
            pieces.close()  # type: ignore[attr-defined]
        assert streamed(model)[0] == list(WORDS)


def test_a_script_comes_word_by_word() -> None:
    with ScriptedGenerator(lambda _: " one two\nthree ") as model:
        *pieces, whole = model.stream(TALK, max_new_tokens=9)
    assert pieces == [" one", " two", "\nthree", " "]
    assert whole == model.generate(TALK, max_new_tokens=9)


@given(st.lists(st.text(max_size=6), max_size=8), st.integers(1, 40), st.sampled_from(["\n", "\r\n"]))
def test_any_cut_of_any_events_reads_the_same(words: list[str], size: int, line: str) -> None:
    for made, read in ((tgi_events(words), tgi_pieces), (chat_events(words), chat_pieces)):
        sent = b": keep-alive\n\n" + b"".join(b"data:" + json.dumps(item).encode() + b"\n\n" for item in made)
        sent = sent.replace(b"\n", line.encode())
        *pieces, _ = read(read_events(cut(sent, size)))
        assert "".join(map(str, pieces)) == "".join(words)


@given(
    st.lists(st.text("ab\nEND", max_size=5), max_size=8),
    st.lists(st.text("ab\nEND", min_size=1, max_size=4), max_size=3),
)
def test_any_pieces_end_before_the_first_stop_string(pieces: list[str], stops: list[str]) -> None:
    until = UntilStop(stops)
    whole, shown = "".join(pieces), ""
    end = min((at for stop in stops if (at := whole.find(stop)) >= 0), default=len(whole))
    for piece in pieces:
        shown += until.read(piece)
        assert whole[:end].startswith(shown)
    assert shown + until.rest() == whole[:end]
