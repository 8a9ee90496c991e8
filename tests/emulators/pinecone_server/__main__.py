"""Serve until interrupted, and say how to get here: `PYTHONPATH=tests python -m emulators.pinecone_server`."""

from __future__ import annotations

import argparse
import signal

from .namespaces import Visibility
from .server import PineconeServer


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m emulators.pinecone_server", description="Pinecone for tests.")
    parser.add_argument("--port", type=int, default=0, help="a free one by default")
    parser.add_argument("--lag", type=float, default=0.0, help="seconds until writes show in reads")
    args = parser.parse_args()
    lag = Visibility(query=args.lag, fetch=args.lag, counts=args.lag)
    stops = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # the server's threads inherit it, so that only this one is told
    with PineconeServer(port=args.port, visibility=lag) as server:
        for name, value in server.environment().items():
            print(f"export {name}={value}", flush=True)
        signal.sigwait(stops)


main()
