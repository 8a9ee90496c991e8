"""The wire contracts: what a payload may hold, what the reply looks like, and how a refusal is put.

Field names, defaults, limits and error shapes follow the originals: Text Embeddings Inference and Text Generation
Inference (Hugging Face), the Hugging Face inference toolkit's feature-extraction task, and vLLM's OpenAI routes.
Fields that an original does not know are ignored, as they do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragwright.endpoints import Contract
from ragwright.errors import ConfigurationError
from ragwright.models import ModelInfo
from ragwright.progress import Progress, silent
from ragwright.serving.contracts.fields import read
from ragwright.serving.refusal import Refused
from ragwright.serving.runtimes import Cancelled, open_encoder, open_text_model

Handler = Callable[[Mapping[str, Any], Cancelled], Any]
"""Answers one payload, or raises `Refused`."""

StreamHandler = Callable[[Mapping[str, Any], Cancelled, Callable[[bytes], None]], None]
"""Answers one payload by server-sent events, each given away as it is there; or raises `Refused`."""


@dataclass(frozen=True)
class Service:
    """A loaded model behind a contract.

    Attributes:
        handle: Answers one payload; safe to call from several threads.
        warm_up: A payload that proves the model answers.
        concurrency: Payloads worth handling at once.
        close: Frees the model.
        operations: What else it does, by the last part of the path.
        stream: Answers payloads that want the reply in pieces; None: nothing here comes in pieces.
        about: How the model runs, for the log; JSON-ready.
        warnings: What went otherwise than it should while the model was opened.
    """

    handle: Handler
    warm_up: Mapping[str, Any]
    concurrency: int = 1
    close: Callable[[], None] = lambda: None
    operations: Mapping[str, Handler] = field(default_factory=dict)
    stream: StreamHandler | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def streams(self, payload: Mapping[str, Any]) -> bool:
        """Whether a payload is one for `stream`."""
        return self.stream is not None and read(payload, "stream", bool, False)


def check_contract(contract: Contract, info: ModelInfo) -> None:
    """Refuse a contract that is not for the model's task.

    Raises:
        ConfigurationError: They do not fit.
    """
    task = "text-generation" if contract in ("tgi", "openai-chat") else "feature-extraction"
    if info.task != task:
        raise ConfigurationError(
            f"contract {contract!r} is for {task}, and model {info.name!r} does {info.task}.",
            hint="Name a contract of the model's task.",
        )


def open_service(contract: Contract, info: ModelInfo, *, cache: Path, progress: Progress = silent) -> Service:
    """Load a model and put it behind a contract."""
    from ragwright.serving.contracts import feature_extraction, text_generation

    check_contract(contract, info)
    if info.task == "text-generation":
        model = open_text_model(info, cache=cache, progress=progress)
        if contract == "tgi":
            return Service(
                text_generation.tgi(model),
                {"inputs": "Hello", "parameters": {"max_new_tokens": 1}},
                model.concurrency,
                model.close,
                stream=text_generation.tgi_stream(model),
            )
        return Service(
            text_generation.openai_chat(model, info.name),
            {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1},
            model.concurrency,
            model.close,
            stream=text_generation.openai_chat_stream(model, info.name),
        )
    encoder = open_encoder(info, cache=cache, progress=progress, remember=contract == "tei")
    operations: dict[str, Handler] = {}
    match contract:
        case "tei":
            handle, warm_up = feature_extraction.tei(encoder), {"inputs": "Hello"}
            operations = {"embed_all": feature_extraction.tei_tokens(encoder)}
        case "hf-feature-extraction":
            handle, warm_up = feature_extraction.hugging_face(encoder), {"inputs": "Hello"}
        case _:
            handle, warm_up = feature_extraction.openai_embeddings(encoder, info.name), {"input": "Hello"}
    return Service(
        handle,
        warm_up,
        encoder.concurrency,
        encoder.close,
        operations,
        about=encoder.about,
        warnings=encoder.warnings,
    )


def refusal_body(contract: Contract, refused: Refused) -> dict[str, Any]:
    """A refusal in the contract's shape."""
    if contract.startswith("openai-"):
        kind = "BadRequestError" if 400 <= refused.status < 500 else "InternalServerError"
        return {"error": {"message": refused.reason, "type": kind, "param": None, "code": refused.status}}
    kind = refused.kind.capitalize() if contract == "tei" else refused.kind
    return {"error": refused.reason, "error_type": kind}
