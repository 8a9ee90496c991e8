"""How many tokens texts have, at the price of their new words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Python splits at these as well, where BERT's normaliser leaves them out.
_NO_BLANKS = "\v\f\x1c\x1d\x1e\x1f\x85"
# Longer ones come once, or are sentences of a script without blanks.
_LONGEST_WORD = 64
_WORDS_KEPT = 2**17
_TEXTS_AT_ONCE = 512
_WORDS_AT_ONCE = 512

Counts = npt.NDArray[np.int32]


class TokenCounts:
    """Counts tokens exactly as a tokenizer does, tokenising each word only when it first comes.

    To a tokenizer of BERT's kind a text is its words, each by itself, so their tokens add up. Where something in a text
    might be an exception, and for all other tokenizers, texts are tokenised whole. Safe to call from several threads.
    It remembers some 130,000 words, about 12 MB.

    Args:
        tokenizer: Neither padding nor truncating.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._adds_up = _adds_up(tokenizer)
        self._special = int(self._whole([""])[0])
        self._known: dict[str, int] = {}

    def __call__(self, texts: Sequence[str]) -> Counts:
        """Tokens of each text, special tokens included: int32 [n]."""
        if not self._adds_up:
            return self._whole(texts)
        counts = np.empty(len(texts), np.int32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            counts[start : start + _TEXTS_AT_ONCE] = self._by_words(texts[start : start + _TEXTS_AT_ONCE])
        return counts

    def _whole(self, texts: Sequence[str]) -> Counts:
        encoded = self._tokenizer.encode_batch_fast(list(texts))
        return np.fromiter(map(len, encoded), np.int32, len(encoded))

    def _of_words(self, words: Sequence[str]) -> Counts:
        """Tokens of each word, without special ones; words by themselves take the tokenizer twice as long as a line."""
        parts = [words[start : start + _WORDS_AT_ONCE] for start in range(0, len(words), _WORDS_AT_ONCE)]
        lines = self._tokenizer.encode_batch([" ".join(part) for part in parts], add_special_tokens=False)
        counts = [np.empty(0, np.int64)]
        for part, line in zip(parts, lines, strict=True):
            ends = np.cumsum([len(word) + 1 for word in part])
            begins = np.fromiter((begin for begin, _ in line.offsets), np.int64, len(line))
            counts.append(np.bincount(np.searchsorted(ends, begins, "right"), minlength=len(part)))
        return np.concatenate(counts).astype(np.int32)

    def _by_words(self, texts: Sequence[str]) -> Counts:
        words = [text.split() for text in texts]
        if len(self._known) > _WORDS_KEPT:
            self._known = {}  # another one: threads may be adding up from this
        known = self._known
        fresh = [word for word in set(chain.from_iterable(words)) if word not in known]
        long = {word for word in fresh if len(word) > _LONGEST_WORD}
        fresh = [word for word in fresh if word not in long] if long else fresh
        known.update(zip(fresh, self._of_words(fresh).tolist(), strict=True))

        apart = [at for at, found in enumerate(words) if not long.isdisjoint(found)] if long else []
        every = "".join(texts)
        if odd := [blank for blank in _NO_BLANKS if blank in every]:
            apart += [at for at, text in enumerate(texts) if any(blank in text for blank in odd)]
        for at in apart:
            words[at] = []
        count = known.__getitem__
        counts = np.fromiter((sum(map(count, found)) for found in words), np.int32, len(words)) + self._special
        counts[apart] = self._whole([texts[at] for at in apart])
        return counts


def _adds_up(tokenizer: Tokenizer) -> bool:
    """Whether the tokens of a text are those of its words: what comes before the model looks at no neighbours."""
    from tokenizers import models, normalizers, pre_tokenizers, processors

    added = tokenizer.get_added_tokens_decoder().values()
    return (
        isinstance(tokenizer.normalizer, normalizers.BertNormalizer | None)
        and isinstance(tokenizer.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and isinstance(tokenizer.model, models.WordPiece | models.WordLevel)
        and isinstance(tokenizer.post_processor, processors.TemplateProcessing | processors.BertProcessing | None)
        and not any(token.normalized or token.single_word or token.lstrip or token.rstrip for token in added)
        and all(token.content.split() == [token.content] for token in added)
    )
