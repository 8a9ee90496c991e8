"""Kill the main job in an emulated AWS account at random moments; count what is left that costs money.

    python benchmarks/cloud_kills.py [--kills 20] [--seed 1]

Each kill is a SIGKILL to the process of a flow run, drawn over the calls that an undisturbed run makes. In turn the
cloud's clock then runs past the leases, so that schedules fire, or the janitor comes. A violation is an endpoint or
schedule that outlives that, anything at all that outlives the janitor, or a last run that does not publish. Prints one
JSON object; exits 1 if there was a violation.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))


def main() -> int:
    """Kill runs and print what became of them."""
    from emulators.aws_cloud import AwsCloud
    from emulators.aws_main_job import BILLED, MainJob
    from emulators.forked_flows import WarmFlows
    from emulators.pinecone_server import PineconeServer
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    chance, started = random.Random(given.seed), time.monotonic()
    kills: list[dict[str, object]] = []
    violations: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        prefect_test_harness(server_startup_timeout=120),
        AwsCloud(models="hashing") as cloud,
        PineconeServer() as pinecone,
        WarmFlows(Path(folder), api_url=str(PREFECT_API_URL.value())) as flows,
    ):
        job = MainJob(cloud, pinecone, Path(folder) / "job", ROOT / ".cache" / "models", "killed")
        with job.prepared():
            begun = time.monotonic()
            run = job.start(flows)
            if run.wait():
                violations.append(f"the first run failed: {run.said[-500:]}")
            seconds, most = time.monotonic() - begun, len(cloud.calls)
            print(f"an undisturbed run: {most} calls in {seconds:.1f} s", file=sys.stderr)
            while len(kills) < given.kills:
                job.write_faq(chance.randrange(10**6))
                calls = chance.randrange(1, most)
                if not job.kill(flows, calls=calls):
                    continue
                left = {kind: len(names) for kind, names in cloud.left().items()}
                by = "schedule" if len(kills) % 2 else "janitor"
                if by == "schedule":
                    job.fire_schedules()
                    if billed := BILLED & cloud.left().keys():
                        violations.append(f"kill after {calls} calls: {sorted(billed)} outlived the schedule")
                job.reap()
                if cloud.left():
                    violations.append(f"kill after {calls} calls: {cloud.left()} outlived the janitor")
                kills.append({"after calls": calls, "left": left, "removed by": by})
                print(kills[-1], file=sys.stderr)
            run = job.start(flows)
            if run.wait() or cloud.left():
                violations.append(f"the last run: {run.said[-500:]}; left {cloud.left()}")
    found = {
        "kills": len(kills),
        "of them with endpoints left": sum("endpoints" in kill["left"] for kill in kills),  # type: ignore[operator]
        "violations": violations,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(found))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
