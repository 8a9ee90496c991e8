"""Cutting answers into sections: nothing lost, nothing over the limit, cut where a reader would."""

from __future__ import annotations

import json
import string
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from effort import EFFORT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from ragwright.chunking import (
    MAX_SECTION_BYTES,
    MIN_SECTION_TOKENS,
    chunk_rows,
    chunker_fingerprint,
    max_question_tokens,
    text_format,
)
from ragwright.documents import CHUNKS, ROWS
from ragwright.errors import ConfigurationError, RequestRejected
from ragwright.segmentation import clusters, has_long_word, words
from ragwright.settings import ChunkingSettings
from ragwright.stores import MAX_METADATA_BYTES


class Counter:
    """Counts with a tokenizer, special tokens included."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self.tokenizer, self.max_tokens = tokenizer, max_tokens

    def count_tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        return np.array([len(tokens) for tokens in self.tokenizer.encode_batch(list(texts))], np.int32)


def wordpiece(max_tokens: int = 64) -> Counter:
    """BERT's way: words first, then parts; a word of more than 100 characters is one unknown token."""
    whole = ["the", "endpoint", "is", "question", "answer"]
    characters = string.ascii_lowercase + string.digits + string.punctuation
    vocabulary = ["[UNK]", "[CLS]", "[SEP]", *whole, *characters, *(f"##{character}" for character in characters)]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return Counter(tokenizer, max_tokens)


def byte_level(max_tokens: int = 64) -> Counter:
    """One token a byte, blanks included: an emoji family costs 25."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: i for i, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return Counter(tokenizer, max_tokens)


class Dearer:
    """Whole texts cost more than their words: adding up falls short."""

    max_tokens = 40

    def count_tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        return np.array([2 + len(text.split()) * 3 // 2 for text in texts], np.int32)


def table(*pairs: tuple[str, str]) -> pa.Table:
    rows = [
        {"row": i, "row_key": f"key-{i}", "question": question, "answer": answer, "metadata": '{"topic":"x"}'}
        for i, (question, answer) in enumerate(pairs)
    ]
    return pa.Table.from_pylist(rows, schema=ROWS)


def chunk(answer: str, counter: Any = None, *, question: str = "the question", **options: Any) -> list[dict[str, Any]]:
    chunks = chunk_rows(table((question, answer)), counter or wordpiece(), ChunkingSettings(**options))
    assert chunks.schema == CHUNKS
    return chunks.to_pylist()


def texts_of(answer: str, counter: Any = None, **options: Any) -> list[str]:
    return [found["text"] for found in chunk(answer, counter, **options)]


def adds_up(answer: str, sections: list[str]) -> bool:
    """Whether sections, laid each over or right after the end of the last, can give back the answer."""
    ends = {0}
    for section in sections:
        starts = range(len(answer) - len(section) + 1)
        ends = {
            start + len(section)
            for start in starts
            if answer.startswith(section, start)
            and any(start <= end and (end < start + len(section) or not section) for end in ends)
        }
    return len(answer) in ends


SENTENCES = "Red cars go fast. Blue cars go slow. Old cars stay put. New cars drive off. "
ALPHABETS = (
    st.sampled_from(
        ["the endpoint ", "is ", "a", "word. ", "Stop! ", "\n", "\n\n", " ", "| a | b |\n", "- item\n", "`x`"]
    ),
    st.sampled_from(
        [
            "漢",
            "字",
            "。",
            "です",
            "！」",  # noqa: RUF001
            "مرحبا ",
            "؟ ",
            "שלום ",
            "👩‍👩‍👧‍👦",
            "🇩🇪",
            "👍🏽",
            "e\u0301",
            "ภาษา",
            "한국",
            "\u1112\u1161",
        ]
    ),
    st.characters(codec="utf-8"),
    st.sampled_from(["x" * 101, "y" * 350, " " * 400, "\u0301" * 300, "." * 90, '"\\' * 50]),
)
ANSWERS = st.lists(st.one_of(*ALPHABETS), max_size=60).map("".join)
COUNTERS = st.sampled_from([wordpiece(32), wordpiece(64), byte_level(64), byte_level(128), Dearer()])


@settings(max_examples=60 * EFFORT, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answer=ANSWERS, counter=COUNTERS, embed=st.sampled_from(["question+answer", "answer"]))
def test_sections_without_overlap_join_to_the_answer(answer: str, counter: Any, embed: Any) -> None:
    sections = texts_of(answer, counter, overlap_tokens=0, embed=embed)
    assert "".join(sections) == answer


@settings(max_examples=60 * EFFORT, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answer=ANSWERS, counter=COUNTERS, overlap=st.integers(0, 40))
def test_no_limit_is_passed_and_no_text_is_lost(answer: str, counter: Any, overlap: int) -> None:
    chunks = chunk(answer, counter, overlap_tokens=overlap)
    assert adds_up(answer, [found["text"] for found in chunks])
    counted = counter.count_tokens([found["embed_text"] for found in chunks]).tolist()
    assert [found["tokens"] for found in chunks] == counted
    assert max(counted) <= counter.max_tokens
    assert max(len(json.dumps(found["text"], ensure_ascii=False).encode()) for found in chunks) <= MAX_SECTION_BYTES + 2
    assert [found["part"] for found in chunks] == list(range(len(chunks)))
    assert {found["parts"] for found in chunks} == {len(chunks)}


@settings(max_examples=30 * EFFORT, deadline=None)
@given(answers=st.lists(ANSWERS, min_size=2, max_size=5))
def test_a_row_is_cut_the_same_whatever_its_neighbours(answers: list[str]) -> None:
    rows = table(*((f"question {i}", answer) for i, answer in enumerate(answers)))
    together = chunk_rows(rows, wordpiece(), ChunkingSettings())
    alone = [chunk_rows(rows.slice(i, 1), wordpiece(), ChunkingSettings()) for i in range(len(rows))]
    assert together.equals(pa.concat_tables(alone))


@settings(max_examples=30 * EFFORT, deadline=None)
@given(
    answer=st.lists(
        st.sampled_from(["👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "e\u0301", "n\u0303", "\u1112\u1161\u11ab", "漢"]),
        min_size=30,
        max_size=120,
    )
)
def test_no_character_is_cut_in_two(answer: list[str]) -> None:
    sections = texts_of("".join(answer), byte_level(64), overlap_tokens=10)
    assert len(sections) > 1
    assert {cluster for section in sections for cluster in clusters(section)} <= set(answer)


def test_a_long_word_is_cut_though_it_is_also_part_of_others() -> None:
    marks = "\u0301" * 300
    answer = " ".join([*(f"{marks}{letter * 9}" for letter in string.ascii_lowercase), marks])
    assert "".join(texts_of(answer, byte_level(64), overlap_tokens=0)) == answer


@pytest.mark.parametrize(
    "unit",
    [
        "word ",
        "a",
        ".",
        "漢字",
        "漢字です。",
        "👨‍👩‍👧‍👦",
        "\u0301",
        " ",
        "\n",
        "\x01",
        '"',
        "| a | b | 12 |\n",
        "ภาษาไทย",
        "a.b ",
        "مرحبا ",
    ],
    ids=ascii,
)
def test_a_cell_of_200_000_characters_is_cut_in_good_time(unit: str) -> None:
    answer = (unit * (200_000 // len(unit) + 1))[:200_000]
    began = time.perf_counter()
    sections = texts_of(answer, wordpiece(256), overlap_tokens=0)
    assert time.perf_counter() - began < 5  # quadratic work takes minutes
    assert "".join(sections) == answer


@pytest.mark.parametrize("unit", ["\x01", '"', " ", "\u0301", "👍"], ids=ascii)
def test_metadata_of_texts_with_few_tokens_stays_far_below_the_stores_limit(unit: str) -> None:
    for found in chunk(unit * 50_000, wordpiece(512)):
        assert len(json.dumps(found, ensure_ascii=False).encode()) < MAX_METADATA_BYTES


def test_a_short_answer_is_one_chunk_with_its_row() -> None:
    (found,) = chunk("Yes.", question="Is the endpoint up?")
    assert found["text"] == "Yes."
    assert found["embed_text"] == "Is the endpoint up?\nYes."
    assert (found["row"], found["row_key"], found["question"]) == (0, "key-0", "Is the endpoint up?")
    assert (found["part"], found["parts"], found["metadata"]) == (0, 1, '{"topic":"x"}')
    assert len(found["chunk_id"]) == 32


def test_sentences_stay_whole() -> None:
    sections = texts_of(SENTENCES * 4, overlap_tokens=0)
    assert len(sections) > 2
    assert all(section.endswith(". ") for section in sections)


def test_neighbours_share_whole_sentences() -> None:
    sections = texts_of(SENTENCES * 4, overlap_tokens=14)
    assert len(sections) > 2
    for before, after in pairwise(sections):
        shared = after[: after.index(". ") + 2]
        assert before.endswith(shared)


def test_a_sentence_too_long_to_share_is_shared_in_words() -> None:
    sections = texts_of(("the endpoint is " * 60).strip(), overlap_tokens=6)
    for before, after in pairwise(sections):
        assert any(before.endswith(after[:length]) for length in range(3, 60))
        assert before.endswith(("is ", "the ", "endpoint "))


def test_a_section_ends_with_its_paragraph_when_that_fills_it_well() -> None:
    first = "the endpoint is " * 14 + "the end.\n\n"
    second = "the answer is " * 20
    assert texts_of(first + second, overlap_tokens=0)[0] == first


def test_a_list_is_cut_between_its_items_rather_than_between_their_sentences() -> None:
    sections = texts_of("- The endpoint. The answer. The question. The end.\n" * 12, overlap_tokens=0)
    assert len(sections) > 2
    assert all(section.endswith("end.\n") for section in sections)


def test_a_line_break_of_two_characters_is_not_cut() -> None:
    sections = texts_of("\r\n" * 9_000, overlap_tokens=0)
    assert len(sections) > 2
    assert all(section.startswith("\r\n") for section in sections)


def test_an_abbreviation_or_a_lower_case_word_does_not_end_a_sentence() -> None:
    sentence = "the endpoint is e.g. the answer of Dr. X approx. the question est. the answer"
    sections = texts_of(f"{sentence}. The end is near. " * 3, overlap_tokens=0)
    assert all(section.endswith((f"{sentence}. ", "near. ")) for section in sections)


def test_chinese_is_cut_after_its_full_stops() -> None:
    sections = texts_of("这是一个关于端点的问题。" * 20, overlap_tokens=0)
    assert len(sections) > 2
    assert all(section.endswith("。") for section in sections)


def test_a_word_over_100_characters_is_embedded_in_parts_and_shown_whole() -> None:
    word = "abcdefghij" * 12
    (found,) = chunk(word, wordpiece(256))
    assert found["text"] == word
    assert found["embed_text"].replace(" ", "") == f"the question\n{word}".replace(" ", "")
    assert found["tokens"] > 100  # as one unknown token it would be 5


def test_answers_only_are_embedded_when_asked() -> None:
    chunks = chunk(SENTENCES * 4, embed="answer", overlap_tokens=0)
    assert [found["embed_text"] for found in chunks] == [found["text"] for found in chunks]


def test_a_question_that_leaves_no_room_is_an_error_that_names_its_row() -> None:
    longest = max_question_tokens(ChunkingSettings(), 64)
    assert longest == 64 - MIN_SECTION_TOKENS
    chunk("the answer", question=" ".join(["the"] * (longest - 2)))
    with pytest.raises(RequestRejected, match=rf"row 1: the question 'the the.* {longest + 1} tokens"):
        chunk_rows(table(("a", "b"), (" ".join(["the"] * (longest - 1)), "b")), wordpiece(), ChunkingSettings())
    assert max_question_tokens(ChunkingSettings(embed="answer"), 64) is None
    assert chunk("the answer", question="the " * 99, embed="answer")


def test_more_tokens_than_the_model_reads_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="65"):
        chunk("the answer", max_tokens=65)
    assert max(found["tokens"] for found in chunk(SENTENCES * 9, max_tokens=32)) <= 32


def test_an_empty_partition_gives_an_empty_table() -> None:
    chunks = chunk_rows(table(), wordpiece(), ChunkingSettings())
    assert chunks.schema == CHUNKS
    assert len(chunks) == 0


def test_the_fingerprint_names_what_changes_chunks() -> None:
    assert text_format(ChunkingSettings()) == "question+answer/1"
    assert chunker_fingerprint(ChunkingSettings(), 256) == "question+answer/1:256/24"
    assert (
        chunker_fingerprint(ChunkingSettings(embed="answer", max_tokens=128, overlap_tokens=0), 256) == "answer/1:128/0"
    )


@given(ANSWERS)
def test_words_join_to_the_text(text: str) -> None:
    assert "".join(words(text)) == text
    assert "".join(clusters(text)) == text


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["a", "é", ".", " ", "\n", "\u3000"]), st.integers(1, 120)).map(
                lambda run: run[0] * run[1]
            ),
            st.sampled_from([" ", "\n", "\x1c", "b", "x" * 50, "y" * 99, "z" * 100]),
        ),
        max_size=8,
    ).map("".join)
)
def test_long_words_are_found_wherever_they_stand(text: str) -> None:
    assert has_long_word(text) == any(len(word) > 100 for word in text.split())
