"""What a run did, as Markdown: for the terminal, an artifact, a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ragwright.evaluation.report import markdown
from ragwright.evaluation.run import EvaluationResult
from ragwright.index.reindex import ReindexReport


def reindex_markdown(report: ReindexReport) -> str:
    """The ledger of a re-index and what it cost."""
    ledger = report.ledger
    lines = [
        f"## Generation {report.generation}: {'live' if report.published else 'not published'}",
        "",
        "| source rows | added | updated | unchanged | quarantined | failed | removed |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| {ledger.source_rows} | {ledger.added} | {ledger.updated} | {ledger.unchanged} | {ledger.quarantined} | "
        f"{ledger.failed} | {ledger.removed} |",
        "",
        f"{report.chunks} sections visible; {report.embedded} embedded, {report.written} records written in "
        f"{report.seconds:.1f} s. Gate: {report.gate.verdict}"
        + (f" ({report.gate.reason})." if report.gate.reason else "."),
    ]
    lines += [f"- {notice}" for notice in report.notices]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class RunReport:
    """What one run of the main job did."""

    reindex: ReindexReport
    evaluation: EvaluationResult | None

    def markdown(self) -> str:
        """For people."""
        parts = [reindex_markdown(self.reindex)]
        if self.evaluation is not None:
            parts.append(markdown(self.evaluation))
        return "\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        """For programs, the text for people included."""
        return {
            "reindex": self.reindex.to_json(),
            "evaluation": self.evaluation.to_json() if self.evaluation else None,
            "markdown": self.markdown(),
        }
