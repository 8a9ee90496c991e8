"""Kill re-indexing processes at random moments while the source changes and others read; count what goes wrong.

    python benchmarks/kill_storm.py [--kills 200] [--commands 5] [--seed 1]

Each kill is a SIGKILL to a real process over a real LanceDB folder. A violation is a reading that shows something else
than one whole published generation, an embedding that was paid for twice without need, a run that does not go on where
a killed one stopped, an end state other than that of an index from scratch, or anything left behind. Prints a table and
one JSON object; exits 1 if there was a violation.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "faults"))

from forked_runs import WarmRunner
from kill_storm import Storm, raise_storm


def main() -> int:
    """Raise the storm and print what it did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--commands", type=int, default=5, help="how many of them are kills of `ragwright reindex`")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()

    def tell(storm: Storm) -> None:
        if storm.kills.total() % 20 == 0:
            print(f"{storm.kills.total()} kills, {len(storm.violations)} violations", file=sys.stderr)

    with tempfile.TemporaryDirectory() as folder, WarmRunner(Path(folder)) as runner:
        storm = raise_storm(
            Path(folder), runner, kills=given.kills, commands=given.commands, seed=given.seed, told=tell
        )
    found = storm.to_json()
    for name, value in found.items():
        if name == "killed while":
            for phase, count in value.items():
                print(f"  while {phase:<22}{count:>8}")
        else:
            print(f"{name:<30}{len(value) if isinstance(value, list) else value:>8}")
    print(json.dumps(found))
    return 1 if storm.violations else 0


if __name__ == "__main__":
    sys.exit(main())
