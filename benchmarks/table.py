"""Write the README's table of benchmarks, of all that has a target, from what was measured.

python benchmarks/table.py            # puts it between the markers
python benchmarks/table.py --check    # exits 1 if the README says something else
python benchmarks/table.py --all      # prints all comparisons instead, those for information too
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from comparison import HEADER, read
from suite import BENCHMARKS, RESULTS

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(r"(<!-- bench:begin -->\n).*?(<!-- bench:end -->)", re.DOTALL)


def main() -> int:
    """Write, check or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the figures")
    args = parser.parse_args()
    if args.all:
        print(table(args.results, whole=True))
        return 0
    has = README.read_text(encoding="utf-8")
    wanted = filled(has, table(args.results))
    if not args.check:
        README.write_text(wanted, encoding="utf-8")
    elif has != wanted:
        print("README.md does not show what was measured: run python benchmarks/table.py", file=sys.stderr)
        return 1
    return 0


def filled(page: str, content: str) -> str:
    """The page with other content between its markers."""
    if not BLOCK.search(page):
        raise SystemExit(f"{README} has no lines <!-- bench:begin --> and <!-- bench:end -->")
    return BLOCK.sub(lambda match: f"{match[1]}\n{content}\n\n{match[2]}" if content else match[1] + match[2], page)


def table(results: Path, *, whole: bool = False) -> str:
    """Comparisons with a target, or all, in the suite's order, with where and when they were measured beneath."""
    lines: list[str] = []
    places: dict[tuple[str, str], list[str]] = {}
    for name in BENCHMARKS:
        path = results / f"{name}.json"
        if not path.exists():
            continue
        about, found = read(path)
        rows = [one.row() for one in found if whole or one.target]
        if rows:
            lines += rows
            place = f"{about['machine']['processor']}, {about['machine']['cores']} cores"
            places.setdefault((place, about["measured"]), []).append(f"`{name}`")
    notes = [f"{', '.join(names)}: {place}, {day}." for (place, day), names in places.items()]
    return "\n".join([HEADER, *lines, "", *notes]) if lines else ""


if __name__ == "__main__":
    sys.exit(main())
