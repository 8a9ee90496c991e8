"""What a gate saw of a whole source, and whether a run may go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ragwright.documents import Rejected, shortened
from ragwright.errors import QualityError
from ragwright.settings import QualitySettings


@dataclass(frozen=True)
class QualityReport:
    """The sums over a source.

    Attributes:
        records: Every record of the source: `good + quarantined`.
        good: Rows fit to index.
        quarantined: Records in quarantine.
        by_rule: Quarantined records by the first rule they broke.
        warnings: Warnings by rule.
        examples: The first quarantined records.
        suite: Fingerprint of the suite.
        results: One Great Expectations result for every expectation, over the whole source, ready for JSON.
    """

    records: int
    good: int
    quarantined: int
    by_rule: Mapping[str, int]
    warnings: Mapping[str, int]
    examples: tuple[Rejected, ...]
    suite: str
    results: list[dict[str, Any]] = field(repr=False)

    @property
    def bad_share(self) -> float:
        """Quarantined records as a share of all, in [0, 1]."""
        return self.quarantined / self.records if self.records else 0.0

    def enforce(self, settings: QualitySettings, *, place: str | None = None) -> None:
        """Stop a run whose source, which is at `place`, is unfit as a whole.

        Raises:
            QualityError: No row is good, or more than `max_bad_share` of the records are bad.
        """
        if self.good and self.bad_share <= settings.max_bad_share:
            return
        if self.good:
            what = (
                f"{self.quarantined:,} of {self.records:,} records are unfit to index "
                f"({self.bad_share:.1%}; {settings.max_bad_share:.1%} are allowed)"
            )
            hint = "Mend the source, or raise quality.max_bad_share (RAGWRIGHT_QUALITY__MAX_BAD_SHARE)."
        else:
            what = f"none of the {self.records:,} records is fit to index"
            hint = "Mend the source; an index is never emptied by accident."
        counts = ", ".join(f"{rule}: {count:,}" for rule, count in sorted(self.by_rule.items(), key=_most_first))
        examples = "; ".join(
            f"row {bad.row}, {bad.column or 'record'}: {bad.detail} ({shortened(bad.value, 60)!r})"
            for bad in self.examples[:3]
        )
        raise QualityError(
            f"{what}: {counts or 'there are none'}. First: {examples or 'none'}.", place=place, hint=hint
        )


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
