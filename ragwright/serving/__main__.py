"""Serve one model on the loopback interface; hosts in `ragwright.endpoints` start this."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import get_args

from ragwright.endpoints import Contract
from ragwright.errors import RagwrightError
from ragwright.serving.app import Limits
from ragwright.serving.process import ServedModel, serve

TOKEN = "RAGWRIGHT_ENDPOINT_TOKEN"  # noqa: S105 - the name of a variable


def main() -> int:
    """Parse the command line, take the token out of the environment, serve."""
    parser = argparse.ArgumentParser(prog="python -m ragwright.serving", description=__doc__)
    parser.add_argument("--name", required=True, help="name of the endpoint")
    parser.add_argument("--model", required=True, help="name in models.toml, hashing-DIMENSION or a .gguf file")
    parser.add_argument("--contract", required=True, choices=get_args(Contract), help="wire format")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0: any free one")
    parser.add_argument("--cache", type=Path, required=True, help="folder of model files")
    parser.add_argument("--lease-file", type=Path, required=True, help='JSON {"expires_at": ...}, read every second')
    parser.add_argument("--ready-file", type=Path, required=True, help='gets {"port": ..., "pid": ...} once it listens')
    parser.add_argument("--max-body-bytes", type=int, default=Limits.body_bytes, help="largest request")
    parser.add_argument("--queue", type=int, default=Limits.queue, help="requests that may wait")
    parser.add_argument("--drain-seconds", type=float, default=Limits.drain_seconds, help="time to finish on SIGTERM")
    given = parser.parse_args()
    token = os.environ.pop(TOKEN, "")
    if not token:
        parser.error(f"{TOKEN} is not set")
    limits = Limits(body_bytes=given.max_body_bytes, queue=given.queue, drain_seconds=given.drain_seconds)
    served = ServedModel(
        given.name, given.model, given.contract, given.port, given.cache, given.lease_file, given.ready_file, limits
    )
    try:
        return serve(served, token)
    except RagwrightError as error:
        sys.stderr.write(f"ragwright.serving: {error}\n")
        return 1


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: the interpreter would first wait for a worker that hangs.
    os._exit(code)
