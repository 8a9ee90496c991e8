"""How an encoder comes into service: options kept and forced, vectors proved, and what happens if they are wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_bert import WIDTH, bert, safetensors, weights

from ragwright.errors import ModelError
from ragwright.models import get_model
from ragwright.progress import silent
from ragwright.serving.contracts import open_service
from ragwright.serving.runtimes import Encoder, open_encoder, opening
from ragwright.serving.runtimes.bert import build_bert
from ragwright.serving.runtimes.choices import Choices
from ragwright.serving.runtimes.openvino import compile_graph
from ragwright.serving.runtimes.options import EncoderOptions, Processor
from ragwright.serving.runtimes.reference import sample

FOR = {"processor": "A", "offered": {"streams": [1, 2]}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose models.toml knows `tiny`."""
    monkeypatch.setenv("RAGWRIGHT_HOME", str(tmp_path))
    return bert(tmp_path)


def opened(home: Path) -> Encoder:
    encoder = open_encoder(get_model("tiny"), cache=home / "models", progress=silent)
    encoder.close()
    return encoder


def choices(home: Path) -> list[Path]:
    return sorted((home / "models" / "calibration").glob("*.json"))


def name_reference(home: Path, vectors: np.ndarray) -> None:
    """Have models.toml say what the original's vectors are."""
    np.save(home / "reference.npy", vectors.astype(np.float16))
    bert(home, more='[tiny.files.reference]\nfilename = "r.npy"\nsources = [{ path = "reference.npy" }]\n')


def own_vectors(home: Path) -> np.ndarray:
    encoder = open_encoder(get_model("tiny"), cache=home / "models", progress=silent)
    return encoder.sentence_vectors(encoder.tokenize(sample(), truncate=True))


def test_the_first_start_measures_and_later_ones_read_what_was_found(home: Path) -> None:
    first, second = opened(home), opened(home)
    assert (first.about["chosen"], second.about["chosen"]) == ("now", "at an earlier start")
    assert {name: first.about[name] for name in EncoderOptions.model_fields} == {
        name: second.about[name] for name in EncoderOptions.model_fields
    }
    assert first.about["least_cosine"] >= 0.999
    assert first.about["texts_per_second"]
    assert first.warnings == second.warnings == ()


def test_settings_force_a_choice_and_nothing_is_measured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGWRIGHT_ENCODER__PRECISION", "f32")
    monkeypatch.setenv("RAGWRIGHT_ENCODER__STREAMS", "1")
    monkeypatch.setenv("RAGWRIGHT_ENCODER__BATCH_TOKENS", "128")
    about = opened(home).about
    assert (about["precision"], about["streams"], about["batch_tokens"]) == ("f32", 1, 128)
    assert about["chosen"] == "by the settings"
    assert choices(home) == []


def test_a_damaged_choice_is_made_again_with_a_warning(home: Path) -> None:
    opened(home)
    [path] = choices(home)
    path.write_bytes(path.read_bytes()[:100])
    again = opened(home)
    assert again.about["chosen"] == "now"
    [warning] = again.warnings
    assert f"{path} is not a choice of options and is made again" in warning
    assert opened(home).warnings == ()


def test_damaged_vectors_of_a_model_without_reference_are_computed_again(home: Path) -> None:
    opened(home)
    [path] = (home / "models" / "calibration").glob("*.npy")
    path.write_bytes(b"nonsense")
    again = opened(home)
    assert str(path) in again.warnings[0]
    assert again.about["least_cosine"] >= 0.999
    assert opened(home).warnings == ()


def test_a_model_that_is_not_the_original_is_refused_with_the_figure(home: Path) -> None:
    vectors = own_vectors(home)
    vectors[3] = vectors[3][::-1]
    name_reference(home, vectors)
    with pytest.raises(
        ModelError, match=r"'tiny' does not give the original's vectors.*the least cosine.* is -?0\.\d+ with"
    ):
        opened(home)


def test_an_original_that_agrees_is_the_measure(home: Path) -> None:
    name_reference(home, own_vectors(home))
    assert opened(home).about["least_cosine"] >= 0.999


def test_another_pooling_makes_other_vectors_right(home: Path) -> None:
    opened(home)
    path = home / "models.toml"
    path.write_text(path.read_text().replace('pooling = "mean"', 'pooling = "cls"'))
    assert opened(home).about["least_cosine"] >= 0.999


def test_a_reference_of_another_shape_is_refused(home: Path) -> None:
    name_reference(home, np.ones((2, WIDTH)))
    with pytest.raises(
        ModelError, match=rf"holds float16 \(2, {WIDTH}\), not floating-point \({len(sample())}, {WIDTH}\)"
    ):
        opened(home)


def test_options_that_give_other_vectors_are_discarded_with_a_warning(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_precision_is_broken(graph: Any, options: EncoderOptions, *, place: Path) -> Any:
        wrong = build_bert(safetensors(home / "other.safetensors", weights(seed=2)), home / "config.json")
        return compile_graph(graph if options.precision == "f32" else wrong, EncoderOptions(), place=place)

    monkeypatch.setattr(opening, "compile_graph", half_precision_is_broken)
    monkeypatch.setattr(opening, "this_processor", lambda: Processor("made", 1, ("f32", "bf16")))
    found = opened(home)
    assert found.about["precision"] == "f32"
    [warning] = found.warnings
    assert warning.startswith("not used: bf16, 1 stream")
    assert warning.endswith(f"its least cosine to the original is {cosine_in(warning)}, and 0.999 is asked for")
    # What was right at an earlier start is not trusted.
    [path] = choices(home)
    path.write_text(path.read_text().replace('"precision": "f32"', '"precision": "bf16"'))
    again = opened(home)
    assert (again.about["precision"], again.about["chosen"]) == ("f32", "now")
    assert cosine_in(again.warnings[0]) < "0.9"


def cosine_in(warning: str) -> str:
    [found] = re.findall(r"original is (-?\d\.\d{6})", warning)
    return str(found)


def test_servers_that_start_at_once_measure_once(home: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: opened(home), range(3)))
    assert sorted(each.about["chosen"] for each in found) == ["at an earlier start"] * 2 + ["now"]
    assert len(choices(home)) == 1


def test_the_service_says_how_its_model_runs(home: Path) -> None:
    service = open_service("tei", get_model("tiny"), cache=home / "models")
    assert {"precision", "streams", "batch_tokens", "least_cosine", "chosen"} <= service.about.keys()


def test_a_choice_counts_only_for_what_it_was_made_for(tmp_path: Path) -> None:
    warnings: list[str] = []
    kept = Choices(tmp_path / "folder", warn=warnings.append)
    best = EncoderOptions(precision="bf16", streams=2)
    kept.write(FOR, best, {"bf16": 12.5})
    assert kept.read(FOR) == best
    assert kept.read(FOR | {"processor": "B"}) is None
    assert kept.read({"offered": {"streams": [1, 2]}, "processor": "A"}) == best  # the order does not matter
    assert warnings == []
    assert [path.suffix for path in (tmp_path / "folder").iterdir()] == [".json"]  # no draft is left


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"options": {"precision": "f128"}}', b"[]"])
def test_what_is_not_a_choice_is_not_taken_for_one(tmp_path: Path, content: bytes) -> None:
    warnings: list[str] = []
    kept = Choices(tmp_path, warn=warnings.append)
    kept.write(FOR, EncoderOptions(), {})
    [path] = tmp_path.iterdir()
    path.write_bytes(content)
    assert kept.read(FOR) is None
    assert f"{path} is not a choice of options" in warnings[0]


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    warnings: list[str] = []
    kept = Choices(tmp_path / "file" / "folder", warn=warnings.append)
    with kept.measuring():
        kept.write(FOR, EncoderOptions(), {})
    assert ["cannot be locked" in warnings[0], "the next start measures again" in warnings[1]] == [True, True]
    assert all(warning.endswith("Not a directory") for warning in warnings)
    assert kept.read(FOR) is None


def test_threads_may_run_the_first_inferences_of_a_process_at_once(tmp_path: Path) -> None:
    import openvino

    folder = bert(tmp_path)
    openvino.save_model(build_bert(folder / "model.safetensors", folder / "config.json"), folder / "model.xml")
    program = Path(__file__).with_name("first_inferences.py")
    found = subprocess.run(
        [sys.executable, str(program), str(folder), "6"], capture_output=True, text=True, check=False
    )
    assert (found.stdout.strip(), found.returncode) == ("0", 0), found.stderr
