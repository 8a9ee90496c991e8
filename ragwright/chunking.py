"""Cutting answers into sections that an embedding model reads whole.

An answer becomes a line of *pieces*: words with the blanks after them, or parts of words too costly to move in one go.
Each piece has a price in tokens and bytes, and each place between two has a `Cut`. Packing only adds prices up and
looks for the best cut, so its time is linear in the text.

Adding up is exact for tokenizers that split at blanks first and close for the others. Every text to be embedded is
counted as a whole in the end, and a row that came out too long is packed again, tighter.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ragwright.documents import CHUNKS, chunk_id
from ragwright.errors import ConfigurationError, RequestRejected
from ragwright.segmentation import Cut, breakable, clusters, has_long_word, strong_cuts, words
from ragwright.settings import ChunkingSettings

CHUNKER_VERSION = 1
"""Raised whenever the same answer would be cut or embedded differently than before."""

MAX_SECTION_BYTES = 8_000
"""Of a section as UTF-8 JSON: tokens do not bound bytes, and stores take 40 KB of metadata with a record."""

MIN_SECTION_TOKENS = 8
"""What a question must leave free of an embedded text for a section of its answer."""

# A piece costs at most this (unless it is one code point), so that packing never meets one it cannot place.
_PIECE_TOKENS = MIN_SECTION_TOKENS
_PIECE_BYTES = 256
_CLUSTERS_OF_A_PIECE = 8
# The best cut wins if the section is then at least this full; a sentence is worth a quarter of a section, not less.
_LEAST_FILL = (
    (Cut.PARAGRAPH, 0.75),
    (Cut.LINE, 0.75),
    (Cut.SENTENCE, 0.25),
    (Cut.WORD, 0.25),
    (Cut.CLUSTER, 0.0),
    (Cut.INSIDE_CLUSTER, 0.0),
)
_OVERLAP_STARTS = (Cut.SENTENCE, Cut.WORD, Cut.CLUSTER)
# Overlap is context; more than this share of a section would be repetition.
_MAX_OVERLAP_SHARE = 4

Ints = npt.NDArray[np.int64]

_as_json = json.JSONEncoder(ensure_ascii=False).encode


class TokenCounter(Protocol):
    """Counts tokens as the embedding model does; every `Embedder` is one."""

    max_tokens: int

    def count_tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """Tokens of each text, special tokens included: int32 [n]."""


def text_format(settings: ChunkingSettings) -> str:
    """What is embedded, for an embedder's fingerprint: vectors of two formats are not comparable."""
    return f"{settings.embed}/{CHUNKER_VERSION}"


def chunker_fingerprint(settings: ChunkingSettings, max_tokens: int) -> str:
    """Everything but the tokenizer that decides how a row is cut, such as `question+answer/1:256/24`.

    Args:
        settings: How to cut.
        max_tokens: The embedder's limit. Its tokenizer is named by the embedder's own fingerprint.
    """
    return f"{text_format(settings)}:{_limit(settings, max_tokens)}/{settings.overlap_tokens}"


def max_question_tokens(settings: ChunkingSettings, max_tokens: int) -> int | None:
    """The longest question that can be chunked, special tokens included; None where questions are not embedded."""
    return _limit(settings, max_tokens) - MIN_SECTION_TOKENS if settings.embed == "question+answer" else None


def embedded_text(question: str, text: str, fingerprint: str) -> str:
    """What was embedded for a section, from what is stored of it; `fingerprint` as `chunker_fingerprint` made it."""
    return _embed_text(f"{question}\n" if fingerprint.startswith("question+answer/") else "", text)


def chunk_rows(rows: pa.Table, embedder_counter: TokenCounter, settings: ChunkingSettings) -> pa.Table:
    """Cut every answer of a partition into sections.

    Sections are slices of the answer, in order. Each begins with up to `overlap_tokens` of the one before it, whole
    sentences where they fit; without these overlaps they add up to the answer, character by character.

    Args:
        rows: Laid out as `documents.ROWS`.
        embedder_counter: Counts with the embedder's own tokenizer.
        settings: How to cut.

    Returns:
        Laid out as `documents.CHUNKS`, at least one chunk a row. No `embed_text` is over the limit in tokens, no
        `text` over `MAX_SECTION_BYTES`.

    Raises:
        RequestRejected: A question leaves no room for its answer (see `max_question_tokens`).
        ConfigurationError: `settings.max_tokens` is more than the embedder takes.
    """
    questions: list[str] = rows["question"].to_pylist()
    answers: list[str] = rows["answer"].to_pylist()
    cutter = _Cutter(embedder_counter, settings)
    heads = [f"{question}\n" if settings.embed == "question+answer" else "" for question in questions]
    rooms = cutter.rooms(heads, rows["row"].to_pylist())
    sections = cutter.whole(heads, answers)
    long = [at for at, found in enumerate(sections) if not found]
    cut = cutter.cut([heads[at] for at in long], [answers[at] for at in long], rooms[long])
    for at, found in zip(long, cut, strict=True):
        sections[at] = found

    counts = np.array([len(found) for found in sections], np.int32)
    of_row = pa.array(np.repeat(np.arange(len(sections)), counts))
    whole = rows.select(["row_key", "row", "question", "metadata"]).take(of_row)
    kept = zip(rows["row_key"].to_pylist(), questions, rows["metadata"].to_pylist(), sections, strict=True)
    ids = [
        chunk_id(
            row_key=key,
            part=part,
            question=question,
            text=section.text,
            embed_text=section.embed_text,
            metadata=metadata,
        )
        for key, question, metadata, found in kept
        for part, section in enumerate(found)
    ]
    flat = [section for found in sections for section in found]
    columns = {
        **{name: whole[name] for name in whole.column_names},
        "chunk_id": ids,
        "part": [part for found in sections for part in range(len(found))],
        "parts": np.repeat(counts, counts),
        "text": [section.text for section in flat],
        "embed_text": [section.embed_text for section in flat],
        "tokens": [section.tokens for section in flat],
    }
    return pa.table({name: columns[name] for name in CHUNKS.names}, schema=CHUNKS)


class _Section(NamedTuple):
    text: str
    embed_text: str
    tokens: int


def _limit(settings: ChunkingSettings, max_tokens: int) -> int:
    if settings.max_tokens is None:
        return max_tokens
    if settings.max_tokens > max_tokens:
        raise ConfigurationError(
            f"chunking.max_tokens is {settings.max_tokens!r}, but the embedding model reads {max_tokens} tokens",
            hint="Lower it, or leave it out to use what the model takes.",
        )
    return settings.max_tokens


def _json_bytes(text: str) -> int:
    return len(_as_json(text).encode("utf-8", "surrogatepass")) - 2


class _Cutter:
    """One partition's worth of cutting: a tokenizer, its limit, and what pieces cost."""

    def __init__(self, counter: TokenCounter, settings: ChunkingSettings) -> None:
        self.counter = counter
        self.limit = _limit(settings, counter.max_tokens)
        self.overlap = settings.overlap_tokens
        self.special = int(counter.count_tokens([""])[0])

    def rooms(self, heads: Sequence[str], numbers: Sequence[int]) -> Ints:
        """Tokens that each head leaves for a section: int64 [n]."""
        rooms = self.limit - self.counter.count_tokens([breakable(head) for head in heads]).astype(np.int64)
        for at in np.flatnonzero(rooms < MIN_SECTION_TOKENS)[:1]:
            raise RequestRejected(
                f"the question {heads[at][:80]!r} has {self.limit - rooms[at]} tokens, which leaves no room for its "
                f"answer in the {self.limit} tokens embedded at once",
                place=f"row {numbers[at]}",
                hint=f"Shorten it to {self.limit - MIN_SECTION_TOKENS} tokens, or embed answers only (chunking.embed).",
            )
        return rooms

    def whole(self, heads: Sequence[str], answers: Sequence[str]) -> list[list[_Section]]:
        """One section for each answer that needs no cutting, none for the others."""
        # Most answers of an FAQ fit; this guess spares those the cutting, and long ones a count in vain.
        likely = [
            at
            for at, answer in enumerate(answers)
            if len(answer) <= 6 * self.limit and _json_bytes(answer) <= MAX_SECTION_BYTES
        ]
        texts = [_embed_text(heads[at], answers[at]) for at in likely]
        found: list[list[_Section]] = [[] for _ in answers]
        for at, text, tokens in zip(likely, texts, self.counter.count_tokens(texts).tolist(), strict=True):
            if tokens <= self.limit:
                found[at] = [_Section(answers[at], text, tokens)]
        return found

    def cut(self, heads: Sequence[str], answers: Sequence[str], rooms: Ints) -> list[list[_Section]]:
        """Sections of each answer, within its room."""
        prices = _Prices(self.counter, self.special)
        pieces = [prices.numbers(words(answer)) for answer in answers]
        prices.learn()
        found: list[list[_Section]] = [[] for _ in answers]
        rooms = rooms.copy()
        pending = list(range(len(answers)))
        while pending:
            drafts = []
            for at in pending:
                spans = _pack(_Line.of(answers[at], pieces[at], prices), int(rooms[at]), self.overlap)
                drafts.append([answers[at][start:stop] for start, stop in spans])
            embedded = [
                text
                for at, texts in zip(pending, drafts, strict=True)
                for text in _embed_texts(heads[at], answers[at], texts)
            ]
            counted = zip(embedded, self.counter.count_tokens(embedded).tolist(), strict=True)
            for at, texts in zip(pending, drafts, strict=True):
                found[at] = [_Section(text, *next(counted)) for text in texts]
            over = {at: max(section.tokens for section in found[at]) - self.limit for at in pending}
            pending = [at for at in pending if over[at] > 0]
            for at in pending:
                rooms[at] -= max(over[at], rooms[at] // 10)
                if rooms[at] < 1:
                    raise RequestRejected(
                        f"the answer {answers[at][:80]!r} cannot be cut to {self.limit} tokens",
                        hint="Raise chunking.max_tokens, or shorten the question.",
                    )
        return found


def _embed_text(head: str, text: str) -> str:
    return breakable(head + text)


def _embed_texts(head: str, answer: str, texts: Iterable[str]) -> Iterator[str]:
    """`_embed_text` of slices of an answer; where it has no long word they have none either."""
    if has_long_word(answer) or has_long_word(head):
        return (_embed_text(head, text) for text in texts)
    return (head + text for text in texts)


class _Prices:
    """What each distinct piece of a partition costs, counted once, and into what the dear ones are cut.

    Pieces go by numbers, so that no word of a partition is kept twice.
    """

    def __init__(self, counter: TokenCounter, special: int) -> None:
        self._counter = counter
        self._special = special
        self._numbers: dict[str, int] = defaultdict(count().__next__)
        # Characters, tokens and bytes: [3, n].
        self._costs = np.empty((3, 0), np.int64)
        self._dear = np.empty(0, bool)
        self._parts: dict[int, tuple[Ints, Cut]] = {}

    def numbers(self, pieces: Sequence[str]) -> Ints:
        """Of each piece: int64 [n]. New ones are priced by the next `learn`."""
        return np.fromiter(map(self._numbers.__getitem__, pieces), np.int64, len(pieces))

    def learn(self) -> None:
        """Price what is new, in one call to the tokenizer for all of it, and then the parts of what is dear."""
        while fresh := list(islice(self._numbers, self._costs.shape[1], None)):
            first = self._costs.shape[1]
            lengths = np.fromiter(map(len, fresh), np.int64, len(fresh))
            tokens = self._counter.count_tokens([breakable(piece) for piece in fresh]) - self._special
            sizes = np.fromiter(map(_json_bytes, fresh), np.int64, len(fresh))
            self._costs = np.hstack([self._costs, [lengths, tokens, sizes]])
            dear = ((tokens > _PIECE_TOKENS) | (sizes > _PIECE_BYTES)) & (lengths > 1)
            self._dear = np.append(self._dear, dear)
            for at in np.flatnonzero(dear).tolist():
                parts, cut = _parts(fresh[at])
                self._parts[first + at] = self.numbers(parts), cut

    def sums(self, numbers: Ints) -> Ints:
        """Characters, tokens and bytes as UTF-8 JSON of what is before each place in a line: int64 [3, n + 1]."""
        sums = np.zeros((3, len(numbers) + 1), np.int64)
        np.cumsum(self._costs[:, numbers], axis=1, out=sums[:, 1:])
        return sums

    def split(self, line: Ints, after: Cut) -> tuple[Ints, Ints]:
        """A line's pieces, dear ones cut into their parts and those into theirs, and the cut that follows each."""
        dear = np.flatnonzero(self._dear[line]).tolist()
        cuts = np.full(len(line), int(after))
        if not dear:
            return line, cuts
        found, done = [], 0
        for at in dear:
            parts, inner = self.split(*self._parts[int(line[at])])
            inner[-1] = after
            found += [(line[done:at], cuts[done:at]), (parts, inner)]
            done = at + 1
        pieces, after_each = zip(*found, (line[done:], cuts[done:]), strict=True)
        return np.concatenate(pieces), np.concatenate(after_each)


def _parts(piece: str) -> tuple[list[str], Cut]:
    characters = clusters(piece)
    if len(characters) == 1:
        return list(piece), Cut.INSIDE_CLUSTER
    size = _CLUSTERS_OF_A_PIECE if len(characters) > _CLUSTERS_OF_A_PIECE else 1
    return ["".join(characters[at : at + size]) for at in range(0, len(characters), size)], Cut.CLUSTER


@dataclass(frozen=True)
class _Line:
    """The pieces of one answer. All sequences are [n + 1], for the places before, between and after n pieces.

    Attributes:
        offsets: In the answer, in characters.
        tokens: Of everything before the place.
        bytes: Likewise, as UTF-8 JSON.
        places: At which a cut is at least so good, by the cut.
    """

    offsets: Sequence[int]
    tokens: Sequence[int]
    bytes: Sequence[int]
    places: Sequence[Sequence[int]]

    @classmethod
    def of(cls, text: str, pieces: Ints, prices: _Prices) -> _Line:
        """Lay out a text, given with its words, which have been priced."""
        pieces, after = prices.split(pieces, Cut.WORD)
        offsets, tokens, sizes = prices.sums(pieces)
        cuts = np.append(Cut.PARAGRAPH, after)
        strong = np.array([*strong_cuts(text), (0, Cut.PARAGRAPH), (len(text), Cut.PARAGRAPH)], np.int64)
        np.maximum.at(cuts, np.searchsorted(offsets, strong[:, 0]), strong[:, 1])
        every, weakest = range(len(cuts)), int(cuts.min())
        places = [np.flatnonzero(cuts >= cut).tolist() if cut > weakest else every for cut in range(len(Cut))]
        return cls(offsets.tolist(), tokens.tolist(), sizes.tolist(), places)


def _pack(line: _Line, room: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Spans of the answer in characters, each within `room` tokens, the next beginning inside or right after the last.

    Args:
        line: The answer's pieces.
        room: Tokens of one section.
        overlap: Tokens that neighbours share, at most.
    """
    last = len(line.offsets) - 1
    start = done = 0
    while True:
        reach = _reach(line, start, room)
        if reach <= done < last:
            # Nothing new fits behind the overlap; a piece too large by itself goes alone, to be counted as a whole.
            reach = max(_reach(line, done, room), done + 1)
            start = done
        stop = reach if reach == last else _best_cut(line, done, reach)
        yield line.offsets[start], line.offsets[stop]
        if stop == last:
            return
        start, done = _overlap_start(line, start, stop, min(overlap, room // _MAX_OVERLAP_SHARE)), stop


def _reach(line: _Line, start: int, room: int) -> int:
    """The last place to which a section from `start` may go."""
    by_tokens = bisect_right(line.tokens, line.tokens[start] + room)
    by_bytes = bisect_right(line.bytes, line.bytes[start] + MAX_SECTION_BYTES)
    return min(by_tokens, by_bytes) - 1


def _best_cut(line: _Line, done: int, reach: int) -> int:
    """Where to end a section that has to end in (done, reach]."""
    begin, length = line.offsets[done], line.offsets[reach] - line.offsets[done]
    for cut, fill in _LEAST_FILL:
        places = line.places[cut]
        at = bisect_right(places, reach) - 1
        if at >= 0 and places[at] > done and line.offsets[places[at]] >= begin + fill * length:
            return places[at]
    return reach


def _overlap_start(line: _Line, start: int, stop: int, overlap: int) -> int:
    """Where the section after [start, stop) begins: up to `overlap` tokens before `stop`, at a sentence if it can."""
    if not overlap:
        return stop
    first = max(
        start + 1,
        bisect_left(line.tokens, line.tokens[stop] - overlap),
        bisect_left(line.bytes, line.bytes[stop] - MAX_SECTION_BYTES // _MAX_OVERLAP_SHARE),
    )
    for cut in _OVERLAP_STARTS:
        places = line.places[cut]
        at = bisect_left(places, first)
        if at < len(places) and places[at] < stop:
            return places[at]
    return stop
