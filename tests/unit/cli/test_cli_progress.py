"""Progress on stderr: a few lines in a log, bars on a terminal."""

from __future__ import annotations

import io
import threading

from rich.console import Console

from ragwright.cli.progress import Bars, follow


def test_a_log_gets_the_first_and_the_last_line_of_each_kind_of_work() -> None:
    out = io.StringIO()
    with follow(Console(file=out)) as progress:
        for done in range(1001):
            progress("rows [read]", done, 1000)
        progress("rows [read]", 1000, 1000)
        progress("bytes", 5, None)
    assert out.getvalue().splitlines() == ["rows [read]: 0 of 1,000", "rows [read]: 1,000 of 1,000", "bytes: 5"]


def test_work_that_begins_again_is_told_again() -> None:
    out = io.StringIO()
    with follow(Console(file=out)) as progress:
        for done in (2, 0, 2):
            progress("rows", done, 2)
    assert out.getvalue().splitlines() == ["rows: 2 of 2", "rows: 0 of 2", "rows: 2 of 2"]


def test_a_terminal_gets_one_bar_for_each_kind_of_work_from_any_thread() -> None:
    out = io.StringIO()
    with follow(Console(file=out, force_terminal=True)) as progress:
        assert isinstance(progress, Bars)
        threads = [threading.Thread(target=progress, args=("embedding [x]", done, 8)) for done in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        progress("writing", 1, None)
        assert [task.description for task in progress._bars.tasks] == ["embedding \\[x]", "writing"]
    assert "embedding [x]" in out.getvalue()
