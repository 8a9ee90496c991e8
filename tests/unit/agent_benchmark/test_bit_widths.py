"""The same model at several bit widths: written, loaded, and put side by side."""

from __future__ import annotations

import importlib.util
import mmap
import struct
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ragwright.agent.benchmark.page import page
from ragwright.agent.benchmark.report import markdown
from ragwright.agent.benchmark.results import BenchmarkResult, ModelResult
from ragwright.agent.benchmark.scoring import TurnRecord
from ragwright.agent.benchmark.subjects import about_file, subject
from ragwright.endpoints.gguf import GgufHeader, read_gguf
from ragwright.errors import ModelError
from ragwright.models import get_model, resolve
from ragwright.progress import silent
from ragwright.serving.runtimes import GenerationRequest, open_text_model
from ragwright.settings import Settings

EMBEDDED = "smollm2-135m-instruct-q4"
WIDTHS = {"F16": 16.0, "Q8_0": 8.5, "Q4_0": 8.1}
"""Bits a weight of the thin model below, nearly all of which is its embedding: that stays in 8.5 bits at 4."""


def requantise_script() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "requantise.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


script = requantise_script()


@given(arrays(np.float32, 64, elements=st.floats(-100, 100, width=16)), st.sampled_from(list(script.FILE_TYPES)))
def test_a_weight_is_off_by_no_more_than_its_blocks_step(values: np.ndarray, name: str) -> None:
    found = script.decode(script.encode(values, name), name).reshape(-1, 32)
    blocks = values.reshape(-1, 32)
    reach = np.abs(blocks).max(axis=1, keepdims=True)
    span = np.ptp(blocks, axis=1, keepdims=True)
    # A scale in 16 bits is off by a two thousandth at most, and by half of the least one; the value opposite to the
    # furthest has no code of its own.
    step = {"F16": 0 * reach, "Q8_0": reach / 127, "Q5_0": reach / 16, "Q4_0": reach / 8}.get(name, 0 * reach)
    step = {"Q5_1": span / 31, "Q4_1": span / 15}.get(name, step)
    allowed = step * (1.0 if name.endswith("_0") else 0.5) + reach / 500 + 2e-5
    assert (np.abs(found - blocks) <= allowed).all()
    if name != "F16":
        assert len(script.encode(values, name)) == 2 * script.BLOCK_BYTES[name]


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Path:
    """The embedded model with the first of its thirty layers alone: it talks nonsense, and is written in a second."""
    path = tmp_path_factory.mktemp("thin") / "Thin-1L.Q4_1.gguf"
    with resolve(EMBEDDED, cache=model_cache)["model"].open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header = GgufHeader(data)
        header.read()
        kept = [tensor for tensor in header.tensors if not tensor.name.startswith("blk.") or "blk.0." in tensor.name]
        head = bytearray(data[: header.tensors_at])
        struct.pack_into("<I", head, header.places["llama.block_count"], 1)
        struct.pack_into("<Q", head, 8, len(kept))
        described, weights = b"", b""
        for tensor in kept:
            described += script._described(tensor, tensor.kind, len(weights))
            encoded = script._bytes_of(tensor, header, data).tobytes()
            weights += encoded + bytes(-len(encoded) % 32)
    path.write_bytes(bytes(head) + described + bytes(-(len(head) + len(described)) % 32) + weights)
    return path


@pytest.fixture(scope="module")
def files(thin: Path) -> dict[str, Path]:
    paths = {name: thin.with_name(f"Thin-1L.{name}.gguf") for name in WIDTHS}
    errors = [script.requantise(thin, path, name) for name, path in paths.items()]
    assert 0 < errors[0] < errors[1] < errors[2] < 0.1
    return paths


@pytest.mark.parametrize("name", WIDTHS)
def test_every_width_loads_and_talks(files: dict[str, Path], name: str, model_cache: Path) -> None:
    model = open_text_model(get_model(str(files[name])), cache=model_cache, progress=silent)
    try:
        reply = model.generate(GenerationRequest("Once upon a time", 4), lambda: False)
    finally:
        model.close()
    assert reply.new_tokens == 4


def test_the_same_format_again_changes_no_byte_of_the_weights(thin: Path) -> None:
    again = thin.with_name("again.gguf")
    assert script.requantise(thin, again, "Q4_1") == 0
    assert again.read_bytes() == thin.read_bytes()


def test_the_report_has_a_row_for_each_width(files: dict[str, Path], tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    results = []
    for path in files.values():
        asked = subject(str(path), settings)
        turn = TurnRecord("hello", "Hi.", seconds=0.5)
        results.append(ModelResult(path.stem, {**asked.about, **about_file(asked)}, (), (), (turn,), 300_000_000, 1.0))
    told, shown = markdown(BenchmarkResult(tuple(results))), page(BenchmarkResult(tuple(results)))
    rows = [line.strip("| ").split(" | ") for line in told.split("by bit width")[1].splitlines() if "Thin-1L" in line]
    assert [row[0] for row in rows] == ["Thin-1L.F16", "Thin-1L.Q8_0", "Thin-1L.Q4_0"]
    for row, (name, width) in zip(rows, WIDTHS.items(), strict=True):
        size = files[name].stat().st_size
        assert float(row[1]) == pytest.approx(width, abs=0.1)
        assert row[2:5] == [name, f"{size / 1e6:,.0f} MB", "300 MB"]
        assert read_gguf(files[name])[1] == pytest.approx(31.8e6, rel=0.01)
    assert shown.count("<td>Thin-1L") >= 3
    assert "Memory and quality by bit width" in shown


def test_models_that_run_elsewhere_have_no_width(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert about_file(subject("scripted@http://127.0.0.1:9/v1", settings)) == {}
    result = BenchmarkResult((ModelResult("m", {}, (), (), (), None, 1.0),))
    assert "bit width" not in markdown(result) + page(result)


def test_a_format_that_is_not_read_is_named(thin: Path) -> None:
    data = bytearray(thin.read_bytes())
    at = data.index(b"blk.0.ffn_down.weight") + len(b"blk.0.ffn_down.weight") + 4 + 16
    struct.pack_into("<I", data, at, 14)
    other = thin.with_name("other.gguf")
    other.write_bytes(data)
    with pytest.raises(ModelError, match=r"'blk\.0\.ffn_down\.weight' has format 14"):
        script.requantise(other, thin.with_name("never.gguf"), "Q8_0")
