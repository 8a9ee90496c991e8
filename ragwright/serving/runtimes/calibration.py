"""The fastest way to run an encoder on this processor, found by measuring: a few seconds, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ragwright.serving.runtimes import Encoder, TokenizedText
from ragwright.serving.runtimes.options import EncoderOptions, Offered
from ragwright.serving.runtimes.reference import sample

# Another value than the one so far has to be faster by so much: less is noise.
MARGIN = 0.05
# The first turn is slow, because every shape has its first time.
TURNS = 3
# What is slower by so much after two turns gets no other.
HOPELESS = 2.0
# For each core, texts of the sample and how often: a short and a longer answer, a batch of each.
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
        cores: The load is made for so many.
        clock: Seconds.

    Returns:
        None if no precision gives right vectors.
    """
    best = offered.default
    rates: dict[str, float] = {}
    for option in ("precision", "streams", "batch_tokens"):
        tried = [best.model_copy(update={option: value}) for value in getattr(offered, option)]
        rivals = {options: encoder for options in tried if (encoder := open_right(options))}
        if not rivals:
            return None
        best = next(iter(rivals))
        if len(rivals) > 1:
            seconds = _timed(rivals, cores, clock)
            rates |= {str(options): round(_texts(cores) / taken, 1) for options, taken in seconds.items()}
            fastest = min(seconds, key=lambda options: seconds[options])
            if seconds[fastest] < seconds[best] * (1 - MARGIN):
                best = fastest
    return Calibration(best, rates)


def _timed(
    rivals: Mapping[EncoderOptions, Encoder], cores: int, clock: Callable[[], float]
) -> dict[EncoderOptions, float]:
    """Seconds that each takes for the load: the least of its turns, because noise only adds."""
    loads = {options: _load(encoder, cores) for options, encoder in rivals.items()}
    least = dict.fromkeys(rivals, float("inf"))
    for turn in range(TURNS):
        for options, encoder in rivals.items():
            if turn < TURNS - 1 or least[options] < HOPELESS * min(least.values()):
                begun = clock()
                encoder.sentence_vectors(loads[options])
                least[options] = min(least[options], clock() - begun)
    return least


def _load(encoder: Encoder, cores: int) -> list[TokenizedText]:
    texts = encoder.tokenize(sample(), truncate=True)
    return [texts[i] for i, count in LOAD for _ in range(count * cores)]


def _texts(cores: int) -> int:
    return cores * sum(count for _, count in LOAD)
