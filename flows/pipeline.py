"""The main job in one run: provision, re-index, evaluation queries, and teardown whatever happens."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import httpx
from prefect import flow
from prefect.runtime import flow_run

from flows import run_names
from flows.evaluation import evaluation
from flows.parameters import AskedAround, Checked, Index, Minutes, Source
from flows.provision import provision
from flows.reindex import reindex
from flows.teardown import teardown
from ragwright.assembly import kept_alive, wanted_endpoints
from ragwright.reporting import RunReport
from tasks.endpoints import stop_endpoints, stopped_afterwards
from tasks.reports import reported
from tasks.secrets import flow_settings


@flow(
    name="pipeline",
    flow_run_name=run_names.pipeline,
    on_cancellation=[stop_endpoints],
    on_crashed=[stop_endpoints],
)
def pipeline(
    source: Source = "data/sagemaker_faq.csv",
    index: Index = "faq",
    questions: Checked[AskedAround] = AskedAround(),
    lease_minutes: Minutes = 30,
) -> RunReport:
    """Run the main job.

    Args:
        source: The FAQ: a path, s3:// or https:// (CSV, JSONL or Parquet).
        index: Name of the index.
        questions: Which questions the new generation is asked, before it is published and after.
        lease_minutes: Endpoints stop by themselves this long after the run last asked for them.
    """
    settings = flow_settings(index=index)
    names = [spec.name for spec in wanted_endpoints(settings)]
    with reported(settings) as run, stopped_afterwards(settings):
        with kept_alive(settings, names, minutes=lease_minutes):  # a start in the cloud may take as long as a lease
            run.endpoints = provision(minutes=lease_minutes)
            indexed = reindex(source=source, index=index, gate=questions.before(settings))
            # What the gate has just asked need not be asked twice.
            after = questions.after(settings, again=indexed.gate.asked == 0)
            evaluated = evaluation(index=index, questions=after) if after else None
        # What ran before is somebody's, and still of use to them.
        teardown(names=names, run_id=flow_run.id, dry_run=False)
        return RunReport(indexed, evaluated)


def main() -> None:
    """Run the flow from a shell: `python -m flows.pipeline --source FILE`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--source", default="data/sagemaker_faq.csv")
    parser.add_argument("--questions", help="Question set (JSONL); none: no evaluation.")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--report", type=Path, help="Where to write the report as JSON.")
    parser.add_argument("--task-runner", choices=["threads", "dask"], help="RAGWRIGHT_TASK_RUNNER")
    parser.add_argument(
        "--dask-address", help="Scheduler of a Dask cluster that runs already (RAGWRIGHT_DASK__ADDRESS)."
    )
    parser.add_argument("--dask-workers", help="Processes on this machine otherwise (RAGWRIGHT_DASK__WORKERS).")
    flags = parser.parse_args()
    chosen = {
        "RAGWRIGHT_TASK_RUNNER": flags.task_runner,
        "RAGWRIGHT_DASK__ADDRESS": flags.dask_address,
        "RAGWRIGHT_DASK__WORKERS": flags.dask_workers,
    }
    os.environ.update({name: value for name, value in chosen.items() if value is not None})
    questions = AskedAround(evaluate=flags.questions is not None, file=flags.questions or "", sample=flags.sample)
    try:
        report = pipeline(source=flags.source, questions=questions)
    except KeyboardInterrupt:
        sys.exit(130)  # Prefect has logged where; the endpoints are down
    except httpx.TransportError as error:
        sys.stderr.write(f"Prefect's server cannot be reached any more: {error}. The endpoints are down; run again.\n")
        sys.stderr.flush()
        os._exit(1)  # a plain exit waits for minutes while Prefect tries to tell each of its events to nobody
    if flags.report:
        flags.report.write_text(json.dumps(report.to_json(), ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
