"""Data Docs: Great Expectations' own page of every run, made to be read offline, under an index of the last runs.

The library's pages load styles, scripts and a logo from a dozen public hosts, and its index shows nothing without them.
So the pages are rendered by the library, freed of whatever would leave the machine, and given a small style sheet; the
index is written here.
"""

from __future__ import annotations

import html
import json
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragwright.errors import StorageFull, is_disk_full

if TYPE_CHECKING:
    from jinja2.bccache import Bucket

    from ragwright.quality.report import QualityReport

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""For browsers: nothing is fetched and no script runs, whatever the indexed texts contain."""

_DRAFT = "."
_STYLE = r"""
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1100px; margin: 2rem auto;
  padding: 0 1rem; }
h1, h4 { font-size: 1.5rem; } h5 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; } h6 { font-size: 1rem; margin: 0; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { border-bottom: 1px solid #ddd; padding: .35rem .6rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { overflow-wrap: normal; }
thead[hidden] { display: none; }
ol.breadcrumb { list-style: none; padding: 0; } ol.breadcrumb li { display: inline; margin-right: .6rem; }
[data-toggle="collapse"], .card, footer { display: none; }
.fa-check-circle::before { content: "\2713"; color: #17692b; }
.fa-times::before, .fa-exclamation-triangle::before { content: "\2717"; color: #a11; }
.failed { color: #a11; } .passed { color: #17692b; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #1b1b1b; } th, td { border-color: #444; }
  a { color: #8ab4f8; } }
"""

_REMOTE = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|<style\b.*?</style>|<img\b[^>]*>|<footer\b.*?</footer>|<meta\b[^>]*>",
    re.DOTALL | re.IGNORECASE,
)
_LINK = re.compile(r'<a\b[^>]*\bhref="(?!#)[^"]*"[^>]*>(.*?)</a>', re.DOTALL | re.IGNORECASE)


def write_data_docs(
    report: QualityReport,
    folder: Path,
    *,
    name: str,
    keep: int = 5,
    copy: Callable[[bytes], object] = lambda page: None,
) -> Path:
    """Add a run's page and bring the index up to date.

    Args:
        report: What the gate found.
        folder: Where the site lives; runs before this one are found there.
        name: What was checked, such as the source's file name. Shown, and part of the page's file name.
        keep: Runs to keep; the pages of older ones are removed.
        copy: Given the run's page, without the way to other runs, to be kept elsewhere too.

    Returns:
        The index, `folder/index.html`.

    Raises:
        StorageFull: No room for the pages.
    """
    now = datetime.now(UTC)
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[-60:].strip("-.") or "source"
    runs = folder / "runs"
    page = runs / f"{now:%Y%m%dT%H%M%S.%fZ}-{slug}.html"
    summary = {
        "name": name,
        "time": f"{now:%Y-%m-%d %H:%M:%S} UTC",
        "records": report.records,
        "good": report.good,
        "quarantined": report.quarantined,
        "rules": dict(report.by_rule),
        "warnings": dict(report.warnings),
    }
    title, body = f"{name}, {summary['time']}", _offline(_render(report, slug, now))
    copy(_page(title, body).encode())
    try:
        runs.mkdir(parents=True, exist_ok=True)
        _write(page, _page(title, f'<p><a href="../index.html">All runs</a></p>{body}'))
        # A run is in the index once its summary is there, so the summary comes after the page.
        _write(page.with_suffix(".json"), json.dumps(summary, ensure_ascii=False))
        summaries = sorted((path for path in runs.glob("*.json") if not _is_draft(path)), reverse=True)[:keep]
        # Besides old runs this removes what a killed one left: a page without its summary, and drafts of either.
        kept = {path.stem for path in summaries}
        for path in runs.iterdir():
            if path.stem not in kept:
                path.unlink(missing_ok=True)
        for path in filter(_is_draft, folder.iterdir()):
            path.unlink(missing_ok=True)
        _write(folder / "index.html", _index(summaries))
    except OSError as error:
        if is_disk_full(error):
            raise StorageFull("no room for the Data Docs", place=str(folder), hint="Free some space.") from error
        raise
    return folder / "index.html"


def _render(report: QualityReport, name: str, now: datetime) -> str:
    """The library's page for one validation result. It puts `name` into the page as it is."""
    import great_expectations as gx
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    results = [
        ExpectationValidationResult(
            success=result["success"],
            expectation_config=ExpectationConfiguration(**result["expectation_config"]),
            result=result["result"],
            meta={},
            exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
        )
        for result in report.results
    ]
    passed = sum(bool(result.success) for result in results)
    whole = ExpectationSuiteValidationResult(
        success=passed == len(results),
        results=results,
        suite_name=f"faq {report.suite}",
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": passed,
            "unsuccessful_expectations": len(results) - passed,
            "success_percent": 100 * passed / len(results),
        },
        meta={
            "run_id": RunIdentifier(run_name=name, run_time=now),
            "great_expectations_version": gx.__version__,
            "active_batch_definition": {"data_asset_name": name, "batch_identifiers": {}},
        },
    )
    return str(_view().render(ValidationResultsPageRenderer().render(whole)))


@cache
def _view() -> Any:  # untyped in the library
    """The library's templates. To compile them takes longer than to fill them in, so it is not done for every run."""
    from great_expectations.render.view.view import DefaultJinjaPageView
    from jinja2 import FileSystemBytecodeCache

    class Compiled(FileSystemBytecodeCache):
        def dump_bytecode(self, bucket: Bucket) -> None:
            # Without room for it, or the right to write, the next run compiles them again.
            with suppress(OSError):
                super().dump_bytecode(bucket)

    view = DefaultJinjaPageView()
    # In the system's folder for temporary files, below one that is this user's alone, or there is none.
    with suppress(OSError, RuntimeError):
        view.env.bytecode_cache = Compiled()
    return view


def _offline(page: str) -> str:
    """The body of a page without whatever would leave the machine, scripts included."""
    body = _REMOTE.sub("", page)
    body = body[body.find("<body") :] if "<body" in body else body
    body = re.sub(r"^<body[^>]*>|</body>|</html>", "", body)
    return _LINK.sub(r"\1", body)


def _index(summaries: list[Path]) -> str:
    lines = []
    for path in summaries:
        run = json.loads(path.read_text("utf-8"))
        verdict = "failed" if run["quarantined"] else "passed"
        counts = [f"{rule}: {count:,}" for rule, count in sorted(run["rules"].items())]
        counts += [f"{rule}: {count:,} (warning)" for rule, count in sorted(run["warnings"].items())]
        cells = (
            f'<a href="runs/{html.escape(path.stem)}.html">{html.escape(run["time"])}</a>',
            html.escape(run["name"]),
            f"{run['records']:,}",
            f"{run['good']:,}",
            f'<span class="{verdict}">{run["quarantined"]:,}</span>',
            html.escape(", ".join(counts)),
        )
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("Run", "Source", "Records", "Good", "Quarantined", "Rules"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return _page("Data quality", f"<h1>Data quality, last runs</h1>{table}")


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>{body}</body></html>\n"
    )


def _is_draft(path: Path) -> bool:
    return path.name.startswith(_DRAFT)


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader never sees half a page."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_DRAFT, suffix=path.suffix)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
