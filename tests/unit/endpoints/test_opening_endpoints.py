"""From settings to hosts, specs and connections."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ragwright.endpoints import EndpointHost, Lease, embedder_spec, generator_spec, open_endpoint, open_host
from ragwright.endpoints.http import HttpEndpoint
from ragwright.endpoints.local import LocalHost
from ragwright.endpoints.sagemaker import SageMakerHost
from ragwright.errors import ConfigurationError, EndpointError
from ragwright.settings import Settings, load_settings

STANDIN = Path(__file__).resolve().parents[2] / "emulators" / "endpoint_server.py"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path)


def test_the_configured_models_become_specs(settings: Settings) -> None:
    embedder, generator = embedder_spec(settings), generator_spec(settings)
    assert embedder is not None
    assert generator is not None
    assert (embedder.name, embedder.model, embedder.contract) == ("minilm-demo", "all-minilm-l6-v2-int8", "tei")
    assert (generator.name, generator.model, generator.contract) == ("smollm2-demo", "smollm2-135m-instruct-q4", "tgi")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:8080/v1", "hashing:384"])
def test_an_embedder_that_needs_no_deployment_has_no_spec(tmp_path: Path, endpoint: str) -> None:
    assert embedder_spec(load_settings(home=tmp_path, embedding={"endpoint": endpoint})) is None


@pytest.mark.parametrize("endpoint", ["https://api.example/v1", "scripted", "none"])
def test_a_generator_that_needs_no_deployment_has_no_spec(tmp_path: Path, endpoint: str) -> None:
    assert generator_spec(load_settings(home=tmp_path, generation={"endpoint": endpoint})) is None


def test_a_name_that_no_endpoint_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"embedding\.endpoint 'my endpoint'"):
        embedder_spec(load_settings(home=tmp_path, embedding={"endpoint": "my endpoint"}))


def test_the_host_is_the_one_the_settings_name(settings: Settings, tmp_path: Path) -> None:
    with open_host(settings) as host:
        assert isinstance(host, LocalHost)
        assert isinstance(host, EndpointHost)
        assert host.list() == []
    with open_host(load_settings(home=tmp_path, endpoints={"host": "sagemaker"})) as host:
        assert isinstance(host, SageMakerHost)


@pytest.mark.parametrize(
    ("reference", "contract", "posted_to"),
    [
        ("http://127.0.0.1:8080/v1", "openai-chat", "http://127.0.0.1:8080/v1/chat/completions"),
        ("http://127.0.0.1:8080/v1/", "openai-embeddings", "http://127.0.0.1:8080/v1/embeddings"),
        ("http://127.0.0.1:8080/v1/chat/completions", "openai-chat", "http://127.0.0.1:8080/v1/chat/completions"),
        ("http://127.0.0.1:8080/embed", "tei", "http://127.0.0.1:8080/embed"),
        ("http://127.0.0.1:8080/", "tgi", "http://127.0.0.1:8080/"),
    ],
)
def test_a_url_is_posted_to_as_it_stands_unless_it_is_an_openai_base(
    settings: Settings, reference: str, contract: str, posted_to: str
) -> None:
    with open_endpoint(reference, contract, settings) as endpoint:
        assert isinstance(endpoint, HttpEndpoint)
        assert endpoint.contract == contract
        assert f"{posted_to!r}" in repr(endpoint)


def test_each_role_sends_its_own_key(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, embedding={"api_key": "for-e"}, generation={"api_key": "for-g"})
    for contract, key in (("tei", "for-e"), ("openai-embeddings", "for-e"), ("tgi", "for-g"), ("openai-chat", "for-g")):
        with open_endpoint("http://127.0.0.1:1", contract, settings) as endpoint:
            assert isinstance(endpoint, HttpEndpoint)
            assert endpoint._client.headers["Authorization"] == f"Bearer {key}"


def test_a_name_is_looked_up_on_the_host(settings: Settings, tmp_path: Path) -> None:
    spec = embedder_spec(settings)
    assert spec is not None
    with pytest.raises(EndpointError, match="'minilm-demo'"):
        open_endpoint("minilm-demo", "tei", settings)
    with LocalHost(tmp_path, cache=tmp_path, server=(sys.executable, str(STANDIN))) as host:
        host.deploy(spec.model_copy(update={"model": "good"}), Lease.lasting(owner="me", minutes=1))
        try:
            host.wait(["minilm-demo"], timeout=30)
            with open_endpoint("minilm-demo", "tei", settings) as endpoint:
                assert endpoint.invoke({"a": 1})["echo"] == {"a": 1}
            with pytest.raises(ConfigurationError, match="speaks 'tei'"):
                open_endpoint("minilm-demo", "tgi", settings)
        finally:
            host.delete("minilm-demo")
