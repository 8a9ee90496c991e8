"""The house keeps its shape: imports go one way, and starting is quick."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path

import pytest
from code_blocks import blocks

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
    texts = {path.name: path.read_text(encoding="utf-8") for path in modules("flows")}
    lengths = {name: len(text.splitlines()) for name, text in texts.items() if "\n@flow" in text}
    assert len(lengths) > 5
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


# docs/architecture.md

PAGE = ROOT / "docs" / "architecture.md"
FOUNDATION = "foundation"


def drawn() -> set[tuple[str, str]]:
    """The arrows of the diagram that mean imports; dotted ones do not."""
    diagram = next(block for block in blocks(PAGE) if block.language == "mermaid")
    found = set()
    for line in diagram.text.splitlines()[1:]:
        steps = [re.findall(r"\w+", step) for step in line.split("-->")] if "-." not in line else []
        found |= {arrow for before, after in pairwise(steps) for arrow in product(before, after)}
    return found


def rooms() -> dict[str, str]:
    """The room of each module, as the table has it."""
    found = {"flows": "flows", "tasks": "tasks"}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `") and line.count("|") == 4:
            names, listed = (re.findall(r"`(\w+)`", cell) for cell in line.split("|")[1:3])
            found |= {module: module if module in names else names[0] for module in listed}
    return found


def imported() -> set[tuple[str, str]]:
    """Which room imports which, by the code."""
    room = rooms()
    found = set()
    for package in ROOMS:
        for path in modules(package):
            parts = path.relative_to(ROOT).with_suffix("").parts
            for name in imports(path):
                target = name.split(".")
                if target[0] in ROOMS and (target[0] != "ragwright" or len(target) > 1):
                    arrow = tuple(room[at[1] if at[0] == "ragwright" else at[0]] for at in (parts, target))
                    found.add((arrow[0], arrow[1]))
    return {(before, after) for before, after in found if before != after}


def reachable(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Every pair that a way along arrows leads from and to."""
    ways = set(arrows)
    while more := {(a, d) for (a, b), (c, d) in product(ways, arrows) if b == c} - ways:
        ways |= more
    return ways


def test_every_module_has_one_room() -> None:
    there = {path.stem for path in (ROOT / "ragwright").iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert set(rooms()) == (there - {"__init__"}) | {"flows", "tasks"}


def test_every_arrow_of_the_diagram_is_an_import() -> None:
    assert drawn() - imported() == set()


def test_no_import_goes_where_no_arrows_lead() -> None:
    elsewhere = {arrow for arrow in imported() if arrow[1] != FOUNDATION}
    assert elsewhere - reachable(drawn()) == set()
    assert {before for before, _ in elsewhere} & {FOUNDATION} == set()


def test_rooms_know_each_other_only_where_the_page_says_so() -> None:
    ways = reachable(drawn())
    assert {a for a, b in ways if a == b} == {"index", "evaluation"}
