"""The one report of a run that a person reads in the Prefect UI, under a key that stays, so that it has a history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run

from ragwright.errors import RagwrightError
from ragwright.run_report import RunRecord, failure_markdown, run_markdown
from ragwright.settings import Settings

_record: ContextVar[RunRecord] = ContextVar("record of the run that this one is part of")


@contextmanager
def reported(settings: Settings, key: str = "report", *, measures_only: bool = False) -> Iterator[RunRecord]:
    """Report on what the block does, whatever becomes of it, under the key `<index>-<key>`.

    A flow that another one calls adds to the report of that one; only the outermost makes an artifact. What cannot be
    reported is a warning: it changes nothing about what was done.

    Yields:
        Where the block notes what the report shall be about.
    """
    outer = _record.get(None)
    if outer is not None and flow_run.parent_flow_run_id:
        yield outer
        return
    record = RunRecord(settings, measures_only=measures_only)
    token = _record.set(record)
    try:
        yield record
    except BaseException as error:
        record.error = error
        raise
    finally:
        _record.reset(token)
        _publish(record, f"{settings.index}-{key}")


def _publish(record: RunRecord, key: str) -> None:
    # Of the run itself rather than of a task, so that its page shows it first, before the artifacts of all tasks.
    try:
        text = _text(record)
        title = text.partition("\n")[0].removeprefix("## ")
        create_markdown_artifact(text, key=key, description=title)
    except (httpx.HTTPError, PrefectException, RagwrightError) as error:
        get_run_logger().warning("there is no report of this run: %s", error)


def _text(record: RunRecord) -> str:
    try:
        return run_markdown(record)
    except RagwrightError as error:
        if record.error is None:
            raise
        return failure_markdown(record, error)
