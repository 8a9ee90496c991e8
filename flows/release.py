"""Which version of the flows a deployment runs."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def release(root: Path = ROOT) -> dict[str, str]:
    """The package's version and, in a git checkout, its commit, as in `0.1.0+4b16129`; a build step of prefect.yaml."""
    commit = _commit(root / ".git")
    return {"version": "+".join(filter(None, [version("ragwright"), commit[:7]]))}


def _commit(git: Path) -> str:
    """What is checked out, read from git's files: the program need not be there. Empty where there is none."""
    try:
        if git.is_file():  # a work tree beside the repository
            git = git.parent / git.read_text("utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text("utf-8").strip()
        if not head.startswith("ref:"):
            return head
        name = head.removeprefix("ref:").strip()
        common = git / "commondir"
        git = git / common.read_text("utf-8").strip() if common.exists() else git
        loose = git / name
        if loose.exists():
            return loose.read_text("utf-8").strip()
        packed = (git / "packed-refs").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.partition(" ")[0] for line in packed if line.endswith(f" {name}")), "")
