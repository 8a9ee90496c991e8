"""The house keeps its shape: imports go one way, and starting is quick."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("ragwright", "tasks", "flows")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way(room: str) -> None:
    above = ROOMS[ROOMS.index(room) + 1 :]
    found = [(str(path), name) for path in modules(room) for name in imports(path) if name.split(".")[0] in above]
    assert found == []


def test_the_library_knows_nothing_of_the_orchestrator() -> None:
    assert modules("ragwright")
    found = [(str(p), n) for p in modules("ragwright") for n in imports(p) if n.split(".")[0].startswith("prefect")]
    assert found == []


def test_flows_stay_short() -> None:
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in modules("flows")}
    assert {name: length for name, length in lengths.items() if length > 95} == {}


def test_no_flow_file_shadows_a_library() -> None:
    # Prefect loads a file entrypoint with `flows/` first on sys.path.
    libraries = {"evaluate", "datasets", "tokenizers", "lancedb", "pinecone", "prefect", "sagemaker", "boto3"}
    assert {path.stem for path in modules("flows")} & (libraries | set(sys.stdlib_module_names)) == set()


HEAVY = {"pandas", "lancedb", "openvino", "xllamacpp", "great_expectations", "pyarrow", "numpy", "httpx", "prefect"}


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    script = "import sys, ragwright.cli; print(' '.join(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == set()
