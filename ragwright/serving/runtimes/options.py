"""What OpenVINO can be told about running an encoder, and what of it is worth a try on this processor."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ragwright.model_settings import EncoderSettings, Precision


class EncoderOptions(BaseModel):
    """One way to run an encoder.

    Attributes:
        precision: What matrices are multiplied in. Weights in int8 stay in int8; the rest is computed in this.
        streams: Batches computed at the same time; the cores are shared out among them.
        batch_tokens: Tokens of one batch at most, padding included; a longer text is a batch by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Precision = "f32"
    streams: int = Field(1, ge=1)
    batch_tokens: int = Field(1024, ge=1)

    def __str__(self) -> str:
        plural = "" if self.streams == 1 else "s"
        return f"{self.precision}, {self.streams} stream{plural}, batches of {self.batch_tokens} tokens"


@dataclass(frozen=True)
class Offered:
    """The values of each option that are tried; the first is the default."""

    precision: tuple[Precision, ...]
    streams: tuple[int, ...]
    batch_tokens: tuple[int, ...]

    @property
    def default(self) -> EncoderOptions:
        """The first of each."""
        return EncoderOptions(precision=self.precision[0], streams=self.streams[0], batch_tokens=self.batch_tokens[0])

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.precision) == len(self.streams) == len(self.batch_tokens) == 1

    def as_json(self) -> dict[str, list[Any]]:
        """For what a choice was made for."""
        return {name: list(values) for name, values in asdict(self).items()}


@dataclass(frozen=True)
class Processor:
    """What computes here: its name, the cores this process may use, and the precisions it has instructions for."""

    name: str
    cores: int
    precisions: tuple[Precision, ...]


def this_processor() -> Processor:
    """Ask OpenVINO and the system."""
    import openvino

    core = openvino.Core()
    known: dict[str, Precision] = {"FP32": "f32", "BF16": "bf16", "FP16": "f16"}
    able: list[Any] = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return Processor(
        name=core.get_property("CPU", "FULL_DEVICE_NAME"),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        precisions=tuple(known[each] for each in known if each in able),
    )


def offer(processor: Processor, wanted: EncoderSettings) -> Offered:
    """What is tried: what the settings name, and for what they leave open the few values that have won somewhere.

    f16 is offered where there is no bf16: where there are both, bf16 is no slower and cannot overflow. The threads of a
    stream wait for each other after every layer, so a stream loses a core's work whenever anything else takes one of
    them: more streams come first. With more than a quarter of many cores, one question alone would be computed by few
    of them. A thousand tokens keep a few cores busy; more at once has gained nothing there.
    """
    lower: Precision = "bf16" if "bf16" in processor.precisions else "f16"
    precisions: tuple[Precision, ...] = ("f32", lower) if lower in processor.precisions else ("f32",)
    streams = sorted({1, min(2, processor.cores), max(1, processor.cores // 4)}, reverse=True)
    batch_tokens = (1024,) if processor.cores <= 4 else (1024, 4096)
    return Offered(
        precision=(wanted.precision,) if wanted.precision else precisions,
        streams=(wanted.streams,) if wanted.streams else tuple(streams),
        batch_tokens=(wanted.batch_tokens,) if wanted.batch_tokens else batch_tokens,
    )
