"""What the endpoint costs over the bare encoder, and the store port over bare LanceDB and numpy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from comparison import Comparison, Target
from contenders import Setup
from processes import output_of, step

HERE = Path(__file__).parent
THROUGH_ENDPOINT = Target("at least", 0.85)
RECORDS = 16_000
WRITES = {
    "first_write": "write of 16,000 records",
    "upsert_1%_new": "write of 160 more",
    "mark_1%": "ending of 160",
    "delete_1%": "deletion of 160",
    "scan_ids": "scan of all ids",
}


def measure(setup: Setup) -> list[Comparison]:
    """Both, each as its own script measures it."""
    return [through_endpoint(setup), *through_port(setup)]


def through_endpoint(setup: Setup) -> Comparison:
    """Embedding throughput with the server, HTTP and every check, as a share of the encoder's in this process."""
    faq = HERE.parent / "data" / "sagemaker_faq.csv"
    script = [sys.executable, str(HERE / "embedding_throughput.py"), "--source", str(faq), "--json"]
    options = ["--repeats", str(max(setup.repeats, 3)), "--cache", str(setup.cache)]
    with step("texts through an endpoint and through the encoder in one process"):
        found = json.loads(output_of([*script, *options]))
    rates = {name: tuple(found["texts"] / took for took in times) for name, times in found["seconds"].items()}
    return Comparison(
        f"{found['texts']} texts of {found['tokens_per_text']} tokens through an endpoint",
        "texts a second",
        rates["endpoint"],
        "the encoder in this process",
        rates["bare"],
        direction="share",
        target=THROUGH_ENDPOINT,
    )


def through_port(setup: Setup) -> list[Comparison]:
    """Writes, marks, deletions and scans through the port, beside the calls that it makes."""
    script = [sys.executable, str(HERE / "store_latency.py"), "--records", str(RECORDS)]
    passes: list[dict[str, Any]] = []
    for _ in range(min(setup.repeats, 3)):
        with step(f"{RECORDS:,} records through the store port and past it"):
            passes.append(json.loads(output_of(script))[str(RECORDS)])
    found = []
    for key, what in WRITES.items():
        ours = tuple(one[key]["s"] for one in passes)
        bare = tuple(one[key]["s"] / one[key]["to_lancedb"] for one in passes)
        found.append(Comparison(what, "s", ours, "bare LanceDB", bare, direction="share"))
    ours = tuple(one["query"]["p50_ms"] for one in passes)
    bare = tuple(one["query"]["p50_ms"] / one["query"]["to_lancedb"] for one in passes)
    what = f"query p50, {RECORDS:,} records"
    return [*found, Comparison(what, "ms", ours, "bare LanceDB, no index", bare, direction="share")]
