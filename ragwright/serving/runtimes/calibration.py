"""The fastest way to run an encoder on this processor, found by measuring: a few seconds, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ragwright.serving.runtimes import Encoder, TokenizedText
from ragwright.serving.runtimes.options import EncoderOptions, Offered
from ragwright.serving.runtimes.reference import sample

# Another value than the one so far has to be faster by so much: less is noise. Fewer streams lose by more beside other
# work on the same cores, where they are used and not measured.
MARGIN = {"precision": 0.05, "streams": 0.15, "batch_tokens": 0.05}
# The first turn is slow, because every shape has its first time.
TURNS = 3
# What is slower by so much after two turns gets no other.
HOPELESS = 2.0
# Texts of the sample and how often: a short and a longer answer, a batch of each. Precisions differ by so much that one
# such load tells them apart, and f32 may be slow; the rest gets one for each core, because streams have to be filled.
LOAD = ((6, 8), (8, 4))


@dataclass(frozen=True)
class Calibration:
    """The fastest of the options whose vectors are right, and the texts a second of each that was timed."""

    options: EncoderOptions
    texts_per_second: Mapping[str, float]


def calibrate(
    offered: Offered,
    open_right: Callable[[EncoderOptions], Encoder | None],
    *,
    cores: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Calibration | None:
    """Settle one option after the other, each with those before it as they were settled.

    Args:
        offered: What is tried.
        open_right: Opens an encoder; None if its vectors are not right. Called more than once with the same options.
        cores: How many compute.
        clock: Seconds.

    Returns:
        None if no precision gives right vectors.
    """
    best = offered.default
    rates: dict[str, float] = {}
    for option, margin in MARGIN.items():
        tried = [best.model_copy(update={option: value}) for value in getattr(offered, option)]
        rivals = {options: encoder for options in tried if (encoder := open_right(options))}
        if not rivals:
            return None
        best = next(iter(rivals))
        if len(rivals) > 1:
            speeds = _timed(rivals, 1 if option == "precision" else cores, clock)
            fastest = max(speeds, key=lambda options: speeds[options])
            if speeds[best] < speeds[fastest] * (1 - margin):
                best = fastest
            rates |= {str(options): round(speed, 1) for options, speed in speeds.items()}
    return Calibration(best, rates)


def _timed(
    rivals: Mapping[EncoderOptions, Encoder], loads: int, clock: Callable[[], float]
) -> dict[EncoderOptions, float]:
    """Texts a second of each in its best turn, because noise only takes."""
    texts = {options: _load(encoder) * loads for options, encoder in rivals.items()}
    least = dict.fromkeys(rivals, float("inf"))
    for turn in range(TURNS):
        for options, encoder in rivals.items():
            if turn < TURNS - 1 or least[options] < HOPELESS * min(least.values()):
                begun = clock()
                encoder.sentence_vectors(texts[options])
                least[options] = min(least[options], clock() - begun)
    return {options: len(texts[options]) / seconds for options, seconds in least.items()}


def _load(encoder: Encoder) -> list[TokenizedText]:
    texts = encoder.tokenize(sample(), truncate=True)
    return [texts[i] for i, count in LOAD for _ in range(count)]
