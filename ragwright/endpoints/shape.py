"""What the memory of a model depends on, read from a name, a config.json, a GGUF file or a bare number."""

from __future__ import annotations

import json
import math
import re
import struct
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragwright.endpoints.gguf import read_gguf
from ragwright.errors import ConfigurationError, RagwrightError

_PACKAGED = Path(__file__).with_name("shapes.toml")
_NUMBER = re.compile(r"^([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE]\+?[0-9]{1,2})?)\s*([kKmMbBtT]?)$")
_SUFFIX = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
# Multiplied three times in the feed-forward block (gate, up, down); others have two matrices.
_GATED = {"llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "smollm3"}
_HINT = "Name a model of models.toml, a config.json, a .gguf file, or a number of parameters such as 7B or 70e9."


class ModelShape(BaseModel):
    """The numbers that weights, KV cache and activations follow from.

    Attributes:
        name: What the user called it.
        origin: Where the numbers come from, for a person.
        parameters: All of them, embeddings included.
        kind: `decoder`, `encoder-decoder` (whose decoder also keeps keys and values of the input), or `encoder`, which
            keeps none.
        layers: Those that keep keys and values: the decoder's where there are two stacks.
        heads: Attention heads; None when not known. Tensor parallelism divides them.
        kv_heads: Heads of keys and values; fewer than `heads` with grouped-query attention.
        head_dim: Length of one head's key.
        latent_dim: With multi-head latent attention, what a token keeps in place of keys and values.
        hidden: Width of the residual stream.
        vocabulary: Tokens; 0 when not known.
        tied: Whether the output head is the embedding matrix.
        context_tokens: The longest context; None when not known.
        file_bits: Bits a parameter of the file itself takes, metadata of its quantisation included; for GGUF.
        assumed: Whether everything but `parameters` is a guess.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    origin: str
    parameters: int = Field(ge=1, le=10**14)
    kind: Literal["decoder", "encoder-decoder", "encoder"] = "decoder"
    layers: int = Field(ge=1)
    heads: int | None = Field(None, ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    latent_dim: int = Field(0, ge=0)
    hidden: int = Field(ge=1)
    vocabulary: int = Field(0, ge=0)
    tied: bool = False
    context_tokens: int | None = Field(None, ge=1)
    file_bits: float | None = Field(None, gt=0)
    assumed: bool = False


def read_shape(model: str) -> ModelShape:
    """The shape of a model: a name, the path of a config.json (or its folder) or .gguf, or a number of parameters.

    Raises:
        ConfigurationError: It is none of these, or the file does not say enough.
    """
    if number := _NUMBER.match(model.strip()):
        return _assumed(model, round(float(number[1].replace("_", "")) * _SUFFIX[number[2].lower()]))
    path = Path(model).expanduser()
    if path.is_dir() and (path / "config.json").is_file():
        path /= "config.json"
    if path.is_file() and path.suffix in (".json", ".gguf"):
        return _gguf(path) if path.suffix == ".gguf" else _config(path)
    return _named(model)


def _named(name: str) -> ModelShape:
    from ragwright.models import get_model

    shapes = tomllib.loads(_PACKAGED.read_text(encoding="utf-8"))
    by_name = {alias: hub for hub, fields in shapes.items() for alias in fields["names"]}
    hub = name if name in shapes else by_name.get(name)
    if hub is None:
        try:
            hub = get_model(name).hub
        except RagwrightError as error:
            raise ConfigurationError(
                f"unknown model {name!r}; shapes are known of {', '.join(sorted(by_name))}", hint=_HINT
            ) from error
    if hub not in shapes:
        raise ConfigurationError(f"the shape of model {name!r} is not known", hint=_HINT)
    fields = {key: value for key, value in shapes[hub].items() if key != "names"}
    return ModelShape(name=name, origin=f"the shape of {hub}", **fields)


def _assumed(name: str, parameters: int) -> ModelShape:
    """A decoder such as today's: 12 layers x width^2 parameters, width = 128 x layers, eight KV heads of 128."""
    if not 1 <= parameters <= 10**14:
        raise ConfigurationError(f"{name!r} is no number of parameters", hint=_HINT)
    layers = max(1, math.ceil(round((parameters / (12 * 128**2)) ** (1 / 3), 6)))
    return ModelShape(
        name=name,
        origin="a bare number: layers and heads are assumed, a config.json tells them",
        parameters=parameters,
        layers=layers,
        kv_heads=8,
        head_dim=128,
        hidden=128 * layers,
        assumed=True,
    )


def _gguf(path: Path) -> ModelShape:
    fields, parameters, data_bytes = read_gguf(path)
    family = str(fields.get("general.architecture", ""))
    told = {key.removeprefix(f"{family}."): value for key, value in fields.items() if key.startswith(f"{family}.")}
    try:
        heads, hidden = int(told["attention.head_count"]), int(told["embedding_length"])
        head_dim = int(told.get("attention.key_length", hidden // heads))
        return ModelShape(
            name=path.name,
            origin="its GGUF header",
            parameters=parameters,
            kind="encoder" if "bert" in family else "decoder",
            layers=int(told["block_count"]),
            heads=heads,
            kv_heads=int(told.get("attention.head_count_kv", heads)),
            head_dim=head_dim,
            hidden=hidden,
            vocabulary=int(told.get("vocab_size", 0)),
            context_tokens=told.get("context_length"),
            file_bits=8 * data_bytes / parameters,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise _unusable(path, error) from error


def _config(path: Path) -> ModelShape:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        config = {**config, **config.get("text_config", {})}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise _unusable(path, error) from error
    try:
        two_stacks = bool(config.get("is_encoder_decoder"))
        family = str(config.get("model_type", ""))
        heads = int(_first(config, "num_attention_heads", "decoder_attention_heads", "num_heads", "n_head"))
        hidden = int(_first(config, "hidden_size", "d_model", "n_embd"))
        layers = _first(config, "num_decoder_layers", "decoder_layers", "num_hidden_layers", "num_layers", "n_layer")
        shape = {
            "name": path.parent.name or path.name,
            "origin": str(path),
            "kind": "encoder-decoder" if two_stacks else "encoder" if "bert" in family else "decoder",
            "layers": int(layers),
            "heads": heads,
            "kv_heads": 1 if config.get("multi_query") else int(config.get("num_key_value_heads") or heads),
            "head_dim": int(config.get("head_dim") or config.get("d_kv") or hidden // heads),
            "latent_dim": int(config.get("kv_lora_rank") or 0) and config["kv_lora_rank"] + config["qk_rope_head_dim"],
            "hidden": hidden,
            "vocabulary": int(config.get("vocab_size", 0)),
            "tied": bool(config.get("tie_word_embeddings", family != "llama")),
            "context_tokens": config.get("max_position_embeddings") or config.get("n_positions"),
        }
        return ModelShape.model_validate({**shape, "parameters": _parameters(path, config, shape)})
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise _unusable(path, error) from error


def _first(config: Mapping[str, Any], *names: str) -> Any:
    """The first of these fields that the file has; families name the same thing differently."""
    for name in names:
        if config.get(name) is not None:
            return config[name]
    raise KeyError(names[0])


def _parameters(path: Path, config: Mapping[str, Any], shape: Mapping[str, Any]) -> int:
    """Parameters as the config implies them, else as the weights beside it count them."""
    family = str(config.get("model_type", ""))
    hidden, head_dim, vocabulary = shape["hidden"], shape["head_dim"], shape["vocabulary"]
    if family in _GATED and not shape["latent_dim"]:
        attention = hidden * head_dim * (2 * shape["heads"] + 2 * shape["kv_heads"])
        if family == "qwen2":  # the only ones here whose projections of query, key and value have a bias
            attention += head_dim * (shape["heads"] + 2 * shape["kv_heads"])
        if family == "qwen3":  # query and key are normalised
            attention += 2 * head_dim
        experts = int(config.get("num_local_experts") or 0)
        block = 3 * hidden * int(config["intermediate_size"]) * max(1, experts) + hidden * experts
        norms = 4 if family == "gemma2" else 2
        embeddings = vocabulary * hidden * (1 if shape["tied"] else 2)
        return int(embeddings + shape["layers"] * (attention + block + norms * hidden) + hidden)
    if family == "bert":
        block = 4 * (hidden**2 + hidden) + 2 * hidden * int(config["intermediate_size"])
        block += int(config["intermediate_size"]) + hidden + 4 * hidden
        places = vocabulary + int(config["max_position_embeddings"]) + int(config.get("type_vocab_size", 2))
        return int(places * hidden + 2 * hidden + shape["layers"] * block + hidden**2 + hidden)
    files = sorted(path.parent.glob("*.safetensors"))
    if not files or "quantization_config" in config:
        raise ValueError(f"the number of parameters of a {family or 'nameless'!r} model; no weights lie beside it")
    return sum(map(_safetensors_parameters, files))


def _safetensors_parameters(path: Path) -> int:
    """Elements of all tensors, from the header: 8 bytes of its length, then JSON."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 2**27)))
        return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (OSError, struct.error, ValueError, KeyError, TypeError) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> ConfigurationError:
    missing = f"it does not say {error}" if isinstance(error, (KeyError, ValidationError)) else str(error)
    return ConfigurationError(
        f"the shape of a model cannot be read: {missing}",
        place=str(path),
        hint="Put the weights (safetensors) beside the config.json, or give the number of parameters.",
    )
