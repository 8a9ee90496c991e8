"""A disk that fills up during a re-index: readers notice nothing, and the next run with room enough goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import NO_MODELS, CommandLine
from own_mounts import own_mounts
from published_index import ASKED, FAQ, GOOD, Live, as_csv, settings_of

from ragwright.index.attempt import ReindexRequest
from ragwright.index.reindex import reindex

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

MOUNT = 'cp -a "$1/." "$2"; mount -t tmpfs -o size=8m none "$1"; cp -a "$2/." "$1"; shift 2; '
"""Puts a small disk in the place of a folder, with what was in it; the second folder is for the way there."""

FILL = 'head -c 8m /dev/zero > "$1/.ragwright/filler" 2>&- || true; shift; '

LARGER = [*FAQ, *((f"What is part {n} for?", f"Part {n} holds part {n + 1} in its place.") for n in range(300))]


@pytest.fixture
def live(tmp_path: Path) -> Live:
    (tmp_path / "faq.csv").write_text(GOOD, encoding="utf-8")
    (tmp_path / "larger.csv").write_text(as_csv(LARGER), encoding="utf-8")
    (tmp_path / "spare").mkdir()
    live = Live(settings_of(tmp_path / ".ragwright"))
    reindex(live.settings, ReindexRequest(source=str(tmp_path / "faq.csv")))
    return live


@pytest.mark.parametrize(("part", "pages"), [(".", (0, 1, 24, 64)), ("store", (0, 32))])
def test_readers_notice_nothing_and_room_mends_it(
    live: Live, tmp_path: Path, part: str, pages: tuple[int, ...]
) -> None:
    seen = json.loads(json.dumps({"head": live.head(), "said": live.said(), "rows": len(FAQ)}))
    disk = live.settings.home / part
    script = [sys.executable, str(Path(__file__).with_name("full_disk.py"))]
    given = [str(live.settings.home), str(tmp_path / "larger.csv"), str(disk), *map(str, pages)]
    done = subprocess.run(
        [*own_mounts(), "sh", "-ec", MOUNT + 'exec "$@"', "sh", str(disk), str(tmp_path / "spare"), *script, *given],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    tries: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(tries) == len(pages) + 1
    for failed in tries[:-1]:
        assert failed["type"] == "StorageFull", failed
        assert failed["place"].startswith(str(live.settings.home))
        assert "end.json" not in failed["message"]  # where it began, not where the failure was to be written down
        assert "Free some space" in failed["hint"]
        assert {name: failed[name] for name in seen} == seen
    report = tries[-1]["published"]
    assert (report["ledger"]["added"], report["ledger"]["unchanged"]) == (300, 12)
    assert (tries[-1]["head"][0], tries[-1]["rows"]) == (2, len(LARGER))


def test_a_full_disk_is_told_and_questions_are_answered(live: Live, tmp_path: Path) -> None:
    shell = CommandLine(tmp_path, NO_MODELS)
    full = (*own_mounts(), "sh", "-ec", MOUNT + FILL + 'exec "$@"', "sh", str(shell.home), str(tmp_path / "spare"))
    failed = shell.run_installed("reindex", "--source", "larger.csv", "--json", prefix=(*full, str(tmp_path)))
    assert failed.error["type"] == "StorageFull"
    assert failed.error["place"] == ".ragwright/catalog"
    assert "Free some space" in str(failed.error["hint"])
    reply = shell.run_installed("ask", ASKED[0], "--json", prefix=(*full, str(tmp_path))).value
    assert [citation["row"] for citation in reply["citations"]] == [4]
