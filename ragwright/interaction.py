"""Late interaction: every word of a question beside every word of a text, each as it is meant where it stands.

The measure is ColBERT's MaxSim (Khattab and Zaharia, 2020), here with the token vectors of the embedder in use: a
question's token counts by its cosine with the nearest token of the text.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce

import numpy as np
import numpy.typing as npt

from ragwright.embedding import Embedder, TokenVectors, Vectors
from ragwright.errors import RequestRejected
from ragwright.terms import STOPWORDS, CorpusStatistics, stem

_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?")  # noqa: RUF001
# Least weight of a word that says what a question is about, so that one all texts have still counts.
_LEAST_RARITY = 0.05
# Below this cosine a word of the question is not met.
_MET = 0.5
# Tokens whose vectors are remembered: at 384 dimensions about 115 MB. As halves twice as many would fit, but to turn
# them into halves and back takes longer than all that is done with them.
_REMEMBERED = 75_000
# Larger products OpenBLAS shares between threads, which here spend most of the time waiting for each other.
_ALONE = 2**18

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Meeting:
    """How a text meets a question, token by token of the question.

    Attributes:
        nearest: float32 [t], cosine of each token with the nearest of the text.
        weights: float32 [t], what each token says of what the question is about: its word's rarity in the corpus;
            sums to one.
        word_of: int32 [t], the word that each token is part of; -1 for marks.
        words: The question's words.
    """

    nearest: Floats
    weights: Floats
    word_of: npt.NDArray[np.int32]
    words: tuple[str, ...]

    @property
    def likeness(self) -> float:
        """Mean over all tokens, in [-1, 1]."""
        return float(self.nearest.mean()) if len(self.nearest) else 0.0

    @property
    def relevance(self) -> float:
        """Half the mean over all tokens, half the weighted one: neither alone ranks as well over five FAQs."""
        return (self.likeness + float(self.weights @ self.nearest)) / 2

    @property
    def unmet(self) -> float:
        """Weight of the tokens that nothing in the text comes near, in [0, 1]."""
        return float(self.weights[self.nearest < _MET].sum())

    @cached_property
    def by_word(self) -> dict[str, float]:
        """How well each word is met that says what the question is about: the mean over its tokens."""
        content = self.weights > 0
        return {
            self.words[word]: float(self.nearest[content & (self.word_of == word)].mean())
            for word in dict.fromkeys(self.word_of[content].tolist())
            if word >= 0
        }

    @property
    def weakest(self) -> float:
        """Mean over the two words that are met worst. What a near miss asks for is often one word of the question."""
        worst = sorted(self.by_word.values())[:2]
        return sum(worst) / len(worst) if worst else self.likeness

    def joined(self, other: Meeting) -> Meeting:
        """The question beside two texts at once."""
        return replace(self, nearest=np.maximum(self.nearest, other.nearest))


class Interaction:
    """Compares questions with texts token by token; remembers the tokens of texts it has met. Safe in several threads.

    Args:
        embedder: Gives the tokens' vectors.
        remember: Tokens to remember at most.
    """

    def __init__(self, embedder: Embedder, *, remember: int = _REMEMBERED) -> None:
        self._embedder, self._remember = embedder, remember
        self._known: OrderedDict[str, Vectors] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def meet(self, question: str, texts: Sequence[Sequence[str]], statistics: CorpusStatistics) -> list[Meeting] | None:
        """How each text meets a question; None where the embedder has no token vectors.

        Args:
            question: As asked, no longer than the embedder reads.
            texts: Each a sequence of pieces that meet a question together; of a piece over the embedder's limit the
                beginning counts.
            statistics: Of the corpus; empty ones weigh all words alike.
        """
        asked = self._embedder.token_vectors([question])
        if asked is None:
            return None
        vectors = self._vectors([piece for pieces in texts for piece in pieces])
        if vectors is None:
            return None
        seen = _weighed(question, asked[0], statistics)
        nearest = dict(zip(vectors, _nearest(asked[0].vectors, list(vectors.values())), strict=True))
        return [
            reduce(Meeting.joined, (replace(seen, nearest=nearest[piece]) for piece in pieces), seen)
            for pieces in texts
        ]

    def prepare(self, texts: Sequence[str]) -> None:
        """Ask for the tokens of texts that questions will meet, as far as they are remembered."""
        self._vectors(texts)

    def _vectors(self, texts: Sequence[str]) -> dict[str, Vectors] | None:
        wanted = list(dict.fromkeys(texts))
        found: dict[str, Vectors] = {}
        with self._lock:
            for text in wanted:
                if text in self._known:
                    self._known.move_to_end(text)
                    found[text] = self._known[text]
        new = [text for text in wanted if text not in found]
        if new:
            fresh = self._asked(new)
            if fresh is None:
                return None
            made = {text: given.vectors for text, given in zip(new, fresh, strict=True)}
            self._keep(made)
            found |= made
        return found

    def _asked(self, texts: Sequence[str]) -> list[TokenVectors] | None:
        """What the embedder says; nearly all texts fit, so they are counted only if it refuses one."""
        try:
            return self._embedder.token_vectors(texts)
        except RequestRejected:
            shortened = fitting(texts, self._embedder)
            if shortened == list(texts):
                raise
            return self._embedder.token_vectors(shortened)

    def _keep(self, made: dict[str, Vectors]) -> None:
        with self._lock:
            for text, vectors in made.items():
                if text not in self._known:
                    self._known[text] = vectors
                    self._held += len(vectors)
            while self._held > self._remember and self._known:
                _, dropped = self._known.popitem(last=False)
                self._held -= len(dropped)


def _weighed(question: str, tokens: TokenVectors, statistics: CorpusStatistics) -> Meeting:
    """What each token of the question weighs; nothing is near it yet."""
    words = [(found.start(), found.end(), found.group()) for found in _WORD.finditer(question)]
    word_of = np.full(len(tokens.spans), -1, np.int32)
    for index, (start, _) in enumerate(tokens.spans.tolist()):
        word_of[index] = next((at for at, (first, end, _) in enumerate(words) if first <= start < end), -1)
    weights = np.zeros(len(word_of), np.float32)
    for at, (_, _, word) in enumerate(words):
        own = word_of == at
        if own.any() and word.lower() not in STOPWORDS:
            weights[own] = max(statistics.rarity(stem(word.lower())), _LEAST_RARITY) / own.sum()
    if not weights.any():
        weights[:] = 1  # all words are common: they are all there is
    if len(weights):
        weights /= weights.sum()
    nearest = np.full(len(word_of), -1, np.float32)
    return Meeting(nearest, weights, word_of, tuple(word for _, _, word in words))


def _nearest(asked: Vectors, texts: Sequence[Vectors]) -> Floats:
    """Cosine of each token that is asked with the nearest of each text: float32 [texts, tokens asked].

    One call for all: by themselves they are small. It multiplies so many rows at a time as one thread does alone.
    """
    nearest = np.full((len(texts), len(asked)), -1, np.float32)
    told = [text for text in texts if len(text)]
    if told and len(asked):
        starts = np.cumsum([0, *map(len, told)])
        count, dimension = int(starts[-1]), asked.shape[1]
        rows = max(1, _ALONE // asked.size)
        blocks = np.zeros((-(-count // rows), rows, dimension), np.float32)
        np.concatenate(told, out=blocks.reshape(-1, dimension)[:count])
        products = (blocks @ asked.T).reshape(-1, len(asked))[:count]
        nearest[[len(text) > 0 for text in texts]] = np.maximum.reduceat(products, starts[:-1])
    return nearest


def fitting(texts: Sequence[str], embedder: Embedder) -> list[str]:
    """The texts, halved until the embedder takes them."""
    fitting = list(texts)
    over = list(range(len(texts)))
    while over:
        counts = embedder.count_tokens([fitting[index] for index in over])
        over = [index for index, count in zip(over, counts, strict=True) if count > embedder.max_tokens]
        for index in over:
            fitting[index] = fitting[index][: len(fitting[index]) // 2]
    return fitting
