"""Sections beside those of a plain search, which looks at every place and keeps to the rules word for word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pytest
from effort import EFFORT
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from test_chunking import ANSWERS, SENTENCES, Counter, byte_level, chunk, wordpiece

from ragwright.chunking import chunk_rows
from ragwright.embedding import HashingEmbedder
from ragwright.segmentation import Cut, breakable, clusters, strong_cuts, words
from ragwright.settings import ChunkingSettings, SourceSettings
from ragwright.sources import read

HEAD = "the question\n"


def json_bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2


def tokens(text: str, counter: Counter) -> int:
    found, special = counter.count_tokens([breakable(text), ""]).tolist()
    return int(found - special)


def pieces(unit: str, after: Cut, counter: Counter) -> Iterator[tuple[str, Cut]]:
    """What a unit is cut into, with the cut after each: itself, if it is cheap enough."""
    if len(unit) == 1 or (tokens(unit, counter) <= 8 and json_bytes(unit) <= 256):
        yield unit, after
        return
    characters = clusters(unit)
    size = 8 if len(characters) > 8 else 1
    parts = ["".join(characters[at : at + size]) for at in range(0, len(characters), size)]
    cut = Cut.CLUSTER
    if len(characters) == 1:
        parts, cut = list(unit), Cut.INSIDE_CLUSTER
    for part in parts[:-1]:
        yield from pieces(part, cut, counter)
    *rest, (last, _) = pieces(parts[-1], cut, counter)
    yield from rest
    yield last, after


def line_of(answer: str, counter: Counter) -> list[tuple[str, Cut]]:
    return [piece for word in words(answer) for piece in pieces(word, Cut.WORD, counter)]


def plain_sections(answer: str, room: int, overlap: int, counter: Counter) -> Iterator[str]:
    line = line_of(answer, counter)
    offsets = [0, *accumulate(len(piece) for piece, _ in line)]
    cost = [0, *accumulate(tokens(piece, counter) for piece, _ in line)]
    size = [0, *accumulate(json_bytes(piece) for piece, _ in line)]
    cuts = dict(zip(offsets, [Cut.PARAGRAPH, *(cut for _, cut in line)], strict=True))
    for offset, cut in [*strong_cuts(answer), (len(answer), Cut.PARAGRAPH)]:
        cuts[offset] = max(cuts[offset], cut)
    places = range(len(offsets))
    level = [cuts[offset] for offset in offsets]

    def reach(start: int) -> int:
        return max(at for at in places if cost[at] <= cost[start] + room and size[at] <= size[start] + 8_000)

    def end(done: int, last: int) -> int:
        for cut in sorted(Cut, reverse=True):
            full = 0.75 if cut >= Cut.LINE else 0.25 if cut >= Cut.WORD else 0
            least = full * (offsets[last] - offsets[done])
            for at in reversed(places[done + 1 : last + 1]):
                if level[at] >= cut and offsets[at] - offsets[done] >= least:
                    return at
        return last

    def begin(start: int, stop: int, most: int) -> int:
        near = [
            at for at in places[start + 1 : stop] if cost[stop] - cost[at] <= most and size[stop] - size[at] <= 2_000
        ]
        return next((at for cut in (3, 2, 1) for at in near if most and level[at] >= cut), stop)

    start = stop = 0
    while True:
        last = reach(start)
        if last <= stop < places[-1]:
            last, start = max(reach(stop), stop + 1), stop
        stop = last if last == places[-1] else end(stop, last)
        yield answer[offsets[start] : offsets[stop]]
        if stop == places[-1]:
            return
        start = begin(start, stop, min(overlap, room // 4))


@settings(
    max_examples=60 * EFFORT, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(
    answer=st.one_of(ANSWERS, st.lists(st.sampled_from([SENTENCES, "\n", "\n\n", "the " * 9, "- a\n"])).map("".join)),
    counter=st.sampled_from([wordpiece(32), wordpiece(64), byte_level(64)]),
    overlap=st.integers(0, 30),
)
@example(answer=SENTENCES * 9, counter=wordpiece(40), overlap=12)
@example(answer="\x01" * 9_000, counter=byte_level(512), overlap=500)
def test_sections_are_those_of_a_plain_search(answer: str, counter: Counter, overlap: int) -> None:
    room = counter.max_tokens - int(counter.count_tokens([HEAD])[0])
    plain = list(plain_sections(answer, room, overlap, counter))
    # Where pieces do not add up, an answer may fit as a whole all the same, or is packed again in less room.
    assume(tokens(answer, counter) == sum(tokens(piece, counter) for piece, _ in line_of(answer, counter)))
    found = chunk(answer, counter, overlap_tokens=overlap)
    assert [section["text"] for section in found] == plain
    assert [section["embed_text"] for section in found] == [breakable(HEAD + text) for text in plain]


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ({}, "6bfd147bdd43fefb"),
        ({"max_tokens": 64}, "9f9438b35987247a"),
        ({"max_tokens": 48, "overlap_tokens": 0, "embed": "answer"}, "a9c99118f923272f"),
    ],
)
def test_sections_of_the_sample_faq_stay_as_they_are(options: dict[str, object], digest: str) -> None:
    sample = Path(__file__).resolve().parents[2] / "data" / "sagemaker_faq.csv"
    rows = pa.concat_tables(partition for partition in read(str(sample), SourceSettings()))
    with HashingEmbedder(384) as embedder:
        chunks = chunk_rows(rows, embedder, ChunkingSettings(**options))
    told = json.dumps([chunks["chunk_id"].to_pylist(), chunks["tokens"].to_pylist()])
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == digest
