"""A stand-in for `python -m ragwright.serving` with the same command line; the model's name says how it behaves.

`good` serves at once. `slow-S` listens after S seconds. `crash-CODE` prints a reason and exits. `stubborn` ignores
SIGTERM. `mute` listens but is never in service. `parent` starts a child of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("name", "model", "contract", "port", "cache", "lease-file", "ready-file"):
        parser.add_argument(f"--{flag}", required=True)
    args = parser.parse_args()
    token = os.environ["RAGWRIGHT_ENDPOINT_TOKEN"]
    print(f"{args.name}: loading {args.model}", file=sys.stderr)
    behaviour, _, parameter = args.model.partition("-")
    if behaviour == "crash":
        for line in range(100):
            print(f"log line {line} {token}", file=sys.stderr)
        sys.exit(int(parameter))
    if behaviour == "slow":
        time.sleep(float(parameter))
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour == "parent":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(503 if behaviour == "mute" else 200, {})

        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers.get("Authorization") != f"Bearer {token}":
                self.reply(401, {"error": "wrong token"})
            else:
                self.reply(200, {"pid": os.getpid(), "echo": payload})

        def reply(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", int(args.port)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    draft = Path(args.ready_file + ".tmp")
    draft.write_text(json.dumps({"port": server.server_port, "pid": os.getpid()}))
    draft.replace(args.ready_file)
    while True:
        try:
            lease = json.loads(Path(args.lease_file).read_text())
            if datetime.fromisoformat(lease["expires_at"]) <= datetime.now(UTC):
                break
        except FileNotFoundError:
            break
        time.sleep(0.05)


main()
