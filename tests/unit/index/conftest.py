"""A small FAQ, a real store and a real embedder, without a process or a model."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ragwright.settings import Settings

Rows = Sequence[tuple[str, str]]


@pytest.fixture(params=["memory", "lancedb"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    store = f"memory:{tmp_path}" if request.param == "memory" else "lancedb:"
    return Settings(
        home=tmp_path / "home",
        store=store,
        embedding={"endpoint": "hashing:64"},
        generation={"endpoint": "none"},
    )


@pytest.fixture
def write_faq(tmp_path: Path) -> Callable[[Rows], str]:
    def write(rows: Rows) -> str:
        path = tmp_path / "faq.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("question", "answer"), *rows])
        return str(path)

    return write
