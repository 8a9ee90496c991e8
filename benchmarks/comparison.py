"""What a benchmark finds: ragwright's figure beside another of the same run, and whether that is what was promised."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

Promise = Literal["at least", "at most"]


@dataclass(frozen=True)
class Target:
    """A bound on the median of a ratio.

    Attributes:
        promise: On which side of the value the ratio has to be.
        value: The bound.
    """

    promise: Promise
    value: float

    def met(self, ratio: float) -> bool:
        """Whether a median keeps the promise."""
        return ratio >= self.value if self.promise == "at least" else ratio <= self.value


@dataclass(frozen=True)
class Comparison:
    """One row of the table.

    Repetitions are taken by turns, so the ratio's spread is that of the pairs: a slow moment hits both of a pair.

    Attributes:
        what: What was done, and to how much.
        unit: Of both figures.
        ours: ragwright's figure in each repetition.
        beside: Name of the peer or of the limit.
        theirs: Its figure in each repetition; none where it failed.
        direction: How the ratio reads. `faster`: theirs to ours, above 1 where ragwright takes less. `share`: ours to
            theirs, 1 where it reaches the limit.
        target: What was promised; None: shown for information.
        failed: Why the peer has no figure.
    """

    what: str
    unit: str
    ours: tuple[float, ...]
    beside: str
    theirs: tuple[float, ...] = ()
    direction: Literal["faster", "share"] = "faster"
    target: Target | None = None
    failed: str = ""

    @property
    def ratios(self) -> tuple[float, ...]:
        """One for each pair; where one side was taken less often, its median stands in."""
        if not self.theirs:
            return ()
        ours, theirs = self.ours, self.theirs
        if len(ours) < len(theirs):
            ours = (statistics.median(ours),) * len(theirs)
        elif len(theirs) < len(ours):
            theirs = (statistics.median(theirs),) * len(ours)
        pairs = zip(ours, theirs, strict=True)
        return tuple(them / us if self.direction == "faster" else us / them for us, them in pairs)

    @property
    def missed(self) -> bool:
        """Whether the promise is broken; a peer that failed breaks none of ragwright's."""
        return bool(self.target and self.ratios and not self.target.met(statistics.median(self.ratios)))

    def row(self) -> str:
        """For a Markdown table with the columns of `HEADER`."""
        theirs = f"{shown(self.theirs)} {self.unit}" if self.theirs else f"failed: {self.failed}"
        words = "times as fast" if self.direction == "faster" else "times it"
        ratio = f"{shown(self.ratios)} {words}" if self.ratios else ""
        target = ""
        if self.target:
            verdict = "**missed**" if self.missed else "met" if self.ratios else "no figure"
            target = f"{self.target.promise} {self.target.value:g}: {verdict}"
        return f"| {self.what} | {shown(self.ours)} {self.unit} | {self.beside}: {theirs} | {ratio} | {target} |"


HEADER = "| | ragwright | beside | ratio | target |\n| --- | --- | --- | --- | --- |"


def shown(values: Sequence[float]) -> str:
    """The median, and from the least to the most where there are several."""
    middle = statistics.median(values)
    spread = f" ({digits(min(values))} to {digits(max(values))})" if len(values) > 1 else ""
    return digits(middle) + spread


def digits(value: float) -> str:
    """Three significant digits, and thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """Where it was measured."""
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cores": usable, "processor": cpu, "memory_gib": round(gib, 1), "system": platform.system()}


def versions() -> dict[str, str]:
    """Of Python, of ragwright, and of what its figures depend on most."""
    names = ("ragwright", "lancedb", "numpy", "openvino", "prefect", "pyarrow", "great_expectations")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def write(
    folder: Path,
    benchmark: str,
    conditions: dict[str, Any],
    found: Sequence[Comparison],
    passes: Sequence[dict[str, Any]] = (),
) -> Path:
    """Keep what a benchmark found: every repetition of it, and what each measured process told."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{benchmark}.json"
    content = {
        "benchmark": benchmark,
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "conditions": conditions,
        "comparisons": [
            asdict(one)
            | {"median_ratio": round(statistics.median(one.ratios), 4) if one.ratios else None, "missed": one.missed}
            for one in found
        ],
        "passes": list(passes),
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> tuple[dict[str, Any], list[Comparison]]:
    """The conditions, and the comparisons, of a file that `write` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    found = []
    for given in content.pop("comparisons"):
        fields = {name: value for name, value in given.items() if name not in ("median_ratio", "missed")}
        target = Target(**fields["target"]) if fields["target"] else None
        series = {name: tuple(fields[name]) for name in ("ours", "theirs")}
        found.append(Comparison(**(fields | series | {"target": target})))
    return content, found
