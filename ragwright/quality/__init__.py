"""Decide which rows are fit to index. Unfit ones go to quarantine with a reason; good ones go on untouched, in order.

A `QualityGate` takes a source partition by partition and remembers only hashes, so that duplicates are found across
partitions. Great Expectations is imported when a gate is made, which takes seconds.
"""

from __future__ import annotations

from ragwright.quality.docs import write_data_docs
from ragwright.quality.gate import Checked, QualityGate, check, quarantine_table
from ragwright.quality.report import QualityReport
from ragwright.quality.suite import SUITE_VERSION, fingerprint

__all__ = [
    "SUITE_VERSION",
    "Checked",
    "QualityGate",
    "QualityReport",
    "check",
    "fingerprint",
    "quarantine_table",
    "write_data_docs",
]
