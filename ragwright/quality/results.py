"""One validation result for a whole source, out of one for every partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ragwright.quality.suite import Rule

SHOWN = 20
"""Unexpected values that a result lists."""


@dataclass
class _Sum:
    config: dict[str, Any] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    unexpected: list[tuple[int, str]] = field(default_factory=list)


class Tally:
    """Adds up Great Expectations results; keeps what is wrong with the first unexpected values."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._sums = {rule.id: _Sum() for rule in rules}
        self.rows = 0

    def add(self, rule: Rule, result: Mapping[str, Any], unexpected: Sequence[tuple[int, str]]) -> None:
        """Add one partition's result, with the row number and the fault of its first unexpected values."""
        total, found = self._sums[rule.id], result["result"]
        total.config = result["expectation_config"]
        for name in ("element_count", "unexpected_count", "missing_count"):
            total.counts[name] += found.get(name) or 0
        total.unexpected += unexpected[: SHOWN - len(total.unexpected)]

    def results(self, *, records: int, readable: int) -> list[dict[str, Any]]:
        """One result for every rule that was applied, ready for JSON."""
        # Whether a record can be taken apart is found by the source's reader, before there is a row to expect anything
        # of; it is put into the expectation's words so that the Data Docs account for every record.
        results: list[dict[str, Any]] = [
            {
                "success": readable == records,
                "expectation_config": {
                    "type": "expect_table_row_count_to_equal",
                    "kwargs": {"value": records},
                    "description": "Every record of the source can be taken apart.",
                    "meta": {"rule": "readable"},
                    "severity": "critical",
                },
                "result": {"observed_value": readable},
            }
        ]
        return results + [_merged(total) for total in self._sums.values() if total.config]


def _merged(total: _Sum) -> dict[str, Any]:
    elements, bad, missing = (total.counts[name] for name in ("element_count", "unexpected_count", "missing_count"))
    there = elements - missing
    config = {key: value for key, value in total.config.items() if key != "id"}
    config["kwargs"] = {key: value for key, value in config["kwargs"].items() if key != "batch_id"}
    return {
        "success": bad == 0,
        "expectation_config": config,
        "result": {
            "element_count": elements,
            "missing_count": missing,
            "missing_percent": 100 * missing / elements if elements else 0.0,
            "unexpected_count": bad,
            "unexpected_percent": 100 * bad / there if there else 0.0,
            "unexpected_percent_total": 100 * bad / elements if elements else 0.0,
            "unexpected_percent_nonmissing": 100 * bad / there if there else 0.0,
            "partial_unexpected_list": [f"row {row}: {fault}" for row, fault in total.unexpected],
            "partial_unexpected_index_list": [row for row, _ in total.unexpected],
            "partial_unexpected_counts": [],
        },
    }
