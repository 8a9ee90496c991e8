"""A first load of 100 million rows, by arithmetic and by a simulation of it: time, cost and what it waits for.

    python benchmarks/scale_simulation.py            # the table of docs/scale.md
    python benchmarks/scale_simulation.py --json --seeds 5

Workers read, check, cut and tokenise; instances embed; a bounded number of batches waits between them; then the store
imports the files. The arithmetic takes each stage's mean rate and the slowest stage's time. The simulation plays the
same load batch by batch with times that scatter, requests that fail and are tried again, instances that come up one
after the other, and imports that fail half way. Where they agree, the arithmetic may be trusted with other numbers.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import statistics
from dataclasses import asdict, dataclass, replace
from functools import cache

from ragwright.endpoints.instances import PriceTable, load_prices

TEXTS_PER_VCPU = 68.0
"""Texts a second and vCPU, of 81 tokens on average, through an endpoint of this project's own server: the best of seven
repetitions of benchmarks/embedding_throughput.py on two cores (137 texts/s; the bare encoder 139)."""

ROWS_PER_WORKER = 16_407 / 74.8
"""Rows a second that two cores check, cut, write and verify with an embedder that takes no time: README, first
re-index of 16,407 rows. Costs that do not grow with the rows are in it, so it errs on the slow side."""

GPU_FACTOR = 14_200 / 750
"""Sentences a second of all-MiniLM-L6-v2 on a V100 over those on a CPU, in the table of sbert.net's pretrained models.
Nobody has measured it here."""

SECTIONS_PER_ROW = 212 / 208
"""data/sagemaker_faq.csv, as README shows."""

RECORD_BYTES = 2_150
"""384 numbers of 4 bytes, 160 of integers and names, and the texts of an average row of data/sagemaker_faq.csv."""

UPSERT_BYTES_PER_SECOND = 50e6
"""What Pinecone takes a second and namespace: docs.pinecone.io, "Database limits"."""

IMPORT_BYTES_PER_SECOND = UPSERT_BYTES_PER_SECOND
"""Assumed: Pinecone publishes no speed of imports, and an import leaves out most of what an upsert does."""

IMPORT_LEAST_SECONDS = 600
"""docs.pinecone.io, "Data ingestion overview": each import takes ten minutes at least."""

IMPORT_USD_PER_GB, IMPORT_FREE_GB = 0.25, 1_000
"""www.pinecone.io/blog/bulk-import-promo, 2026-06-01."""

WRITE_BATCH = 1_000
WAITING_BATCHES = 50
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
        workers: Processes of two cores each that prepare and send.
        texts_per_second: Of one instance.
        failing: Share of batches that fail and are embedded again.
        failing_imports: Chance that an import fails on the way.
        start_seconds: Until an instance is in service, on average; assumed.
    """

    rows: int = 100_000_000
    instance_type: str = "ml.m5.xlarge"
    instances: int = 1
    workers: int = 1
    texts_per_second: float = 4 * TEXTS_PER_VCPU
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
    def import_seconds(self) -> float:
        """One import that does not fail."""
        return max(IMPORT_LEAST_SECONDS, self.gigabytes * 1e9 / IMPORT_BYTES_PER_SECOND)


@dataclass(frozen=True)
class Outcome:
    """How long a load takes and what it costs.

    Attributes:
        embedding_hours: From the first instance's request to the last batch.
        import_hours: From then until the records are there.
        prepare_busy: Share of the workers' time that is work.
        embed_busy: The same of the instances.
        usd: Instances, workers and the import.
        usd_month: What the store bills for keeping it.
    """

    embedding_hours: float
    import_hours: float
    prepare_busy: float
    embed_busy: float
    usd: float
    usd_month: float

    @property
    def hours(self) -> float:
        """From beginning to end."""
        return self.embedding_hours + self.import_hours

    @property
    def waits_for(self) -> str:
        """The stage that sets the pace."""
        slowest = "workers" if self.prepare_busy >= self.embed_busy else "instances"
        return "import" if self.import_hours > self.embedding_hours else slowest


def outcome(load: Load, seconds: float, import_seconds: float, prepare: float, embed: float) -> Outcome:
    """Put prices on times; `prepare` and `embed` are seconds of work of all workers and all instances."""
    instance, worker = prices().price(load.instance_type), prices().price(WORKER_TYPE)
    assert instance is not None, load.instance_type
    assert worker is not None, WORKER_TYPE
    hourly = load.instances * instance.usd_per_hour + load.workers * worker.usd_per_hour
    return Outcome(
        embedding_hours=seconds / 3600,
        import_hours=import_seconds / 3600,
        prepare_busy=prepare / (load.workers * seconds),
        embed_busy=embed / (load.instances * seconds),
        usd=hourly * seconds / 3600 + max(0.0, load.gigabytes - IMPORT_FREE_GB) * IMPORT_USD_PER_GB,
        usd_month=load.gigabytes * prices().pinecone.usd_per_gb_month,
    )


def arithmetic(load: Load) -> Outcome:
    """Mean rates: the slower of the two stages, after a start.

    A batch that fails with chance f is embedded 1 / (1 - f) times. An import that fails with chance g has run half its
    time on average, and fails g / (1 - g) times before it succeeds.
    """
    prepare = load.rows / ROWS_PER_WORKER
    embed = load.sections / load.texts_per_second / (1 - load.failing)
    seconds = load.start_seconds + max(prepare / load.workers, embed / load.instances)
    again = load.failing_imports / (1 - load.failing_imports)
    return outcome(load, seconds, load.import_seconds * (1 + again / 2), prepare, embed)


class Simulation:
    """One load, played a write batch at a time."""

    def __init__(self, load: Load, seed: int) -> None:
        self._load, self._chance = load, random.Random(seed)
        self._batches = math.ceil(load.sections / WRITE_BATCH)
        self._begun = self._embedded = self._waiting = self._held_back = 0
        self._idle: list[int] = []
        self._events: list[tuple[float, str, int]] = []  # when, what, and which instance; a heap
        self._work = {"prepare": 0.0, "embed": 0.0}

    def run(self) -> Outcome:
        """Until the import has succeeded."""
        load, now = self._load, 0.0
        for _ in range(load.workers):
            self._prepare(now)
        for instance in range(load.instances):
            self._at(self._chance.uniform(0.5, 1.5) * load.start_seconds, "in service", instance)
        while self._embedded < self._batches:
            now, what, who = heapq.heappop(self._events)
            if what == "prepared":
                self._prepared(now)
            else:
                self._idle.append(who)
                if what == "embedded":
                    self._replied()
            self._hand_out(now)
        return outcome(load, now, self._import(), self._work["prepare"], self._work["embed"])

    def _prepared(self, now: float) -> None:
        self._waiting += 1
        if self._waiting < WAITING_BATCHES:
            self._prepare(now)
        else:
            self._held_back += 1  # its worker begins another once there is room

    def _replied(self) -> None:
        if self._chance.random() < self._load.failing:
            self._waiting += 1
        else:
            self._embedded += 1

    def _hand_out(self, now: float) -> None:
        while self._idle and self._waiting:
            self._waiting -= 1
            mean = self._load.sections / self._batches / self._load.texts_per_second
            self._at(now + self._takes("embed", mean), "embedded", self._idle.pop())
            if self._held_back:
                self._held_back -= 1
                self._prepare(now)

    def _prepare(self, now: float) -> None:
        if self._begun < self._batches:
            self._begun += 1
            mean = self._load.rows / self._batches / ROWS_PER_WORKER
            self._at(now + self._takes("prepare", mean), "prepared", -1)

    def _takes(self, stage: str, mean: float) -> float:
        took = mean * self._chance.lognormvariate(-0.045, 0.3)  # of mean 1; its standard deviation is 0.31
        self._work[stage] += took
        return took

    def _at(self, when: float, what: str, who: int) -> None:
        heapq.heappush(self._events, (when, what, who))

    def _import(self) -> float:
        seconds = self._load.import_seconds
        while self._chance.random() < self._load.failing_imports:
            seconds += self._chance.random() * self._load.import_seconds
        return seconds


def simulate(load: Load, seed: int) -> Outcome:
    """Play the load once."""
    return Simulation(load, seed).run()


def by_upsert(load: Load) -> tuple[float, float]:
    """Hours and USD of writing all records by upsert instead: 50 MB a second, and a write unit a kilobyte."""
    units = load.gigabytes * 1e6
    hours = load.gigabytes * 1e9 / UPSERT_BYTES_PER_SECOND / 3600
    return hours, units * prices().pinecone.usd_per_million_write_units / 1e6


LOADS = (
    Load(),
    Load(instances=16, workers=1),
    Load(instances=16, workers=20),
    Load(instance_type="ml.c5.4xlarge", texts_per_second=16 * TEXTS_PER_VCPU, instances=8, workers=40),
    Load(instance_type="ml.g5.xlarge", texts_per_second=2 * TEXTS_PER_VCPU * GPU_FACTOR, instances=4, workers=50),
    Load(instances=128, workers=160),
)


def row(load: Load, found: Outcome, *, simulated: float) -> str:
    """A line of the table in docs/scale.md."""
    with_what = f"{load.instances} x `{load.instance_type}` | {load.workers}"
    hours = f"{found.embedding_hours:,.1f} | {simulated:,.1f} | {found.import_hours:.1f}"
    return f"| {with_what} | {hours} | {found.usd:,.0f} | {found.waits_for} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=Load.rows)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    given = parser.parse_args()
    found = []
    for load in (replace(load, rows=given.rows) for load in LOADS):
        runs = [simulate(load, seed) for seed in range(given.seeds)]
        found.append({"load": asdict(load), "arithmetic": asdict(arithmetic(load)), "simulated": [*map(asdict, runs)]})
        if not given.json:
            hours = statistics.median(run.embedding_hours for run in runs)
            print(row(load, arithmetic(load), simulated=hours), flush=True)
    if given.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
