"""BERT from its weights: the graph against the same arithmetic in numpy, and files that are not what they should be."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from made_bert import CONFIG, WIDTH, safetensors, weights

from ragwright.errors import ModelError
from ragwright.models import get_model, resolve
from ragwright.serving.runtimes import Vectors
from ragwright.serving.runtimes.bert import build_bert
from ragwright.serving.runtimes.openvino import compile_graph, read_graph
from ragwright.serving.runtimes.options import EncoderOptions
from ragwright.serving.runtimes.reference import read_vectors, sample
from ragwright.serving.runtimes.safetensors import read_tensors

TEXTS = [[5, 9, 200], [7], list(range(1, 41))]


@pytest.fixture
def numpy_bert(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that makes reference vectors."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    return importlib.import_module("reference_vectors")


def config(folder: Path, **changed: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(CONFIG | changed))
    return path


def hidden_states(weights: Path, config: Path) -> list[Vectors]:
    """Of TEXTS in one batch, without their padding."""
    model = compile_graph(build_bert(weights, config), EncoderOptions(), place=weights)
    ids, mask = np.zeros((len(TEXTS), 64), dtype=np.int64), np.zeros((len(TEXTS), 64), dtype=np.int64)
    for row, text in enumerate(TEXTS):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    [states] = model({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}).values()
    assert states.shape == (len(TEXTS), 64, WIDTH)
    return [state[: len(text)] for state, text in zip(states, TEXTS, strict=True)]


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_the_graph_computes_what_numpy_does(tmp_path: Path, numpy_bert: ModuleType, kind: str) -> None:
    file = safetensors(tmp_path / "model.safetensors", weights(), kind)
    tensors = read_tensors(file)
    for found, text in zip(hidden_states(file, config(tmp_path)), TEXTS, strict=True):
        np.testing.assert_allclose(found, numpy_bert.hidden_states(tensors, CONFIG, text), atol=2e-4)


@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 0), ("F16", 1e-3), ("BF16", 1e-2)])
def test_weights_of_every_width_are_read(tmp_path: Path, kind: str, tolerance: float) -> None:
    written = weights()
    found = read_tensors(safetensors(tmp_path / "model.safetensors", written, kind))
    assert found.keys() == written.keys()
    for name, values in written.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values, rtol=tolerance, atol=tolerance)


def test_the_packaged_reference_is_what_numpy_makes_of_the_original(model_cache: Path, numpy_bert: ModuleType) -> None:
    info = get_model("all-minilm-l6-v2")
    reference = read_vectors(
        resolve(info.name, cache=model_cache, roles=("reference",))["reference"], dimension=info.dimension or 0
    )
    some = [0, 1, 4]  # the short ones: numpy takes its time
    computed = numpy_bert.original_vectors(info, [sample()[i] for i in some], cache=model_cache)
    np.testing.assert_allclose(reference[some], computed, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"model_type": "roberta"}, "'roberta' is not supported, only 'bert'"),
        ({"hidden_act": "relu"}, "'relu' is not supported, only 'gelu'"),
        ({"num_attention_heads": 5}, "5 heads do not divide a width of 32"),
        ({"num_hidden_layers": 3}, r"no tensor 'encoder\.layer\.2\.attention\.self\.query\.weight'"),
        ({"num_hidden_layers": None}, "not the configuration of a model"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path: Path, changed: dict[str, object], reason: str) -> None:
    file = safetensors(tmp_path / "model.safetensors", weights())
    with pytest.raises(ModelError, match=reason):
        build_bert(file, config(tmp_path, **changed))


def test_weights_of_other_shapes_are_refused(tmp_path: Path) -> None:
    odd = weights() | {"encoder.layer.1.output.dense.weight": np.ones((3, 5), dtype=np.float32)}
    with pytest.raises(ModelError, match="OpenVINO cannot make a graph of it"):
        build_bert(safetensors(tmp_path / "model.safetensors", odd), config(tmp_path))


@pytest.mark.parametrize("length", [0, 7, 200, 4_000])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    file = safetensors(tmp_path / "model.safetensors", weights())
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ModelError, match="not a safetensors file"):
        read_tensors(file)


def test_weights_without_a_configuration_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="weights alone do not tell the architecture"):
        read_graph({"model": safetensors(tmp_path / "model.safetensors", weights())})
