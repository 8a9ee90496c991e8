"""Adapters of other packages are named by where they are, and refused in words where that does not work."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragwright.embedding import open_embedder
from ragwright.endpoints import embedder_spec, generator_spec, open_host
from ragwright.errors import ConfigurationError
from ragwright.generation import open_generator
from ragwright.settings import load_settings
from ragwright.stores import open_store

ADAPTERS = """
from ragwright.generation import ScriptedGenerator
from ragwright.stores.memory import MemoryStore


class Store(MemoryStore):
    pass


def generator(settings):
    return ScriptedGenerator(lambda prompt: settings.index)


def nothing(*arguments):
    return None
"""


@pytest.fixture(autouse=True)
def adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_adapters.py").write_text(ADAPTERS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_store_is_told_its_place() -> None:
    with open_store("python:my_adapters:Store:some:place?x=1") as store:
        assert type(store).__name__ == "Store"
        assert store._place == "memory:some:place?x=1"  # type: ignore[attr-defined]
    with open_store("python:my_adapters:Store") as store:
        assert store.spaces() == []


def test_a_generator_is_told_the_settings_and_nothing_is_deployed_for_it() -> None:
    settings = load_settings(
        index="mine",
        generation={"endpoint": "python:my_adapters:generator"},
        embedding={"endpoint": "python:my_adapters:nothing"},
    )
    with open_generator(settings) as generator:  # type: ignore[union-attr]
        assert generator.generate([], max_new_tokens=9).text == "mine"
    assert generator_spec(settings) is None
    assert embedder_spec(settings) is None


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("python:no_such_module:Store", "No module named 'no_such_module'"),
        ("python:my_adapters:Shop", "has no attribute 'Shop'"),
        ("python:my_adapters", "has no attribute ''"),
        ("python::Store", "Empty module name"),
        ("python:my_adapters:nothing", "makes a NoneType, which is no VectorStore: it has no close, delete"),
    ],
)
def test_what_cannot_be_opened_is_named_with_the_reason(reference: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as refused:
        open_store(reference)
    assert reference in str(refused.value)


def test_every_port_refuses_what_is_none_of_its_own() -> None:
    nothing = "python:my_adapters:nothing"
    settings = load_settings(
        embedding={"endpoint": nothing}, generation={"endpoint": nothing}, endpoints={"host": nothing}
    )
    for open_one, port in ((open_embedder, "Embedder"), (open_generator, "Generator"), (open_host, "EndpointHost")):
        with pytest.raises(ConfigurationError, match=f"no {port}: "):
            open_one(settings)


@pytest.mark.parametrize("host", ["sagmaker", "python:my_adapters", "python:my-adapters:host"])
def test_a_host_that_is_mistyped_is_refused_with_the_settings(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"endpoints\.host"):
        load_settings(endpoints={"host": host})
