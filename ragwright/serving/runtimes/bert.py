"""BERT from its original weights, as an OpenVINO graph.

An exported file fixes the precision; this graph is computed in whatever precision the processor is best at. The
architecture is that of Devlin et al. 2018 (arXiv:1810.04805), with the names that the Hugging Face hub gives its
tensors.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from ragwright.errors import ModelError
from ragwright.serving.runtimes.safetensors import Tensors, read_tensors


class BertConfig(BaseModel):
    """What config.json says of the architecture; the rest of it is about training."""

    model_type: str
    hidden_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    position_embedding_type: str = "absolute"


def build_bert(weights: Path, config: Path) -> Any:
    """An `openvino.Model` from token ids to the last hidden state.

    Inputs `input_ids`, `attention_mask` and `token_type_ids` are int64 [n, t], the output `last_hidden_state` is
    float32 [n, t, d].

    Raises:
        ModelError: The files do not describe a BERT encoder.
    """
    described = _read_config(config)
    try:
        return _Graph(read_tensors(weights), described).build()
    except KeyError as error:
        raise ModelError(
            f"has no tensor {error.args[0]!r}, which a BERT encoder has.",
            place=str(weights),
            hint="Name the weights of a BERT encoder, or an ONNX file.",
        ) from error
    except RuntimeError as error:
        raise ModelError(
            f"OpenVINO cannot make a graph of it: {str(error).splitlines()[0]}",
            place=str(weights),
            hint="Check that config.json belongs to these weights.",
        ) from error


def _read_config(path: Path) -> BertConfig:
    try:
        config = BertConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise ModelError(f"not the configuration of a model: {error}.", place=str(path)) from error
    for found, known in (
        (config.model_type, "bert"),
        (config.hidden_act, "gelu"),
        (config.position_embedding_type, "absolute"),
    ):
        if found != known:
            raise ModelError(
                f"{found!r} is not supported, only {known!r}.", place=str(path), hint="Name an ONNX export instead."
            )
    if config.hidden_size % config.num_attention_heads:
        raise ModelError(
            f"{config.num_attention_heads} heads do not divide a width of {config.hidden_size}.", place=str(path)
        )
    return config


class _Graph:
    """The layers, as calls into OpenVINO's operation set."""

    def __init__(self, tensors: Tensors, config: BertConfig) -> None:
        from openvino import opset13

        self._ops, self._tensors, self._config = opset13, tensors, config
        self._heads = config.num_attention_heads
        self._head_width = config.hidden_size // config.num_attention_heads

    def build(self) -> Any:
        import openvino

        ops = self._ops
        inputs = [
            ops.parameter([-1, -1], np.int64, name=name) for name in ("input_ids", "attention_mask", "token_type_ids")
        ]
        for each in inputs:
            each.output(0).get_tensor().set_names({each.friendly_name})
        ids, mask, kinds = inputs
        hidden = self._embedded(ids, kinds)
        bias = self._attention_bias(mask)
        for layer in range(self._config.num_hidden_layers):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, bias)
        hidden.output(0).get_tensor().set_names({"last_hidden_state"})
        return openvino.Model([ops.result(hidden)], inputs, "bert")

    def _embedded(self, ids: Any, kinds: Any) -> Any:
        ops = self._ops
        length = ops.gather(ops.shape_of(ids), np.int64(1), np.int64(0))
        positions = ops.range(np.int64(0), length, np.int64(1), output_type="i64")
        found = [
            ops.gather(self._weight(f"embeddings.{name}_embeddings.weight"), rows, np.int64(0))
            for name, rows in (("word", ids), ("token_type", kinds), ("position", positions))
        ]
        return self._normed("embeddings.LayerNorm", ops.add(ops.add(found[0], found[1]), found[2]))

    def _attention_bias(self, mask: Any) -> Any:
        """float32 [n, 1, 1, t]: 0 where there is text; padding gets so little that its weight is 0 in any precision."""
        ops = self._ops
        padding = ops.subtract(np.float32(1), ops.convert(mask, "f32"))
        return ops.unsqueeze(ops.multiply(padding, np.float32(-1e4)), np.array([1, 2]))

    def _layer(self, name: str, hidden: Any, bias: Any) -> Any:
        ops = self._ops
        query, key, value = (
            self._split(self._dense(f"{name}.attention.self.{part}", hidden)) for part in ("query", "key", "value")
        )
        scale = np.float32(1 / math.sqrt(self._head_width))
        attended = ops.scaled_dot_product_attention(query, key, value, bias, scale)
        joined = ops.reshape(
            ops.transpose(attended, np.array([0, 2, 1, 3])), np.array([0, 0, self._config.hidden_size]), True
        )
        hidden = self._residual(f"{name}.attention.output", joined, hidden)
        wide = ops.gelu(self._dense(f"{name}.intermediate.dense", hidden), "erf")
        return self._residual(f"{name}.output", wide, hidden)

    def _split(self, states: Any) -> Any:
        """[n, t, d] to [n, heads, t, d / heads]."""
        ops = self._ops
        apart = ops.reshape(states, np.array([0, 0, self._heads, self._head_width]), True)
        return ops.transpose(apart, np.array([0, 2, 1, 3]))

    def _residual(self, name: str, states: Any, before: Any) -> Any:
        return self._normed(f"{name}.LayerNorm", self._ops.add(self._dense(f"{name}.dense", states), before))

    def _dense(self, name: str, states: Any) -> Any:
        ops = self._ops
        product = ops.matmul(states, self._weight(f"{name}.weight"), False, True)
        return ops.add(product, self._weight(f"{name}.bias"))

    def _normed(self, name: str, states: Any) -> Any:
        ops = self._ops
        even = ops.mvn(states, np.array([-1]), True, self._config.layer_norm_eps, "inside_sqrt")
        return ops.add(ops.multiply(even, self._weight(f"{name}.weight")), self._weight(f"{name}.bias"))

    def _weight(self, name: str) -> Any:
        return self._ops.constant(self._tensors[name])
