"""Re-indexing processes that are killed at any moment, while others read and the source goes on changing."""

from __future__ import annotations

from pathlib import Path

import pytest
from forked_runs import WarmRunner
from kill_storm import raise_storm


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_run_killed_at_any_moment_loses_nothing_and_shows_nothing_by_halves(
    tmp_path: Path, runner: WarmRunner
) -> None:
    storm = raise_storm(tmp_path, runner, kills=20, commands=3, seed=1)
    assert storm.violations == []
    assert (storm.kills.total(), storm.command_kills) == (20, 3)
    assert storm.kills["writing"] >= 3
    assert len(storm.kills) >= 3, "kills should meet a run at different works"
    assert storm.reader["scans"] >= 20
    assert storm.reader["searches"] >= 80
    assert len(storm.reader["generations"]) >= 3, "the reader should see the index change"
