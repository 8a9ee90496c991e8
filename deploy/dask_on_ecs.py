"""Keep a Dask scheduler and workers on Fargate while this runs; flows reach them at the address it prints.

    pip install 'dask-cloudprovider[aws]'
    python deploy/dask_on_ecs.py --image registry.example/ragwright:0.1.0 --workers 8 \
        --vpc vpc-1 --subnet subnet-1 subnet-2 --security-group sg-1 \
        --task-role arn:aws:iam::111122223333:role/ragwright-runner \
        --execution-role arn:aws:iam::111122223333:role/ragwright-execution

Run it where the flows run, inside the VPC: tasks have private addresses. The security group lets its members reach
each other at ports 8786 and 8787 and at those of workers, and nobody else: whoever reaches a scheduler can run code in
its workers. Logs go to the CloudWatch group `dask-ecs`. An interrupt ends the tasks; a scheduler that nobody
talks to for an hour ends by itself, and its workers a minute after it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress
from typing import Any


def options(argv: list[str] | None = None) -> dict[str, Any]:
    """Arguments of `FargateCluster`, from those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", required=True, help="that of deploy/Dockerfile, the same as the flows'")
    parser.add_argument("--workers", type=int, default=4, help="tasks of one virtual CPU each")
    parser.add_argument("--memory", type=int, default=4_096, help="of each worker, MB; Fargate: 2048 to 8192")
    parser.add_argument("--vpc", required=True)
    parser.add_argument("--subnet", nargs="+", required=True)
    parser.add_argument("--security-group", nargs="+", required=True)
    parser.add_argument("--task-role", required=True, help="ARN; reads and writes the catalog's bucket (deploy/iam)")
    parser.add_argument("--execution-role", required=True, help="ARN; pulls the image and writes logs")
    parser.add_argument("--cluster", help="ARN of an ECS cluster; default: one is made, and removed at the end")
    given = parser.parse_args(argv)
    return {
        "image": given.image,
        "n_workers": given.workers,
        "worker_cpu": 1_024,  # thousandths of a virtual CPU, by 1,024
        "worker_mem": given.memory,
        "worker_nthreads": 1,  # what is slow holds Python's lock
        "scheduler_timeout": "1 hour",
        "fargate_use_private_ip": True,
        "vpc": given.vpc,
        "subnets": given.subnet,
        "security_groups": given.security_group,
        "task_role_arn": given.task_role,
        "execution_role_arn": given.execution_role,
        "cluster_arn": given.cluster,
    }


def main() -> None:
    """Start them, print the address, and wait for an interrupt."""
    chosen = options()
    from dask_cloudprovider.aws import FargateCluster

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with FargateCluster(**chosen) as cluster:
        sys.stdout.write(f"RAGWRIGHT_DASK__ADDRESS={cluster.scheduler_address}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
