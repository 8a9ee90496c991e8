"""What calibration chooses, with encoders that take as long as the test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ragwright.model_settings import EncoderSettings
from ragwright.serving.runtimes import TokenizedText, TokenStates, Vectors
from ragwright.serving.runtimes.calibration import MARGIN, Calibration, calibrate
from ragwright.serving.runtimes.options import EncoderOptions, Offered, Processor, offer

OFFERED = Offered(precision=("f32", "bf16"), streams=(1, 2), batch_tokens=(1024, 4096))


@dataclass
class Clock:
    """It goes on by a run's time, and by what the machine is held up at that run, counted from 0."""

    held_up: Mapping[int, float]
    now: float = 0.0
    runs: list[EncoderOptions] = field(default_factory=list)


@dataclass
class Timed:
    """An encoder whose work is to let a clock go on."""

    options: EncoderOptions
    seconds: float
    clock: Clock
    dimension: int = 1
    max_tokens: int = 256
    concurrency: int = 1
    about: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def tokenize(self, texts: Sequence[str], *, truncate: bool) -> list[TokenizedText]:
        return [TokenizedText(text, (1,), 1) for text in texts]

    def sentence_vectors(self, texts: Sequence[TokenizedText]) -> Vectors:
        self.clock.now += self.seconds + self.clock.held_up.get(len(self.clock.runs), 0)
        self.clock.runs.append(self.options)
        return np.zeros((len(texts), 1), dtype=np.float32)

    def token_states(self, texts: Sequence[TokenizedText]) -> TokenStates:
        raise AssertionError("nobody asked for these")

    def close(self) -> None: ...


def calibrated(
    seconds: Callable[[EncoderOptions], float | None],
    offered: Offered = OFFERED,
    held_up: Mapping[int, float] = MappingProxyType({}),
) -> tuple[Calibration | None, Clock]:
    """`seconds` None: its vectors are wrong."""
    clock = Clock(held_up)

    def open_right(options: EncoderOptions) -> Timed | None:
        taken = seconds(options)
        return None if taken is None else Timed(options, taken, clock)

    return calibrate(offered, open_right, cores=2, clock=lambda: clock.now), clock


def options(precision: Any, streams: int, batch_tokens: int) -> EncoderOptions:
    return EncoderOptions(precision=precision, streams=streams, batch_tokens=batch_tokens)


def test_each_option_is_settled_with_those_before_it() -> None:
    costs = {"f32": 4.0, "bf16": 1.0, 1: 1.0, 2: 0.8, 1024: 1.0, 4096: 0.9}
    found, _ = calibrated(lambda o: costs[o.precision] * costs[o.streams] * costs[o.batch_tokens])
    assert found is not None
    assert found.options == options("bf16", 2, 4096)
    assert len(found.texts_per_second) == 4  # not all eight


@given(st.sampled_from(["precision", "streams", "batch_tokens"]), st.floats(0, 0.3))
def test_the_default_stays_unless_another_is_clearly_faster(option: str, gain: float) -> None:
    found, _ = calibrated(lambda o: 1.0 if getattr(o, option) == getattr(OFFERED.default, option) else 1.0 - gain)
    assert found is not None
    kept = getattr(found.options, option) == getattr(OFFERED.default, option)
    assert kept == (1 - gain >= 1 - MARGIN[option])


def test_fewer_streams_have_to_be_a_lot_faster_because_they_are_measured_alone() -> None:
    offered = offer(Processor("any", cores=2, precisions=("f32",)), EncoderSettings())
    for gain, streams in ((0.1, 2), (0.2, 1)):
        found, _ = calibrated(lambda o, gain=gain: 1.0 - gain * (o.streams == 1), offered)  # type: ignore[misc]
        assert found is not None
        assert found.options.streams == streams


def test_what_gives_wrong_vectors_is_never_chosen_however_fast() -> None:
    found, _ = calibrated(lambda o: None if o.precision == "bf16" else 1.0)
    assert found is not None
    assert found.options == OFFERED.default
    found, _ = calibrated(lambda o: None if o.precision == "f32" else 1.0)
    assert found is not None
    assert found.options == options("bf16", 1, 1024)


def test_nothing_is_chosen_if_nothing_is_right() -> None:
    assert calibrated(lambda _: None)[0] is None


def test_what_is_hopeless_gets_two_turns_and_the_rest_are_timed_in_turns() -> None:
    _, clock = calibrated(lambda o: 9.0 if o.precision == "f32" else 1.0, Offered(("f32", "bf16"), (1,), (1024,)))
    assert [o.precision for o in clock.runs] == ["f32", "bf16", "f32", "bf16", "bf16"]


@given(st.integers(0, 5), st.floats(0, 100))
def test_one_slow_moment_of_the_machine_does_not_decide(run: int, seconds: float) -> None:
    found, _ = calibrated(
        lambda o: 0.8 if o.streams == 2 else 1.0, Offered(("f32",), (1, 2), (1024,)), held_up={run: seconds}
    )
    assert found is not None
    assert found.options.streams == 2


def test_settings_leave_less_to_choose() -> None:
    processor = Processor("any", cores=16, precisions=("f32", "bf16", "f16"))
    assert offer(processor, EncoderSettings()) == Offered(("f32", "bf16"), (4, 2, 1), (1024, 4096))
    assert offer(processor, EncoderSettings(precision="f16", streams=3)) == Offered(("f16",), (3,), (1024, 4096))
    assert offer(processor, EncoderSettings(precision="f32", streams=1, batch_tokens=64)).is_settled


def test_old_and_small_processors_are_offered_what_they_have() -> None:
    assert offer(Processor("old", 1, ("f32",)), EncoderSettings()) == Offered(("f32",), (1,), (1024,))
    assert offer(Processor("arm", 2, ("f32", "f16")), EncoderSettings()).precision == ("f32", "f16")
