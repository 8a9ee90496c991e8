"""The floor: read a JSONL FAQ, hash its rows, compare them with the last time's, by pandas or pyarrow alone.

python benchmarks/peers/table_floor.py --source faq.jsonl --state FOLDER --reader pandas|pyarrow
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq
from measured import measure

COLUMNS = ["question", "answer"]


def main() -> None:
    """Measure one pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--reader", choices=("pandas", "pyarrow"), required=True)
    args = parser.parse_args()
    measure(lambda: compare(args.source, args.state / f"{args.reader}.parquet", args.reader))


def compare(source: str, state: Path, reader: str) -> dict[str, Any]:
    """Rows that are new or changed, and rows that are gone; the hashes are kept for the next time."""
    if reader == "pandas":
        frame = pd.read_json(source, lines=True, dtype=False)[COLUMNS]
    else:
        frame = pyarrow.json.read_json(source).select(COLUMNS).to_pandas()
    hashes = pa.array(pd.util.hash_pandas_object(frame, index=False).to_numpy())
    if state.exists():
        before = pq.read_table(state)["hash"].combine_chunks()
    else:
        before = pa.array([], pa.uint64())
        state.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"hash": hashes}), state)
    new = len(hashes) - pc.sum(pc.is_in(hashes, before)).as_py()
    gone = len(before) - (pc.sum(pc.is_in(before, hashes)).as_py() or 0)
    return {"rows": len(hashes), "new": new, "gone": gone}


if __name__ == "__main__":
    main()
