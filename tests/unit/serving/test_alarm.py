from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

# PyDLL keeps the interpreter's lock during the call, as a library does that loads a model without giving it back.
PROGRAM = """
import ctypes, sys
from pathlib import Path
from ragwright.serving.app import Limits
from ragwright.serving.lease import LeaseWatch
from ragwright.serving.process import ALARM_GRACE_SECONDS, arm_alarm
arm_alarm(LeaseWatch(Path(sys.argv[1])), Limits(drain_seconds=1 - ALARM_GRACE_SECONDS))
ctypes.PyDLL(None).sleep(60)
"""


def test_the_kernel_ends_a_process_whose_interpreter_is_stuck(tmp_path: Path) -> None:
    lease = tmp_path / "lease.json"
    lease.write_text(json.dumps({"expires_at": (datetime.now(UTC) + timedelta(seconds=2)).isoformat()}))
    run = subprocess.run([sys.executable, "-c", PROGRAM, str(lease)], timeout=30, check=False)
    assert run.returncode == -signal.SIGALRM
