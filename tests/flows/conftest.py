"""Settings that make a run cheap but real."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed_flows import Embedder, Faq, services

FAQ = [(f"What is thing number {n}?", f"Thing {n} is the one that comes after thing {n - 1}.") for n in range(12)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """State of its own; the embedding endpoint is a real server process with a model that needs no download."""
    monkeypatch.setenv("RAGWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__MODEL", "hashing-384")
    monkeypatch.setenv("RAGWRIGHT_EMBEDDING__ENDPOINT", "test-embedder")
    monkeypatch.setenv("RAGWRIGHT_GENERATION__ENDPOINT", "none")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def faq(tmp_path: Path) -> str:
    path = tmp_path / "faq.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "answer"), *FAQ])
    return str(path)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Faq, Embedder]]:
    """A source and an embedding server that the test changes, holds and spoils."""
    with services() as running:
        yield running
