"""What runs models on this machine: two small ports, and how one is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ragwright.errors import ConfigurationError
from ragwright.models import ModelInfo, load_tokenizer, resolve
from ragwright.progress import Progress
from ragwright.settings import load_settings

Vectors = npt.NDArray[np.float32]
Cancelled = Callable[[], bool]
"""Whether nobody waits for the reply any more."""

Tell = Callable[[str], None]
"""Takes the next piece of a reply."""


def untold(piece: str) -> None:
    """Wait for the whole reply."""


@dataclass(frozen=True)
class TokenizedText:
    """A text as the model sees it; `tokens` counts it before any cut."""

    text: str
    ids: tuple[int, ...]
    tokens: int


@dataclass(frozen=True)
class TokenStates:
    """What a model makes of each token of some texts, special tokens included.

    Attributes:
        rows: float16 [tokens of all texts, dimension], text after text.
        lengths: Tokens of each text, of at least one text.
    """

    rows: npt.NDArray[np.float16]
    lengths: Sequence[int]

    def by_text(self) -> list[npt.NDArray[np.float16]]:
        """float16 [t, dimension] for each text; parts of `rows`."""
        return np.split(self.rows, np.cumsum(self.lengths)[:-1])

    def rounded(self) -> list[npt.NDArray[np.float32]]:
        """float32 [t, dimension] for each text, for JSON: four digits after the point are as good as float16."""
        return [rows.astype(np.float32).round(4) for rows in self.by_text()]


class Encoder(Protocol):
    """Feature extraction; safe to call from several threads. A text's vector does not depend on the other texts.

    Attributes:
        dimension: Length of a vector.
        max_tokens: The longest text it takes, special tokens included.
        concurrency: Calls worth making at once.
        about: How it runs, for the log; JSON-ready.
        warnings: What went otherwise than it should while it was opened.
    """

    dimension: int
    max_tokens: int
    concurrency: int
    about: Mapping[str, Any]
    warnings: tuple[str, ...]

    def tokenize(self, texts: Sequence[str], *, truncate: bool) -> list[TokenizedText]:
        """Tokens of each text, special tokens included; `truncate` cuts at `max_tokens`."""

    def sentence_vectors(self, texts: Sequence[TokenizedText]) -> Vectors:
        """float32 [n, dimension], pooled, not normalised."""

    def token_states(self, texts: Sequence[TokenizedText]) -> TokenStates:
        """What each token means in its text; padding has no part in it."""

    def close(self) -> None:
        """Free what it holds."""


@dataclass(frozen=True)
class GenerationRequest:
    """How to continue a prompt. `temperature` 0 is greedy; `seed` None is a random one; `schema` binds the reply."""

    prompt: str
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class GenerationReply:
    """A continuation without the stop sequence that ended it, which is in `stop_sequence`."""

    text: str
    finish_reason: Literal["length", "eos_token", "stop_sequence"]
    prompt_tokens: int
    new_tokens: int
    stop_sequence: str = ""


class TextModel(Protocol):
    """Text generation; safe to call from several threads. The same request with the same seed gives the same reply."""

    context_tokens: int
    concurrency: int

    def count_tokens(self, prompt: str) -> int:
        """Tokens of a prompt, special tokens included."""

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt for a conversation, by the model's own chat template."""

    def generate(self, request: GenerationRequest, cancelled: Cancelled, tell: Tell = untold) -> GenerationReply:
        """Continue a prompt; ends early, with whatever it has, once `cancelled` says so.

        `tell` gets the text of the reply in pieces, as they are written; no piece holds a part of a stop sequence.

        Raises:
            Refused: The schema cannot be kept.
        """

    def close(self) -> None:
        """Free what it holds."""


def open_encoder(info: ModelInfo, *, cache: Path, progress: Progress, remember: bool = False) -> Encoder:
    """Load a feature-extraction model.

    Args:
        info: What models.toml says.
        cache: Folder of model files.
        progress: Told while files are fetched.
        remember: Whether token states will be asked for of texts that were embedded before.
    """
    match info.runtime:
        case "openvino":
            from ragwright.serving.runtimes.opening import open_calibrated

            files = resolve(info.name, cache=cache, progress=progress)
            tokenizer = load_tokenizer(info.name, cache=cache)
            wanted = load_settings().encoder
            return open_calibrated(info, files, tokenizer, cache=cache, wanted=wanted, remember=remember)
        case "hashing":
            from ragwright.serving.runtimes.hashing import HashingEncoder

            return HashingEncoder(info, load_tokenizer(info.name, cache=cache))
        case _:
            raise no_runtime(info)


def open_text_model(info: ModelInfo, *, cache: Path, progress: Progress) -> TextModel:
    """Load a text-generation model."""
    match info.runtime:
        case "llama":
            from ragwright.serving.runtimes.llama import LlamaModel

            return LlamaModel(info, resolve(info.name, cache=cache, progress=progress)["model"])
        case "scripted":
            from ragwright.serving.runtimes.scripted import ScriptedModel

            return ScriptedModel(info)
        case _:
            raise no_runtime(info)


def no_runtime(info: ModelInfo) -> ConfigurationError:
    """Nothing here runs this model."""
    return ConfigurationError(
        f"model {info.name!r} has no runtime for {info.task} on this machine.",
        hint="Name a model whose `runtime` in models.toml fits its task.",
    )
