"""Vectors from the text's own letters: no model and no download, so a whole run can be tried anywhere in seconds."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

REVISION: Final = "words+3-5-grams/1"
"""Names the features below; it must change when they do, because older vectors are then no longer comparable."""

_WORD = re.compile(r"\w+")
_GRAMS = (3, 4, 5)
# A word of six letters brings about sixteen grams, whose sum has a length of about four: both kinds weigh the same.
_WORD_WEIGHT = 4.0
_BASE = np.uint64(0x9E3779B97F4A7C15)


def hash_embed(texts: Sequence[str], dimension: int) -> npt.NDArray[np.float32]:
    """Embed texts by signed feature hashing of their lower-cased words and character 3- to 5-grams.

    A text's vector depends on that text alone, and is the same in every process and on every machine. A text without
    features (empty or blank) gets the first unit vector. The method is Weinberger et al., "Feature Hashing for Large
    Scale Multitask Learning" (2009): a feature adds +1 or -1, by one bit of its hash, to the place that the other bits
    name.

    Args:
        texts: What to embed.
        dimension: Length of a vector, at least 1.

    Returns:
        float32 [len(texts), dimension], every row of length one.
    """
    vectors = np.zeros((len(texts), dimension), dtype=np.float32)
    for i, text in enumerate(texts):
        hashes, weights = _features(text.lower())
        places = ((hashes >> np.uint64(1)) % np.uint64(dimension)).astype(np.intp)
        signs = 1.0 - 2.0 * (hashes & np.uint64(1)).astype(np.float64)
        total = np.bincount(places, weights=signs * weights, minlength=dimension)
        if not total.any():  # no features, or every one met its opposite
            total[0] = 1.0
        vectors[i] = total / np.linalg.norm(total)
    return vectors


def _features(text: str) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
    """Hash and weight of every feature occurrence."""
    words = [zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in _WORD.findall(text)]
    hashes = [np.array(words, dtype=np.uint64)]
    spaced = " ".join(text.split())
    if spaced:
        letters = np.frombuffer(f" {spaced} ".encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
        hashes += [_grams(letters, size) for size in _GRAMS if len(letters) >= size]
    weights = np.ones(sum(map(len, hashes)))
    weights[: len(words)] = _WORD_WEIGHT
    return _mix(np.concatenate(hashes)), weights


def _grams(letters: npt.NDArray[np.uint64], size: int) -> npt.NDArray[np.uint64]:
    """One polynomial hash for every window of `size` letters; numpy's integers wrap around silently in arrays."""
    windows = np.lib.stride_tricks.sliding_window_view(letters, size)
    total = np.full(len(windows), size, dtype=np.uint64)
    for place in range(size):
        total = total * _BASE + windows[:, place]
    return total


def _mix(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread every input bit over all output bits (the finaliser of SplitMix64, Steele et al. 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
