"""How models are named for the benchmark, and what is known of them."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from ragwright.agent.benchmark.subjects import Memory, in_service, subject
from ragwright.errors import ConfigurationError
from ragwright.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("RAGWRIGHT_HOME", str(tmp_path))
    return Settings(home=tmp_path, generation={"temperature": 0.7}, agent={"temperature": 0.7})


def test_a_name_gets_a_server_of_its_own(settings: Settings) -> None:
    asked = subject("smollm2-135m-instruct-q4", settings)
    assert asked.spec is not None
    assert asked.spec.name == asked.settings.generation.endpoint != settings.generation.endpoint
    assert asked.spec.model == "smollm2-135m-instruct-q4"
    assert asked.about == {"weights": "98 MB", "bits": "Q4_1"}


@pytest.mark.parametrize("name", ["smollm2-135m-instruct-q4", "http://127.0.0.1:9/v1"])
def test_every_model_is_asked_greedily(settings: Settings, name: str) -> None:
    asked = subject(name, settings).settings
    assert asked.generation.temperature == asked.agent.temperature == 0


def test_a_gguf_file_is_a_model(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "Some_Model-1B.Q8_0.gguf"
    path.write_bytes(b"GGUF" + bytes(2_000_000))
    asked = subject(str(path), settings)
    assert asked.spec is not None
    assert asked.spec.name == "bench-some-model-1b-q8-0"
    assert asked.spec.model == str(path)
    assert asked.about == {"weights": "2 MB", "bits": "Q8_0"}


def test_a_url_is_asked_as_it_is(settings: Settings) -> None:
    asked = subject("scripted@http://127.0.0.1:9/v1", settings)
    assert asked.spec is None
    assert asked.settings.generation.endpoint == "http://127.0.0.1:9/v1"
    assert asked.settings.generation.contract == "openai-chat"
    assert asked.settings.generation.model == "scripted"
    with in_service(asked) as memory:
        assert memory.peak() is None


def test_a_url_may_hold_an_at_sign(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="http://user"):
        subject("http://user:word@127.0.0.1:9/v1", settings)


def test_a_sagemaker_endpoint_is_asked_as_it_is(settings: Settings) -> None:
    asked = subject("sagemaker:flan-t5-demo", settings)
    assert asked.spec is None
    assert asked.settings.endpoints.host == "sagemaker"
    assert asked.settings.generation.endpoint == "flan-t5-demo"
    assert asked.settings.generation.model == settings.generation.model


@pytest.mark.parametrize(("name", "says"), [("no-such", "unknown model"), ("hashing-384", "not a language model")])
def test_what_cannot_talk_is_refused(settings: Settings, name: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        subject(name, settings)


def test_peak_memory_is_that_of_the_process_and_never_falls() -> None:
    memory = Memory(psutil.Process(os.getpid()))
    first = memory.peak()
    assert first is not None
    assert first > 5_000_000
    assert (memory.peak() or 0) >= first
    assert Memory().peak() is None


def test_a_process_that_is_gone_leaves_its_peak() -> None:
    child = psutil.Popen(["sleep", "30"])
    memory = Memory(psutil.Process(child.pid))
    peak = memory.peak()
    child.kill()
    child.wait()
    assert memory.peak() == peak is not None
