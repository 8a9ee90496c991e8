"""Counting tokens word by word: the tokenizer's own count, always, and for less work where that can be."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from effort import EFFORT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ragwright.models import load_tokenizer
from ragwright.models.token_counts import TokenCounts

LETTERS = string.ascii_lowercase + string.digits + string.punctuation + "éäß漢字مש"
VOCABULARY = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "end", "##point", "##s", "mask", *LETTERS]
MARKS = [AddedToken(mark, special=True) for mark in ("[UNK]", "[CLS]", "[SEP]", "[MASK]")]


def bert(normalizer: normalizers.Normalizer | None, *added: AddedToken) -> Tokenizer:
    """BERT's kind, with a vocabulary of letters and a few words."""
    tokens = [*VOCABULARY, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.add_special_tokens([*MARKS, *added])
    return tokenizer


def unlike_bert(change: Callable[[Tokenizer], None]) -> Tokenizer:
    tokenizer = bert(normalizers.BertNormalizer())
    change(tokenizer)
    return tokenizer


def byte_level() -> Tokenizer:
    """A blank belongs to the word after it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate([*alphabet, "Ġt"])}, [("Ġ", "t")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


WORD_BY_WORD = {
    "uncased": bert(normalizers.BertNormalizer()),
    "cased": bert(normalizers.BertNormalizer(lowercase=False)),
    "accents kept": bert(normalizers.BertNormalizer(strip_accents=False)),
    "characters kept": bert(normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False)),
    "no normaliser": bert(None),
    "hashing": load_tokenizer("hashing-384", cache=Path()),
}
WHOLE = {
    "a token with a blank": bert(None, AddedToken("the end", normalized=False)),
    "a blank that is a token": bert(None, AddedToken(" ", normalized=False)),
    "a token that takes blanks": bert(None, AddedToken("the", lstrip=True, normalized=False)),
    "a normalised token": bert(normalizers.BertNormalizer(), AddedToken("end", normalized=True)),
    "words are joined": unlike_bert(
        lambda one: setattr(one, "normalizer", normalizers.Replace(Regex(r"s\s+e"), "se"))  # type: ignore[arg-type]
    ),
    "blanks are kept": unlike_bert(lambda one: setattr(one, "pre_tokenizer", pre_tokenizers.Metaspace())),
    "bytes": byte_level(),
}
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["the", "The", "end", "endpoints", "[MASK]", "[mask]", "mask", " ", " ", "\n", "\u00a0", "."]),
        st.sampled_from(["\v", "\f", "\r", "\x1c", "\x1f", "\x85", "\u2028", "\u200b", "\u3000", "\x00", "\ufffd"]),
        st.sampled_from(["e\u0301", "\u0301", "É", "İ", "ΑΣ", "漢", "字", "。", "한", "ſ", "x" * 64, "y" * 101]),  # noqa: RUF001
        st.characters(codec="utf-8"),
    ),
    max_size=20,
).map("".join)


def whole(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    return [len(encoded) for encoded in tokenizer.encode_batch(list(texts))]


class Watched:
    """A tokenizer that notes what it is asked for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.asked: list[str] = []
        self.words: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def encode_batch_fast(self, texts: list[str]) -> Any:
        self.asked += texts
        return self._tokenizer.encode_batch_fast(texts)

    def encode_batch(self, texts: list[str], **options: Any) -> Any:
        self.words += " ".join(texts).split()
        return self._tokenizer.encode_batch(texts, **options)


@pytest.mark.parametrize("tokenizer", (WORD_BY_WORD | WHOLE).values(), ids=WORD_BY_WORD | WHOLE)
@settings(max_examples=60 * EFFORT)
@given(batches=st.lists(st.lists(TEXTS, max_size=6), min_size=1, max_size=3))
@example(batches=[["the end", "the\x1cend", "the\u2028end", "the\x85end", "s e", "the the"], ["", " "]])
def test_counts_are_the_tokenizers_own(tokenizer: Tokenizer, batches: list[list[str]]) -> None:
    counts = TokenCounts(tokenizer)
    for texts in batches:
        assert counts(texts).tolist() == whole(tokenizer, texts)


@pytest.mark.parametrize("tokenizer", WORD_BY_WORD.values(), ids=WORD_BY_WORD)
def test_a_word_is_tokenised_once(tokenizer: Tokenizer) -> None:
    watched = Watched(tokenizer)
    counts = TokenCounts(watched)  # type: ignore[arg-type]
    counts(["the end", "the endpoint\nof the end"])
    counts(["the endpoint", "the start"])
    assert sorted(watched.words) == ["end", "endpoint", "of", "start", "the"]
    assert watched.asked == [""]


@pytest.mark.parametrize("tokenizer", WHOLE.values(), ids=WHOLE)
def test_texts_whose_words_depend_on_each_other_are_tokenised_whole(tokenizer: Tokenizer) -> None:
    watched = Watched(tokenizer)
    TokenCounts(watched)(["the end", "the end"])  # type: ignore[arg-type]
    assert watched.asked == ["", "the end", "the end"]
    assert watched.words == []


def test_no_more_words_are_remembered_than_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragwright.models.token_counts._WORDS_KEPT", 20)
    counts = TokenCounts(bert(None))
    texts = [f"the{i} end{i} {'z' * 2000}{i}" for i in range(100)]
    for text in texts:
        assert counts([text, "the end"]).tolist() == whole(bert(None), [text, "the end"])
        assert len(counts._known) <= 24
        assert max(map(len, counts._known)) <= 64


def test_threads_share_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ragwright.models.token_counts._WORDS_KEPT", 50)
    tokenizer = bert(None)
    counts = TokenCounts(tokenizer)
    batches = [[f"the{i * j} end{i % 7}" for j in range(60)] for i in range(80)]
    with ThreadPoolExecutor(4) as pool:
        assert [found.tolist() for found in pool.map(counts, batches)] == [whole(tokenizer, texts) for texts in batches]
