"""What the pages show is so: their commands and programs run in the order they stand, and print what is shown.

Each section of a page starts in a folder of its own, with the files that its commands name. Vectors are hashed, by a
server where a page is about servers, and answers are quoted from the FAQ, so that nothing needs a model. What cannot
run here says why in a comment before the block; its commands are still put to the parsers of the real programs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest
from code_blocks import PAGES, ROOT, Block, Command, blocks
from command_line import NO_MODELS, CommandLine
from made_gguf import gguf

pytestmark = pytest.mark.timeout(300)  # seconds

CONSOLE = ("console", "sh")
BLOCKS = [block for page in PAGES for block in blocks(page)]
QUESTION = "Which instances can I use for spot training?"
CONFIG = {
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
"""SmolLM2-135M's shape."""
SERVED = {
    "RAGWRIGHT_EMBEDDING__ENDPOINT": "minilm-demo",
    "RAGWRIGHT_EMBEDDING__MODEL": "hashing-64",
    "RAGWRIGHT_GENERATION__ENDPOINT": "scripted",
}
SETTINGS = {
    ("README.md", "What it looks like"): SERVED,
    ("docs/operations.md", "Endpoints"): SERVED,
    ("docs/agent.md", "A tool of your own"): {"RAGWRIGHT_GENERATION__ENDPOINT": "scripted"},
}
"""Settings of sections that need others than `NO_MODELS`."""


def reindexed(shell: CommandLine, *more: str, code: int = 0) -> None:
    done = shell.run("reindex", "--source", "faq.csv", *more)
    assert done.code == code, done.err


def add_row(shell: CommandLine) -> None:
    with (shell.folder / "faq.csv").open("a", encoding="utf-8") as faq:
        faq.write("Is it free?,No.\n")


def two_generations(shell: CommandLine) -> None:
    reindexed(shell, "--gate", "off")
    add_row(shell)
    reindexed(shell, "--gate", "off")


def six_and_a_blocked_one(shell: CommandLine) -> None:
    for _ in range(6):
        reindexed(shell, "--gate", "off")
    shell = CommandLine(
        shell.folder, shell.settings | {"RAGWRIGHT_GATE__FLOORS__HIT_AT_5": "1", "RAGWRIGHT_GATE__SAMPLE": "40"}
    )
    add_row(shell)
    reindexed(shell, "--gate", "block", code=1)


BEFORE = {
    ("docs/operations.md", "Looking at an index, and going back"): two_generations,
    ("docs/operations.md", "The gate"): six_and_a_blocked_one,
}
"""What a section takes for granted."""
PROMISED = re.compile(r"(Started |Generation |I don't know|\d+ sections;).*|Gate: ")
"""What of a shown line is ragwright's own, so that it has the same words whatever the models say."""


def section_of(block: Block) -> tuple[str, str]:
    return str(block.page.relative_to(ROOT)), block.section


RUNNABLE = [block for block in BLOCKS if (block.language in (*CONSOLE, "python") or block.file) and not block.not_run]
RUN = [list(found) for _, found in groupby(RUNNABLE, key=section_of)]


@pytest.fixture
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CommandLine]:
    """A folder with the files that pages name, as a reader has them."""
    first: Block = request.node.callspec.params["section"][0]
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "faq.csv").write_bytes((ROOT / "data/sagemaker_faq.csv").read_bytes())
    lines = (ROOT / "data/questions.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    gguf(tmp_path / "model.gguf")
    (tmp_path / "my_questions.jsonl").write_text("".join(lines[::6]), encoding="utf-8")
    shell = CommandLine(
        tmp_path,
        NO_MODELS
        | {"RAGWRIGHT_ANSWERING__CALIBRATION_ROWS": "10", "RAGWRIGHT_EVALUATION__QUESTIONS": "my_questions.jsonl"}
        | {"RAGWRIGHT_GATE__SAMPLE": "10", "RAGWRIGHT_GATE__MODE": "warn"}  # hashed vectors reach no floor
        | SETTINGS.get(section_of(first), {}),
    )
    yield shell
    if shell.settings["RAGWRIGHT_EMBEDDING__ENDPOINT"] == "minilm-demo":
        assert shell.run("endpoints", "down").code == 0
    assert shell.processes() == []


@contextmanager
def inside(shell: CommandLine) -> Iterator[None]:
    """This process as one of that shell, with the tests' own modules to import."""
    before, path = Path.cwd(), list(sys.path)
    environment = dict(os.environ)
    try:
        os.chdir(shell.folder)
        os.environ.update(shell.settings)
        sys.path[:0] = [str(shell.folder), str(ROOT / "tests")]
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = path


@pytest.mark.parametrize("section", RUN, ids=lambda section: section[0].name)
def test_a_section_does_what_it_shows(section: list[Block], shell: CommandLine) -> None:
    BEFORE.get(section_of(section[0]), lambda shell: None)(shell)
    for block in section:
        if block.file:
            (shell.folder / block.file).write_text(written(block), encoding="utf-8")
        if block.language in CONSOLE:
            for command in block.commands:
                check_run(shell, block, command)
        elif block.language == "python" and not block.file:
            with inside(shell):
                exec(compile(block.text, block.name, "exec"), {"__name__": "__main__"})


def test_every_section_that_is_prepared_is_there() -> None:
    assert set(SETTINGS) | set(BEFORE) <= {section_of(block) for block in RUNNABLE}


def check_run(shell: CommandLine, block: Block, command: Command) -> None:
    assert command.words[0] == "ragwright", f"{block.name}: say why `{command}` is not run"
    done = CommandLine(shell.folder, shell.settings | command.variables).run(*command.words[1:])
    assert done.code == 0, f"{block.name}: {command}\n{done.out}\n{done.err}"
    printed = [shape(line) for line in (done.err + done.out).splitlines()]
    for line in command.output:
        if own := PROMISED.match(line):
            found = any(told.startswith(shape(own[0])) for told in printed)
            assert found, f"{block.name}: {command} does not print {own[0]!r}\n{done.out}\n{done.err}"


def shape(line: str) -> str:
    """A line without its figures."""
    return re.sub(r"\d+(\.\d+)?", "0", line.strip())


def written(block: Block) -> str:
    """A block as its file: JSON lines may be broken on a page, for they are long."""
    if not block.file.endswith(".jsonl"):
        return block.text
    return "".join(json.dumps(value) + "\n" for value in json_values(block.text))


def json_values(text: str) -> Iterator[object]:
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        yield value
        text = text[end:].lstrip()


# What is not run


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language in CONSOLE], ids=lambda block: block.name
)
def test_the_programs_know_every_command_that_is_shown(block: Block) -> None:
    for command in block.commands:
        program = Path(command.words[0]).name if command.words else ""
        if program in PARSERS:
            PARSERS[program](command.words[1:])
        else:
            assert block.not_run, f"{block.name}: nothing here knows `{command}`"


def ragwright_knows(words: Sequence[str]) -> None:
    import typer

    from ragwright.cli import app

    command, name, arguments, context = typer.main.get_command(app), "ragwright", list(words), None
    while True:
        context = command.make_context(name, arguments, parent=context)
        if not hasattr(command, "resolve_command"):
            return
        found, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        name = str(found)


def prefect_knows(words: Sequence[str]) -> None:
    from prefect.cli._app import _app, _normalize_top_level_flags

    loud = {"print_error": False, "exit_on_error": False}
    _, bound, _ = _app.meta.parse_args(_normalize_top_level_flags(list(words)), **loud)
    _app.parse_args(bound.args, **loud)


def make_knows(words: Sequence[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets)


def pip_knows(words: Sequence[str]) -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extras in re.findall(r"(?:ragwright|\.)\[([\w,]+)\]", " ".join(words)):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


def python_knows(words: Sequence[str]) -> None:
    """That the program is there, and has each flag in its help."""
    program = words[: 2 if words[0] == "-m" else 1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    asked = subprocess.run(
        [sys.executable, *program, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", asked.stdout))


PARSERS: dict[str, Callable[[Sequence[str]], None]] = {
    "ragwright": ragwright_knows,
    "prefect": prefect_knows,
    "make": make_knows,
    "pip": pip_knows,
    "uv": pip_knows,
    "python": python_knows,
}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("ragwright", ["reindexx"]),
        ("ragwright", ["endpoints", "lss"]),
        ("ragwright", ["reindex", "--sauce", "faq.csv"]),
        ("prefect", ["deployment", "runn", "pipeline/pipeline"]),
        ("prefect", ["worker", "start", "--poool", "ragwright"]),
        ("make", ["dmeo"]),
        ("pip", ["install", "ragwright[asw]"]),
        ("python", ["deploy/iam/generate.py", "--outt", "x"]),
    ],
)
def test_a_command_that_is_mistyped_is_found(program: str, words: list[str]) -> None:
    with pytest.raises(BaseException):  # noqa: B017, PT011 - each parser has its own
        PARSERS[program](words)


# Files


def as_settings(path: Path) -> None:
    from ragwright.settings import Settings

    assert Settings.model_config["toml_file"] == path.name
    Settings()


def as_prices(path: Path) -> None:
    from ragwright.endpoints.instances import load_prices

    load_prices(path)


def as_questions(path: Path) -> None:
    from ragwright.evaluation.questions import load

    assert load(path).questions


def as_cases(path: Path) -> None:
    from ragwright.agent.benchmark.cases import load_cases

    assert load_cases(path)


READERS: dict[str, Callable[[Path], None]] = {
    "ragwright.toml": as_settings,
    "prices.toml": as_prices,
    "questions.jsonl": as_questions,
    "agent_cases.jsonl": as_cases,
}


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language in ("toml", "yaml", "json")], ids=lambda block: block.name
)
def test_ragwright_reads_every_file_that_is_shown(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if block.file:
        path = tmp_path / block.file
        path.write_text(written(block), encoding="utf-8")
        READERS[block.file](path)
    else:
        assert block.language == "json", f"{block.name}: say which file this is"
        assert list(json_values(block.text))
