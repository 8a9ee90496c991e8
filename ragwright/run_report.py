"""The one report of a run, as Markdown: what became of every row, how good the index is, what it cost, what to do next.

All of it is read back from the catalog, where the stages left it, so that a run that failed half-way is told as far as
it got. Whatever came from a source, a model or another machine is text and rendered as such.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from ragwright.documents import QUARANTINE, shortened
from ragwright.endpoints import EndpointInfo
from ragwright.endpoints.costs import endpoint_cost, load_price_book
from ragwright.errors import GateBlocked, RagwrightError
from ragwright.evaluation.comparison import METRICS
from ragwright.evaluation.gate import percent
from ragwright.evaluation.report import markdown as evaluation_markdown
from ragwright.evaluation.report_file import write_report
from ragwright.evaluation.run import EvaluationResult
from ragwright.index.attempt import open_catalog
from ragwright.index.catalog import Catalog, folder
from ragwright.index.expense import reindex_spent
from ragwright.markdown import block, code, inline, table
from ragwright.settings import Settings
from ragwright.sources.location import named

_ROWS = 10
"""Quarantined rows, and questions that changed, that are shown; how many there are is always said."""
_ERROR_CHARS = 2_000
_TITLES = {metric.name: metric.title for metric in METRICS}


@dataclass
class RunRecord:
    """What a run says of itself while it runs; the rest is in the catalog.

    Attributes:
        settings: Of the run.
        generation: What it made or measured; None as long as there is nothing.
        endpoints: Those it found or started.
        started: When.
        measures_only: Whether it only asked an index that other runs made.
        error: Why it failed; None if it did not.
    """

    settings: Settings
    generation: int | None = None
    endpoints: Sequence[EndpointInfo] = ()
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    measures_only: bool = False
    error: BaseException | None = None


def run_markdown(run: RunRecord, *, at: datetime | None = None) -> str:
    """The report of a run that has ended `at` (now). The page of its evaluation is written, too.

    Raises:
        RagwrightError: The catalog cannot be read; `failure_markdown` needs none.
    """
    at = at or datetime.now(UTC)
    with open_catalog(run.settings) as catalog:
        told = _Told(run, catalog)
        parts = [
            f"## {told.title}",
            told.intro(at),
            *told.failure(),
            *([] if run.measures_only else [*told.ledger(), *told.quality(), *told.gate()]),
            *told.cost(at),
            *told.places(),
            *told.evaluation(),
        ]
    return "\n\n".join(part for part in parts if part) + "\n"


def failure_markdown(run: RunRecord, unread: RagwrightError) -> str:
    """The report of a run whose catalog cannot be read."""
    parts = ["## The run failed"] if run.error else ["## The run has ended"]
    parts += _error(run.error) if run.error else []
    parts.append(f"What the index shows could not be looked up: {inline(str(unread), _ERROR_CHARS)}")
    return "\n\n".join(parts) + "\n"


def linked(url: str) -> str:
    """What a browser can open is a link: of S3 the console's page. A path is text."""
    if not url.startswith("s3://"):
        return code(url)
    bucket, _, key = url.removeprefix("s3://").partition("/")
    page = f"s3/buckets/{bucket}?prefix=" if key.endswith("/") else f"s3/object/{bucket}?prefix="
    return f"[{inline(url)}](https://console.aws.amazon.com/{page}{quote(key)})"


class _Told:
    """A run's report, section by section; a section with nothing to say is empty."""

    def __init__(self, run: RunRecord, catalog: Catalog) -> None:
        self._run, self._settings, self._catalog = run, run.settings, catalog
        self._number, self._live = run.generation, catalog.head().live
        self._end = self._json("end.json")
        self._report: Mapping[str, Any] = self._end.get("report") or {}
        self._gate = self._json("gate.json")

    @property
    def title(self) -> str:
        number, error = self._number, self._run.error
        if isinstance(error, GateBlocked):
            return f"Generation {number} was blocked"
        if error is not None:
            return "The run failed"
        if self._run.measures_only:
            return f"Generation {number} was measured"
        return f"Generation {number} is live" if number == self._live else f"Generation {number}"

    def intro(self, at: datetime) -> str:
        settings, seconds = self._settings, (at - self._run.started).total_seconds()
        said = [f"Index {code(settings.index)}"]
        if self._number is not None:
            begin = self._catalog.begin_of(self._number)
            said.append(f"made from {code(named(begin.source))}, embedded by {inline(begin.fingerprint.model)}")
        return f"{', '.join(said)}. The run took {_duration(seconds)}, until {at:%Y-%m-%d %H:%M:%S} UTC."

    def failure(self) -> Iterator[str]:
        """What failed, what readers see, what to do."""
        error, number, live = self._run.error, self._number, self._live
        if error is None:
            return
        if isinstance(error, GateBlocked) and self._gate:
            yield f"**The gate says**: {inline('; '.join(self._gate['reasons']), _ERROR_CHARS)}."
        else:
            yield from _error(error)
        if not live:
            yield "**Readers see nothing yet**: no generation was ever published."
        elif live == number:
            yield f"**Readers see generation {live}**, which this run had published before it failed."
        else:
            yield f"**Readers see generation {live}**: what is live was not changed by this run."
        if isinstance(error, GateBlocked) and number is not None:
            yield "**Next**: mend the source and run again, or see what changed and publish it all the same:"
            yield block(_publish_commands(self._settings, number, live))

    def ledger(self) -> Iterator[str]:
        if not self._report:
            return
        yield "### Ledger"
        ledger = self._report["ledger"]
        names = ("source_rows", "added", "updated", "unchanged", "quarantined", "failed", "removed")
        yield table(
            [name.replace("_", " ") for name in names], [[f"{ledger[name]:,}" for name in names]], numbers=len(names)
        )
        report = self._report
        yield (
            f"{report['chunks']:,} sections are visible; {report['embedded']:,} were embedded "
            f"({report['tokens']:,} tokens), {report['written']:,} records written."
        )
        yield "\n".join(f"- {inline(notice)}" for notice in report["notices"])

    def quality(self) -> Iterator[str]:
        """Expectations that rows failed, and the first of these rows."""
        bad = self._table("quarantine.parquet", QUARANTINE)
        if bad is None:
            return
        yield "### Quality"
        warned: Mapping[str, int] = (self._report.get("quality") or {}).get("warnings") or {}
        if not len(bad):
            yield "Every row met every expectation." if not warned else "No row was refused."
        else:
            rows = "1 row is" if len(bad) == 1 else f"{len(bad):,} rows are"
            yield f"{rows} in quarantine and not in the index. Failed expectations:"
            counts = sorted(bad["rule"].value_counts().to_pylist(), key=lambda item: -item["counts"])
            yield table(["expectation", "rows"], [[one["values"], f"{one['counts']:,}"] for one in counts], numbers=1)
            yield "\n".join(map(_quarantined, bad.slice(0, _ROWS).to_pylist()))
            yield _more(len(bad), "in the Data Docs")
        if warned:
            yield "Warnings, for rows that are in the index all the same:"
            yield table(["expectation", "rows"], [[rule, f"{count:,}"] for rule, count in warned.items()], numbers=1)

    def gate(self) -> Iterator[str]:
        gate = self._gate
        if not gate:
            return
        yield f"### Gate: {gate['verdict']}"
        yield "\n".join(f"- {inline(reason)}" for reason in gate["reasons"])
        if gate["checks"]:
            yield table(["figure", "candidate", "live", "difference", "check"], map(_check, gate["checks"]))
        if gate["changed"]:
            worse = sum(change["improved"] is False for change in gate["changed"])
            yield f"{len(gate['changed'])} questions fare differently than in generation {gate['live']}, {worse} worse:"
            yield "\n".join(
                f"- **{inline(change['question'])}** {inline(change['how'])}\n"
                f"  - before: {inline(change['before'])}\n  - after: {inline(change['after'])}"
                for change in gate["changed"][:_ROWS]
            )
            yield _more(len(gate["changed"]), "on the evaluation's page")

    def evaluation(self) -> Iterator[str]:
        found = self._json("evaluation.json")
        if self._number is None or not found:
            return
        try:
            result = EvaluationResult.from_json(found, self._number)
        except KeyError as missing:
            yield f"The evaluation of generation {self._number} lacks {inline(str(missing))}: an older version made it."
            return
        yield evaluation_markdown(result).replace("\n### ", "\n#### ").replace("## ", "### ", 1).rstrip()

    def cost(self, at: datetime) -> Iterator[str]:
        yield "### Cost"
        lines = [*self._endpoint_costs(at)]
        if self._report and not self._run.measures_only:
            lines.append(f"the re-index: {inline(self._reindex_cost())}")
        yield "\n".join(f"- {line}" for line in lines or ["this run started and wrote nothing."])

    def _endpoint_costs(self, at: datetime) -> Iterator[str]:
        billed = [info.instance_type for info in self._run.endpoints if info.instance_type]
        try:
            book = load_price_book(self._settings, billed) if billed else None
        except RagwrightError as error:
            yield inline(f"prices are not known: {error}", _ERROR_CHARS)
            return
        for info in self._run.endpoints:
            if info.instance_type is None or book is None:
                yield f"{code(info.name)} ran on this machine: nothing is billed."
                continue
            usd = endpoint_cost(info, book, at).so_far
            hours = (at - info.created_at).total_seconds() / 3600 if info.created_at else None
            time = "" if hours is None else f", {hours:.2f} h"
            amount = "not known" if usd is None else f"at most {usd:.4f} USD"
            yield f"{code(info.name)} on {inline(info.instance_type)}{time}: {amount} since it was created."

    def _reindex_cost(self) -> str:
        if self._number is None:
            return "nothing is billed."
        try:
            return str(reindex_spent(self._settings, self._catalog, self._number))
        except RagwrightError as error:
            return f"not known: {error}"

    def places(self) -> Iterator[str]:
        """Where the pages are. A browser opens no file from another page, so a file's path is told as text."""
        if self._number is None:
            return
        here = inline(platform.node())
        lines = []
        if self._json("evaluation.json"):
            lines.append(f"The evaluation with its plots: {self._page()}{self._kept('report.html')}")
        if self._catalog.exists(f"{folder(self._number)}/quality.html"):
            docs = (self._settings.home / "data-docs" / self._settings.index / "index.html").absolute()
            at = f"{code(str(docs))} on {here}" if docs.exists() else "not on this machine any more"
            lines.append(f"Data Docs: {at}{self._kept('quality.html')}")
        lines.append(f"Everything the run left: {linked(self._url(''))}")
        yield "### Pages"
        yield "\n".join(f"- {line}" for line in lines)

    def _page(self) -> str:
        assert self._number is not None  # noqa: S101 # for the type checker
        try:
            path: Path = write_report(self._settings, self._number).absolute()
        except RagwrightError as error:
            return f"it could not be written: {inline(str(error), _ERROR_CHARS)}"
        return f"{code(str(path))} on {inline(platform.node())}"

    def _kept(self, name: str) -> str:
        """A copy that outlives this machine."""
        return f"; kept as {linked(self._url(name))}" if "://" in self._catalog.location else ""

    def _url(self, name: str) -> str:
        place = self._catalog.location.rstrip("/")
        root = place if "://" in place else str(Path(place).absolute())
        return f"{root}/{self._catalog.index}/{folder(self._number or 0)}/{name}"

    def _json(self, name: str) -> dict[str, Any]:
        if self._number is None:
            return {}
        return self._catalog.read_json(f"{folder(self._number)}/{name}") or {}

    def _table(self, name: str, schema: pa.Schema) -> pa.Table | None:
        if self._number is None:
            return None
        return self._catalog.read_table(f"{folder(self._number)}/{name}", columns=schema.names)


def _error(error: BaseException) -> list[str]:
    if not isinstance(error, Exception):
        return [f"It was interrupted ({inline(type(error).__name__)})."]
    if not isinstance(error, RagwrightError):
        return [f"**{inline(type(error).__name__)}**: {inline(str(error), _ERROR_CHARS)}"]
    place = f" ({inline(error.place, _ERROR_CHARS)})" if error.place else ""
    said = [f"**{type(error).__name__}**: {inline(error.what, _ERROR_CHARS)}{place}"]
    return [*said, f"**Next:** {inline(error.hint, _ERROR_CHARS)}"] if error.hint else said


def _publish_commands(settings: Settings, number: int, live: int) -> str:
    index = settings.index
    lines = [f"ragwright compare {live} {number} --index {index}"] if live else []
    return "\n".join(
        [
            *lines,
            f'ragwright publish {number} --index {index} --reason "..."',
            f"prefect deployment run publish/publish -p generation={number} -p index={index} -p reason=...",
        ]
    )


def _quarantined(row: Mapping[str, Any]) -> str:
    column = f", {inline(row['column'], 60)}" if row["column"] else ""
    return f"- row {row['row']}{column}: {inline(row['detail'])} ({code(repr(shortened(row['value'], 80)))})"


def _check(check: Mapping[str, Any]) -> list[str]:
    difference, low, high = check["difference"], check["low"], check["high"]
    bounds = "" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return [
        _TITLES.get(check["name"], check["name"]),
        percent(check["candidate"]),
        percent(check["live"]),
        "-" if difference is None else f"{100 * difference:+.1f}{bounds}",
        check["status"],
    ]


def _more(count: int, where: str) -> str:
    return f"{count - _ROWS:,} more are {where}." if count > _ROWS else ""


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
