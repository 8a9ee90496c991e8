"""The documentation says what is so: links lead somewhere, named tests exist, verbs and settings are real."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ragwright.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").glob("*.md")])
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith("http")]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_every_failure_mode_is_backed_by_a_test() -> None:
    text = (ROOT / "docs" / "failure-modes.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| what", "| ---"))]
    assert len(rows) > 20
    missing = []
    for row in rows:
        named = TEST.search(row)
        assert named, row
        path, name = named.groups()
        if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else True:
            missing.append(named.group())
    assert missing == []


def test_the_environment_example_names_real_settings() -> None:
    names = re.findall(r"^#?RAGWRIGHT_(\w+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(names) > 5
    for name in names:
        branch = Settings
        for part in name.lower().split("__"):
            field = branch.model_fields[part]
            branch = field.annotation


def test_the_readme_lists_every_deployment() -> None:
    import yaml

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for deployment in deployments:
        flow = deployment["entrypoint"].rpartition(".")[2]
        assert f"| `{flow}` | `{flow}/{deployment['name']}` |" in readme
