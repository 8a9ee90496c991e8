"""Opening an encoder with the options that are fastest here, and proving that its vectors are right."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragwright.errors import ModelError
from ragwright.model_settings import EncoderSettings
from ragwright.models import ModelInfo
from ragwright.serving.runtimes.calibration import calibrate
from ragwright.serving.runtimes.choices import Choices
from ragwright.serving.runtimes.openvino import OpenVinoEncoder, compile_graph, read_graph
from ragwright.serving.runtimes.options import EncoderOptions, offer, this_processor
from ragwright.serving.runtimes.reference import least_cosine, read_vectors, sample, sample_vectors
from ragwright.serving.runtimes.remembered import open_remembered

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ragwright.serving.runtimes import Vectors


def open_calibrated(
    info: ModelInfo,
    files: Mapping[str, Path],
    tokenizer: Tokenizer,
    *,
    cache: Path,
    wanted: EncoderSettings,
    remember: bool = False,
) -> OpenVinoEncoder:
    """An encoder that runs as fast as is known here and gives the fp32 original's vectors.

    The first start measures for a few seconds, later ones read what was found. Whatever the options come from, the
    encoder that is returned has just given the right vectors for the sample. Where the original's are not known (the
    model has no file `reference`), those of the same weights computed in f32 stand for them. With `remember` it keeps
    token states, as far as `wanted` has room for them.

    Raises:
        ModelError: The files cannot be read or run, or no options give vectors that are near enough.
    """
    return _Opening(info, files, tokenizer, cache=cache, wanted=wanted).open(remember=remember)


class _Opening:
    """One encoder on its way into service; what is compiled for a trial is not compiled again."""

    def __init__(
        self, info: ModelInfo, files: Mapping[str, Path], tokenizer: Tokenizer, *, cache: Path, wanted: EncoderSettings
    ) -> None:
        import openvino

        self._info, self._files, self._tokenizer, self._wanted = info, files, tokenizer, wanted
        self._warnings: dict[str, None] = {}  # in order, each once
        self._choices = Choices(cache / "calibration", warn=self._warn)
        self._graph = read_graph(files)
        self._compiled: dict[tuple[str, int], Any] = {}
        self._encoders: dict[EncoderOptions, OpenVinoEncoder] = {}
        self._cosines: dict[EncoderOptions, float] = {}
        processor = this_processor()
        self._cores = processor.cores
        self._offered = offer(processor, wanted)
        self._made_of: dict[str, Any] = {
            "files": {role: info.files[role].sha256 or _sha256(path) for role, path in sorted(files.items())},
            "pooling": info.pooling,
            "max_tokens": info.max_tokens,
            "openvino": openvino.__version__,
            "sample": hashlib.sha256("\n".join(sample()).encode()).hexdigest(),
        }
        self._made_for = self._made_of | {
            "processor": processor.name,
            "cores": self._cores,
            "offered": self._offered.as_json(),
            "min_cosine": wanted.min_cosine,
        }
        self._original = self._original_vectors()

    def open(self, *, remember: bool) -> OpenVinoEncoder:
        """The encoder to serve, and nothing else of what was opened."""
        options, how = self._chosen()
        encoder = self._right(options) if options else None
        if options is None or encoder is None:
            raise self._refusal()
        for other in self._encoders.values():
            if other is not encoder:
                other.close()
        if remember:
            encoder.remember(open_remembered(self._wanted.remember_mb, encoder.dimension, warn=self._warn))
        encoder.about = {**options.model_dump(), "least_cosine": round(self._cosines[options], 6), **how}
        encoder.warnings = tuple(self._warnings)
        return encoder

    def _chosen(self) -> tuple[EncoderOptions | None, dict[str, Any]]:
        if self._offered.is_settled:
            return self._offered.default, {"chosen": "by the settings"}
        if known := self._known():
            return known, {"chosen": "at an earlier start"}
        with self._choices.measuring():
            if known := self._known():  # another server found it meanwhile
                return known, {"chosen": "at an earlier start"}
            begun = time.perf_counter()
            found = calibrate(self._offered, self._right, cores=self._cores)
            if found is None:
                return None, {}
            self._choices.write(self._made_for, found.options, found.texts_per_second)
            seconds = round(time.perf_counter() - begun, 2)
        return found.options, {
            "chosen": "now",
            "calibration_seconds": seconds,
            "texts_per_second": dict(found.texts_per_second),
        }

    def _warn(self, what: str) -> None:
        self._warnings[what] = None

    def _known(self) -> EncoderOptions | None:
        options = self._choices.read(self._made_for)
        return options if options and self._right(options) else None

    def _right(self, options: EncoderOptions) -> OpenVinoEncoder | None:
        """An encoder with these options, if its vectors are the original's."""
        encoder = self._encoder(options)
        if options not in self._cosines:
            cosine = self._cosines[options] = least_cosine(sample_vectors(encoder), self._original)
            if not cosine >= self._wanted.min_cosine:
                self._warn(
                    f"not used: {options}; its least cosine to the original is {cosine:.6f}, and "
                    f"{self._wanted.min_cosine:g} is asked for"
                )
        return encoder if self._cosines[options] >= self._wanted.min_cosine else None

    def _encoder(self, options: EncoderOptions) -> OpenVinoEncoder:
        if options not in self._encoders:
            kind = options.precision, options.streams
            if kind not in self._compiled:
                self._compiled[kind] = compile_graph(self._graph, options, place=self._files["model"])
            self._encoders[options] = OpenVinoEncoder(self._info, self._compiled[kind], self._tokenizer, options)
        return self._encoders[options]

    def _original_vectors(self) -> Vectors:
        """Those of the original, or else those of these weights in f32."""
        dimension = self._info.dimension or 0
        if "reference" in self._files:
            return read_vectors(self._files["reference"], dimension=dimension)
        own = self._choices.read_vectors(self._made_of, dimension=dimension)
        if own is None:
            own = sample_vectors(self._encoder(self._offered.default.model_copy(update={"precision": "f32"})))
            self._choices.write_vectors(self._made_of, own)
        return own

    def _refusal(self) -> ModelError:
        tried = "; ".join(f"{cosine:.6f} with {options}" for options, cosine in self._cosines.items())
        return ModelError(
            f"model {self._info.name!r} does not give the original's vectors on this processor: the least cosine on "
            f"a fixed sample is {tried}, and {self._wanted.min_cosine:g} is asked for.",
            place=str(self._files["model"]),
            hint="Name the model's fp32 weights, or lower RAGWRIGHT_ENCODER__MIN_COSINE and judge by the evaluation.",
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
