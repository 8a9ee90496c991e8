"""Code blocks of the project's pages: what they are, and what the page says of them.

A comment right before a block is not shown to readers. `<!-- file: NAME -->` says which file the block is, so that what
follows on the page can use it. `<!-- not run: REASON -->` says why nobody can run it here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").glob("*.md")])

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>not run|file): (?P<said>[^>]+?) -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_ASSIGNMENT = re.compile(r"[A-Z_][A-Z0-9_]*=")


@dataclass(frozen=True)
class Command:
    """One command of a block.

    Attributes:
        words: As a shell would split them, without variables, a comment or a final `&`.
        variables: What is set for this command alone.
        output: The lines that the page shows as its output.
    """

    words: tuple[str, ...]
    variables: dict[str, str]
    output: tuple[str, ...] = ()

    def __str__(self) -> str:
        return shlex.join(self.words)


@dataclass(frozen=True)
class Block:
    """A fenced block; `file` and `not_run` are what the comment before it says, empty without one."""

    page: Path
    line: int
    section: str
    language: str
    text: str
    file: str = ""
    not_run: str = ""

    @property
    def name(self) -> str:
        """Page, section and line, for people."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[Command]:
        """What a console block has a reader type."""
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        transcript = any(line.startswith("$ ") for line in lines)
        found: list[Command] = []
        for line in lines:
            if transcript and not line.startswith("$ "):
                last = found[-1]
                found[-1] = Command(last.words, last.variables, (*last.output, line))
            elif words := shlex.split(line.removeprefix("$ "), comments=True):
                count = next((at for at, word in enumerate(words) if not _ASSIGNMENT.match(word)), len(words))
                variables = dict(word.split("=", 1) for word in words[:count])
                end = -1 if words[-1] == "&" else None
                found.append(Command(tuple(words[count:end]), variables))
        return found


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    headings = [(found.start(), found[1]) for found in re.finditer(r"^#+ (.+)$", text, re.MULTILINE)]
    for found in _BLOCK.finditer(text):
        section = [title for at, title in headings if at < found.start()][-1:]
        said = {"file": "", "not run": ""} | ({found["mark"]: found["said"]} if found["mark"] else {})
        line = text[: found.start("language")].count("\n") + 1
        yield Block(page, line, *section, found["language"], found["text"], said["file"], said["not run"])
