"""The main job in one run: provision, re-index, evaluation queries, and teardown whatever happens."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows.evaluation import evaluation
from flows.provision import provision
from flows.reindex import reindex
from flows.teardown import teardown
from ragwright.assembly import kept_alive, wanted_endpoints
from ragwright.reporting import RunReport
from tasks.reports import reported
from tasks.secrets import flow_settings


@flow(name="pipeline", flow_run_name="Main job: {source}")
def pipeline(
    source: str = "data/sagemaker_faq.csv",
    questions: Path | None = Path("data/questions.jsonl"),
    sample: int | None = None,
    index: str = "faq",
    lease_minutes: float = 30,
) -> RunReport:
    """Run the main job.

    Args:
        source: The FAQ: a path, s3:// or https:// (CSV, JSONL or Parquet).
        questions: Question set (JSONL); none: no evaluation.
        sample: Ask only so many questions, drawn with a seed, kinds in proportion.
        index: Name of the index.
        lease_minutes: Endpoints stop by themselves this long after the run last asked for them.
    """
    settings = flow_settings(index=index)
    names = [spec.name for spec in wanted_endpoints(settings)]
    with reported(settings) as run:
        try:
            with kept_alive(settings, names, minutes=lease_minutes):  # a start may take as long as a lease
                run.endpoints = provision(minutes=lease_minutes)
                indexed = reindex(source=source, index=index, questions=questions, sample=sample)
                # What the gate has just asked need not be asked twice.
                again = indexed.gate.asked == 0
                evaluated = (
                    evaluation(index=index, questions=questions, sample=sample, again=again) if questions else None
                )
            return RunReport(indexed, evaluated)
        finally:
            # What ran before is somebody's, and still of use to them.
            teardown(names=names, run_id=flow_run.id, dry_run=False)


def main() -> None:
    """Run the flow from a shell: `python -m flows.pipeline --source FILE`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--source", default="data/sagemaker_faq.csv")
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--report", type=Path, help="Where to write the report as JSON.")
    flags = parser.parse_args()
    try:
        report = pipeline(source=flags.source, questions=flags.questions, sample=flags.sample)
    except KeyboardInterrupt:
        sys.exit(130)  # Prefect has logged where; the endpoints are down
    if flags.report:
        flags.report.write_text(json.dumps(report.to_json(), ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
