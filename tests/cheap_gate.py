"""Validation that takes no time, for tests of indexes that are about something else."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest

from ragwright.documents import QUARANTINE, Rejected
from ragwright.index import reindex, staging
from ragwright.quality import Checked, QualityReport
from ragwright.quality.gate import quarantine_table


class CheapGate:
    """Keeps rows with an answer whose content is new: what the real gate says of these rows, in no time."""

    def __init__(self, *_: object, **__: object) -> None:
        self._contents: set[tuple[str, str]] = set()
        self._records = self._good = 0

    def check(self, rows: pa.Table, rejected: Sequence[Rejected] = (), *, trusted: object = None) -> Checked:
        good, bad = [], []
        for row in rows.to_pylist():
            content = (row["question"], row["answer"])
            fit = bool(row["answer"]) and content not in self._contents
            self._contents.add(content)
            good.append(fit)
            if not fit:
                bad.append(Rejected(row["row"], row["row_key"], "answer", "unfit", row["answer"], "blank or repeated"))
        self._records += len(rows)
        self._good += sum(good)
        return Checked(rows.filter(pa.array(good, pa.bool_())), quarantine_table(bad), QUARANTINE.empty_table())

    def finish(self) -> QualityReport:
        unfit = self._records - self._good
        return QualityReport(self._records, self._good, unfit, {"unfit": unfit} if unfit else {}, {}, (), "", [])


def validate_cheaply(patch: pytest.MonkeyPatch) -> None:
    """Let re-indexes in this process use `CheapGate`, and write no Data Docs."""
    patch.setattr(reindex, "QualityGate", CheapGate)
    patch.setattr(staging, "write_data_docs", lambda *_, **__: None)
