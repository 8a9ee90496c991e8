"""What is remembered of texts is what was computed of them, the newest of it, and nothing where it cannot be kept."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_bert import bert

from ragwright.endpoints import Contract
from ragwright.models import get_model
from ragwright.progress import silent
from ragwright.serving.contracts import open_service
from ragwright.serving.runtimes import open_encoder
from ragwright.serving.runtimes.openvino import OpenVinoEncoder
from ragwright.serving.runtimes.remembered import RememberedStates, open_remembered

DIMENSION = 3
Ids = tuple[int, ...]
IDS = st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple)


def ring(rows: int) -> RememberedStates:
    return RememberedStates(tempfile.TemporaryFile(buffering=0), rows, DIMENSION)


def states(ids: Ids, salt: int = 0) -> np.ndarray:
    """No two alike."""
    return np.random.default_rng((*ids, salt)).standard_normal((len(ids), DIMENSION), np.float32).astype(np.float16)


def found(remembered: RememberedStates, ids: Ids) -> np.ndarray | None:
    into = np.full((len(ids), DIMENSION), np.nan, np.float16)
    return into if remembered.get(ids, into) else None


class Model:
    """The same as a dict: the oldest go, until what is left and what is new have room."""

    def __init__(self, rows: int) -> None:
        self.rows, self.kept = rows, OrderedDict[Ids, np.ndarray]()
        self.written = self.written_when_asked = self.offered = 0

    def put(self, ids: Ids, given: np.ndarray) -> None:
        if ids in self.kept or len(ids) > self.rows:
            return
        self.offered += 1
        if self.offered % (1 + (self.written - self.written_when_asked) // self.rows):
            return
        while sum(map(len, self.kept.values())) + len(ids) > self.rows:
            self.kept.popitem(last=False)
        self.kept[ids] = given
        self.written += len(ids)

    def get(self, ids: Ids) -> np.ndarray | None:
        if ids in self.kept:
            self.written_when_asked = self.written
        return self.kept.get(ids)


@given(st.integers(1, 12), st.lists(st.tuples(st.booleans(), IDS), max_size=60))
def test_any_puts_and_gets_are_those_of_a_dict_with_the_same_bound(rows: int, steps: list[tuple[bool, Ids]]) -> None:
    remembered, model = ring(rows), Model(rows)
    for salt, (puts, ids) in enumerate(steps):
        if puts:
            remembered.put(ids, states(ids, salt))
            model.put(ids, states(ids, salt))
        else:
            one, other = found(remembered, ids), model.get(ids)
            assert (one is None) == (other is None)
            assert one is None or np.array_equal(one, other)
    for ids in {ids for _, ids in steps}:
        one, other = found(remembered, ids), model.get(ids)
        assert (one is None) == (other is None)
        assert one is None or np.array_equal(one, other)
    remembered.close()


def test_threads_never_get_what_another_text_has_overwritten() -> None:
    remembered = ring(23)

    def use(turn: int) -> int:
        ids = (turn % 17, turn % 5, turn % 3)[: 1 + turn % 3]
        remembered.put(ids, states(ids))
        got = found(remembered, ids)
        assert got is None or np.array_equal(got, states(ids))
        return got is not None

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(use, range(2_000))) > 1_000


def test_what_goes_round_and_is_never_asked_for_is_written_ever_less() -> None:
    remembered = ring(100)
    for number in range(10_000):
        remembered.put((number,), states((number,)))
    kept = [number for number in range(10_000) if found(remembered, (number,)) is not None]
    assert len(kept) == 100
    assert min(kept) < 9_000  # of the last thousand only some were written
    assert np.diff(kept).max() < 30


def test_a_disk_that_fails_costs_the_memory_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.NamedTemporaryFile() as file, open(file.name, "rb", buffering=0) as unwritable:
        remembered = RememberedStates(unwritable, 10, DIMENSION)
        remembered.put((1, 2), states((1, 2)))
        remembered.put((3,), states((3,)))
        assert found(remembered, (1, 2)) is None
        assert found(remembered, (3,)) is None
    [record] = caplog.records
    assert "not remembered any more" in record.getMessage()


def test_a_file_cut_short_by_others_gives_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryFile(buffering=0) as file:
        remembered = RememberedStates(file, 10, DIMENSION)
        remembered.put((1, 2), states((1, 2)))
        os.ftruncate(file.fileno(), 5)
        assert found(remembered, (1, 2)) is None
    assert "not remembered any more" in caplog.text


def test_there_is_none_where_the_disk_has_no_room_or_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert open_remembered(0, DIMENSION, warn=said.append) is None
    assert not said
    assert open_remembered(shutil.disk_usage(tmp_path).free // 2**20, DIMENSION, warn=said.append) is None
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    assert open_remembered(1, DIMENSION, warn=said.append) is None
    assert ["MiB, and should have twice" in said[0], "cannot be written" in said[1]] == [True, True]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose models.toml knows `tiny`, and an empty folder for large files."""
    monkeypatch.setenv("RAGWRIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("RAGWRIGHT_ENCODER__PRECISION", "f32")
    monkeypatch.setenv("RAGWRIGHT_ENCODER__STREAMS", "2")
    monkeypatch.setenv("RAGWRIGHT_ENCODER__BATCH_TOKENS", "256")
    return bert(tmp_path)


def opened(home: Path, *, remember: bool) -> OpenVinoEncoder:
    encoder = open_encoder(get_model("tiny"), cache=home / "models", progress=silent, remember=remember)
    assert isinstance(encoder, OpenVinoEncoder)
    return encoder


def test_states_of_texts_that_were_embedded_are_not_computed_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = opened(home, remember=True)
    texts = encoder.tokenize(["one two", "three " * 20, "four five six"], truncate=True)
    other = encoder.tokenize(["seven", "eight nine"], truncate=True)
    fresh = opened(home, remember=False)
    expected = fresh.token_states([*other, *texts]).rows
    encoder.sentence_vectors(texts)
    computed: list[int] = []
    infer = encoder._infer
    monkeypatch.setattr(encoder, "_infer", lambda ids: (computed.extend(map(len, ids)), infer(ids))[1])
    np.testing.assert_allclose(encoder.token_states([*other, *texts]).rows, expected, atol=2e-3)
    assert sorted(computed) == sorted(len(text.ids) for text in other)
    np.testing.assert_allclose(
        encoder.token_states(other).rows, expected[: sum(text.tokens for text in other)], atol=2e-3
    )
    assert len(computed) == len(other)
    encoder.close()
    fresh.close()


@pytest.mark.parametrize(
    ("contract", "megabytes", "kept"), [("tei", 1, True), ("tei", 0, False), ("openai-embeddings", 1, False)]
)
def test_only_a_server_that_gives_token_states_keeps_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contract: Contract, megabytes: int, kept: bool
) -> None:
    large = tmp_path / "large"
    large.mkdir()
    monkeypatch.setenv("TMPDIR", str(large))
    monkeypatch.setenv("RAGWRIGHT_ENCODER__REMEMBER_MB", str(megabytes))
    service = open_service(contract, get_model("tiny"), cache=home / "models")
    held = [link for link in map(os.path.realpath, glob("/proc/self/fd/*")) if link.startswith(str(large))]
    assert (len(held), list(large.iterdir()), service.warnings) == (int(kept), [], ())
    service.close()
