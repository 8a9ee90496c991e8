"""A first load of 100 million rows, by arithmetic and by a simulation of it: time, cost and what it waits for.

    python benchmarks/scale_simulation.py            # the table of docs/scale.md
    python benchmarks/scale_simulation.py --json --seeds 5

The rows are split into indexes of a million. A worker takes one index after the other: it prepares it (reads, checks,
cuts, plans, writes), has instances embed it, and waits while the store imports it; instances serve all workers. Or a
batch transform embeds everything at once, between the workers' preparing and their collecting.

The arithmetic is a lower bound: no load ends before its busiest worker, nor before its instances have done all the work
(the asymptotic bounds of operational analysis: Denning and Buzen, "The Operational Analysis of Queueing Network
Models", 1978). The simulation plays the same load with times that scatter, batches that fail and are embedded again,
instances that come up one after the other, and imports that fail half way: it says how far above the bound one ends.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache

from ragwright.endpoints.instances import PriceTable, load_prices

TEXTS_PER_VCPU = 68.0
"""Texts a second and vCPU, of 81 tokens on average, through an endpoint of this project's own server: the best of seven
repetitions of benchmarks/embedding_throughput.py on two cores (137 texts/s; the bare encoder 139), before the server
chose precision and streams by itself. It reaches 266 there since (results/overhead.json), by units for matrices of bf16
that the CPU instances below do not have."""

ROWS_PER_WORKER = 1_000_000 / 837
"""Rows a second that two cores bring into an index with an embedder that takes no time: the first index of a million
rows in results/memory.json. Those rows are longer than the FAQ's, and LanceDB makes its index over the vectors, which
an import leaves to Pinecone: so it errs on the slow side."""

GPU_FACTOR = 14_200 / 750
"""Sentences a second of all-MiniLM-L6-v2 on a V100 over those on a CPU, in the table of sbert.net's pretrained models.
Nobody has measured it here."""

SECTIONS_PER_ROW = 212 / 208
"""data/sagemaker_faq.csv, as README shows."""

RECORD_BYTES = 2_150
"""384 numbers of 4 bytes, 160 of integers and names, and the texts of an average row of data/sagemaker_faq.csv."""

TRANSFORMED_BYTES = 4_400
"""384 numbers as JSON, 11.5 characters each."""

COLLECTED_BYTES_PER_SECOND = 100e6
"""JSON that a worker reads back, matches with its texts and writes as Parquet; assumed, orjson alone is faster."""

INDEX_ROWS = 1_000_000
"""Rows of one index: a change holds its manifest in memory while it is planned."""

PORTIONS = 32
"""Parts of an index that are embedded side by side: `tasks.portions.AT_MOST`."""

UPSERT_BYTES_PER_SECOND = 50e6
"""What Pinecone takes a second and namespace: docs.pinecone.io, "Database limits"."""

IMPORT_BYTES_PER_SECOND = UPSERT_BYTES_PER_SECOND
"""Assumed: Pinecone publishes no speed of imports, and an import leaves out most of what an upsert does."""

IMPORT_LEAST_SECONDS = 600
"""docs.pinecone.io, "Data ingestion overview": each import takes ten minutes at least."""

IMPORT_USD_PER_GB, IMPORT_FREE_GB = 0.25, 1_000
"""www.pinecone.io/blog/bulk-import-promo, 2026-06-01."""

WRITE_BATCH = 1_000
WORKER_TYPE = "ml.m5.large"
"""Two vCPUs, to put a price on a worker; the same size costs less outside of SageMaker."""


@cache
def prices() -> PriceTable:
    """What things cost, as packaged."""
    return load_prices()


@dataclass(frozen=True)
class Load:
    """What is loaded, and with what.

    Attributes:
        rows: Of the source.
        instance_type: What an embedding instance runs on.
        instances: How many.
        workers: Machines of two cores, each of which takes one index after the other.
        texts_per_second: Of one instance.
        transform: Whether one batch transform embeds everything, in place of endpoints.
        failing: Share of batches that fail and are embedded again.
        failing_imports: Chance that an import fails on the way.
        start_seconds: Until an instance is in service, on average; assumed.
    """

    rows: int = 100_000_000
    instance_type: str = "ml.m5.xlarge"
    instances: int = 1
    workers: int = 1
    texts_per_second: float = 4 * TEXTS_PER_VCPU
    transform: bool = False
    failing: float = 0.01
    failing_imports: float = 0.05
    start_seconds: float = 420.0

    @property
    def sections(self) -> int:
        """What is embedded."""
        return math.ceil(self.rows * SECTIONS_PER_ROW)

    @property
    def gigabytes(self) -> float:
        """What is imported and then kept, in GB of 1e9 bytes."""
        return self.sections * RECORD_BYTES / 1e9

    @property
    def indexes(self) -> int:
        """How many the rows are split into."""
        return math.ceil(self.rows / INDEX_ROWS)

    # Of one index, in seconds

    @property
    def prepare_seconds(self) -> float:
        """A worker's own work."""
        return self.rows / self.indexes / ROWS_PER_WORKER

    @property
    def embed_seconds(self) -> float:
        """The work of all instances, without what fails."""
        return self.sections / self.indexes / self.texts_per_second

    @property
    def collect_seconds(self) -> float:
        """A worker's work on what a batch transform has left."""
        return self.sections / self.indexes * TRANSFORMED_BYTES / COLLECTED_BYTES_PER_SECOND if self.transform else 0.0

    @property
    def import_seconds(self) -> float:
        """One import that does not fail."""
        return max(IMPORT_LEAST_SECONDS, self.gigabytes * 1e9 / self.indexes / IMPORT_BYTES_PER_SECOND)


@dataclass(frozen=True)
class Outcome:
    """How long a load takes and what it costs.

    Attributes:
        hours: From the first request for an instance to the last import's end.
        busy: Share of the time for which instances are paid that they embed.
        usd: Instances, workers and the imports.
        usd_month: What the store bills for keeping it.
        waits_for: What there is least of.
    """

    hours: float
    busy: float
    usd: float
    usd_month: float
    waits_for: str = ""


def outcome(load: Load, seconds: float, paid_seconds: float, embed: float) -> Outcome:
    """Put prices on times; instances are paid for `paid_seconds` each, `embed` is the seconds of work of all."""
    instance, worker = prices().price(load.instance_type), prices().price(WORKER_TYPE)
    assert instance is not None, load.instance_type
    assert worker is not None, WORKER_TYPE
    paid = load.instances * instance.usd_per_hour * paid_seconds + load.workers * worker.usd_per_hour * seconds
    return Outcome(
        hours=seconds / 3600,
        busy=embed / (load.instances * paid_seconds),
        usd=paid / 3600 + max(0.0, load.gigabytes - IMPORT_FREE_GB) * IMPORT_USD_PER_GB,
        usd_month=load.gigabytes * prices().pinecone.usd_per_gb_month,
    )


def arithmetic(load: Load) -> Outcome:
    """The least that a load takes, by mean times.

    A batch that fails with chance f is embedded 1 / (1 - f) times. An import that fails with chance g has run half its
    time on average, and fails g / (1 - g) times before it succeeds.
    """
    rounds = math.ceil(load.indexes / load.workers)
    again = load.failing_imports / (1 - load.failing_imports)
    prepare, imported = load.prepare_seconds, load.import_seconds * (1 + again / 2)
    embed = load.embed_seconds / (1 - load.failing)
    whole = embed * load.indexes
    if load.transform:
        paid = load.start_seconds + whole / load.instances
        phases = {
            "workers": rounds * (prepare + load.collect_seconds),
            "instances": paid,
            "imports": rounds * imported,
        }
        seconds = sum(phases.values())
        return replace(outcome(load, seconds, paid, whole), waits_for=max(phases, key=lambda name: phases[name]))
    cycle = prepare + embed / min(PORTIONS, load.instances) + imported
    by_workers = max(load.start_seconds - prepare, 0) + rounds * cycle
    by_instances = max(load.start_seconds, prepare) + whole / load.instances + imported
    seconds = max(by_workers, by_instances)
    scarce = "workers" if by_workers > by_instances else "instances"
    return replace(outcome(load, seconds, seconds, whole), waits_for=scarce)


class Simulation:
    """One load, played a portion of an index at a time."""

    def __init__(self, load: Load, seed: int) -> None:
        self._load, self._chance = load, random.Random(seed)
        self._begun = self._ended = 0
        self._embedding: dict[int, int] = {}  # portions left, by index
        self._waiting: deque[int] = deque()  # portions, each by its index
        self._idle: list[int] = []
        self._events: list[tuple[float, str, int, int]] = []  # when, what, which index, which instance; a heap
        self._work = 0.0

    def run(self) -> Outcome:
        """Until the last import has succeeded."""
        load, now = self._load, 0.0
        if load.transform:
            return self._transformed()
        for _ in range(load.workers):
            self._begin(now)
        for instance in range(load.instances):
            self._at(self._chance.uniform(0.5, 1.5) * load.start_seconds, "in service", -1, instance)
        while self._ended < load.indexes:
            now, what, index, instance = heapq.heappop(self._events)
            if what == "prepared":
                self._embedding[index] = PORTIONS
                self._waiting.extend([index] * PORTIONS)
            elif what == "imported":
                self._ended += 1
                self._begin(now)
            else:
                self._idle.append(instance)
                if what == "embedded":
                    self._replied(now, index)
            self._hand_out(now)
        return outcome(load, now, now, self._work)

    def _begin(self, now: float) -> None:
        if self._begun < self._load.indexes:
            self._begun += 1
            self._at(now + self._scattered(self._load.prepare_seconds), "prepared", self._begun, -1)

    def _replied(self, now: float, index: int) -> None:
        self._embedding[index] -= 1
        if not self._embedding[index]:
            self._at(now + self._import(), "imported", index, -1)

    def _hand_out(self, now: float) -> None:
        while self._idle and self._waiting:
            self._at(now + self._embed(), "embedded", self._waiting.popleft(), self._idle.pop())

    def _transformed(self) -> Outcome:
        """Preparing, one transform job, collecting: each begins when the one before has ended."""
        load = self._load
        prepared = self._dealt_out(lambda: self._scattered(load.prepare_seconds))
        start = max(self._chance.uniform(0.5, 1.5) * load.start_seconds for _ in range(load.instances))
        instances = [0.0] * load.instances
        for portion in range(load.indexes * PORTIONS):
            instances[portion % load.instances] += self._embed()  # files are dealt out before the job starts
        paid = start + max(instances)
        collected = self._dealt_out(lambda: self._scattered(load.collect_seconds) + self._import())
        return outcome(load, prepared + paid + collected, paid, self._work)

    def _dealt_out(self, takes: Callable[[], float]) -> float:
        workers = [0.0] * self._load.workers
        for _ in range(self._load.indexes):
            heapq.heapreplace(workers, workers[0] + takes())
        return max(workers)

    def _embed(self) -> float:
        """Seconds of one portion, batches that failed included."""
        batches = round(self._load.sections / self._load.indexes / PORTIONS / WRITE_BATCH) or 1
        left = sent = batches
        while left:
            left = sum(self._chance.random() < self._load.failing for _ in range(left))
            sent += left
        took = self._scattered(self._load.embed_seconds / PORTIONS * sent / batches)
        self._work += took
        return took

    def _import(self) -> float:
        seconds = self._load.import_seconds
        while self._chance.random() < self._load.failing_imports:
            seconds += self._chance.random() * self._load.import_seconds
        return seconds

    def _scattered(self, mean: float) -> float:
        return mean * self._chance.lognormvariate(-0.02, 0.2)  # of mean 1; its standard deviation is 0.2

    def _at(self, when: float, what: str, index: int, instance: int) -> None:
        heapq.heappush(self._events, (when, what, index, instance))


def simulate(load: Load, seed: int) -> Outcome:
    """Play the load once."""
    return Simulation(load, seed).run()


def by_upsert(load: Load) -> tuple[float, float]:
    """Hours and USD of writing all records into a namespace by upsert: 50 MB a second, and a write unit a kilobyte."""
    units = load.gigabytes * 1e6
    hours = load.gigabytes * 1e9 / UPSERT_BYTES_PER_SECOND / 3600
    return hours, units * prices().pinecone.usd_per_million_write_units / 1e6


LOADS = (
    Load(),
    Load(instances=16),
    Load(instances=16, workers=5),
    Load(instances=16, workers=10),
    Load(instance_type="ml.c5.4xlarge", texts_per_second=16 * TEXTS_PER_VCPU, instances=16, workers=34),
    Load(instance_type="ml.g5.xlarge", texts_per_second=2 * TEXTS_PER_VCPU * GPU_FACTOR, instances=4, workers=25),
    Load(instances=128, workers=100),
    Load(instances=16, workers=10, transform=True),
    Load(instance_type="ml.g5.xlarge", texts_per_second=2 * TEXTS_PER_VCPU * GPU_FACTOR, instances=4, workers=25,
         transform=True),
    Load(instances=128, workers=100, transform=True),
)  # fmt: skip


def row(load: Load, bound: Outcome, *, simulated: Outcome) -> str:
    """A line of the table in docs/scale.md."""
    how = "transform" if load.transform else "endpoint"
    with_what = f"{how}, {load.instances} x `{load.instance_type}` | {load.workers}"
    hours = f"{bound.hours:,.1f} | {simulated.hours:,.1f}"
    return f"| {with_what} | {hours} | {simulated.busy:.0%} | {simulated.usd:,.0f} | {bound.waits_for} |"


def median(runs: Sequence[Outcome]) -> Outcome:
    """The run of median length."""
    return sorted(runs, key=lambda run: run.hours)[len(runs) // 2]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=Load.rows)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    given = parser.parse_args()
    found = []
    for load in (replace(load, rows=given.rows) for load in LOADS):
        runs = [simulate(load, seed) for seed in range(given.seeds)]
        found.append({"load": asdict(load), "arithmetic": asdict(arithmetic(load)), "simulated": [*map(asdict, runs)]})
        if not given.json:
            print(row(load, arithmetic(load), simulated=median(runs)), flush=True)
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
