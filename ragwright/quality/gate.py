"""The gate that a source passes through, partition by partition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ragwright.documents import QUARANTINE, ROWS, Rejected, folded_question, shortened
from ragwright.quality.report import QualityReport
from ragwright.quality.results import Tally
from ragwright.quality.suite import SET_RULES, Rule, Suite, fingerprint, row_rules, whole_frames
from ragwright.seen import NEVER, Seen
from ragwright.settings import QualitySettings

if TYPE_CHECKING:
    import pandas as pd

CountTokens = Callable[[Sequence[str]], npt.NDArray[np.int32]]
"""As `Embedder.count_tokens`: tokens of each text, special tokens included, int32 [n]."""

_EXAMPLES = 20


@dataclass(frozen=True)
class Checked:
    """One partition, sorted.

    Attributes:
        good: Rows fit to index, untouched and in order, with all their columns.
        quarantined: One line for every unfit record (`documents.QUARANTINE`), by row number.
        warnings: What is odd about good rows, in the same layout; a row may have several lines.
    """

    good: pa.Table
    quarantined: pa.Table
    warnings: pa.Table


class QualityGate:
    """Checks one source, a partition at a time, in order. Not for several threads.

    Args:
        settings: Thresholds.
        count_tokens: The embedder's own count. With `max_question_tokens`, over-long questions are unfit.
        max_question_tokens: Tokens of a question that the embedder takes.
    """

    def __init__(
        self,
        settings: QualitySettings,
        *,
        count_tokens: CountTokens | None = None,
        max_question_tokens: int | None = None,
    ) -> None:
        limit = max_question_tokens if count_tokens else None
        self._settings = settings
        self._count_tokens = None if limit is None else count_tokens
        self._fingerprint = fingerprint(settings, max_question_tokens=limit)
        rules, frames = row_rules(settings, max_question_tokens=limit), whole_frames()
        self._row_suite = Suite("rows", rules, columns=ROWS.names, frames=frames)
        self._set_suite = Suite("whole set", SET_RULES, columns=_Claims.COLUMNS, frames=frames)
        self._claims = _Claims()
        self._tally = Tally([*self._row_suite.rules, *self._set_suite.rules])
        self._readable = self._malformed = self._good = 0
        self._by_rule: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()
        self._examples: list[Rejected] = []

    def check(
        self,
        rows: pa.Table,
        rejected: Sequence[Rejected] = (),
        *,
        trusted: npt.NDArray[np.bool_] | None = None,
    ) -> Checked:
        """Sort one partition.

        Args:
            rows: With the columns of `documents.ROWS`; others stay beside them.
            rejected: The partition's malformed records; they are quarantined as they are.
            trusted: Rows (bool [len(rows)]) that are known to have passed the same row rules before, word for word. The
                rules on the whole set are asked about them all the same.

        Raises:
            QualityError: The suite itself could not run, for example for want of a column.
        """
        faults = _Faults(rows)
        unknown = np.arange(rows.num_rows) if trusted is None else np.flatnonzero(~trusted)
        if len(unknown):
            frame = self._row_frame(rows.take(pa.array(unknown))).set_index(unknown)
            self._apply(self._row_suite, frame, faults)
        # Only rows that are fit so far may claim a key or a content: no row is to lose against a bad one.
        fit = [index for index in range(rows.num_rows) if index not in faults.bad]
        if fit:
            frame = self._claims.frame(rows, fit)
            repeats = bool(frame.ne(frame["row"], axis=0).to_numpy().any())
            self._apply(self._set_suite, frame, faults, broken=repeats)

        good = rows if not faults.bad else rows.filter(_all_but(faults.bad, rows.num_rows))
        bad = sorted([*rejected, *faults.bad.values()], key=_by_row)
        odd = faults.odd()
        self._readable += rows.num_rows
        self._malformed += len(rejected)
        self._good += good.num_rows
        self._by_rule.update(fault.rule for fault in bad)
        self._warnings.update(fault.rule for fault in odd)
        self._examples += bad[: _EXAMPLES - len(self._examples)]
        return Checked(good, quarantine_table(bad), quarantine_table(odd))

    def finish(self) -> QualityReport:
        """Sum up. The caller decides when to `enforce`, so that Data Docs can be written for a failing source too."""
        records = self._readable + self._malformed
        return QualityReport(
            records=records,
            good=self._good,
            quarantined=records - self._good,
            by_rule=dict(self._by_rule),
            warnings=dict(self._warnings),
            examples=tuple(self._examples),
            suite=self._fingerprint,
            results=self._tally.results(records=records, readable=self._readable),
        )

    def _row_frame(self, rows: pa.Table) -> pd.DataFrame:
        import pandas as pd

        frame: pd.DataFrame = rows.select([name for name in rows.column_names if name in ROWS.names]).to_pandas()
        if self._count_tokens is not None:
            questions = rows["question"].to_pylist()
            # What is missing or too long already is not worth counting; the rule skips missing counts.
            short = [i for i, text in enumerate(questions) if text and len(text) <= self._settings.max_question_chars]
            counts = self._count_tokens([questions[i] for i in short])
            frame["question_tokens"] = pd.Series(counts.astype(np.float64), index=short)
        return frame

    def _apply(self, suite: Suite, frame: pd.DataFrame, faults: _Faults, *, broken: bool = False) -> None:
        results = suite.run(frame, broken=broken)
        for rule in suite.rules:
            found = faults.add(rule, results[rule.id]["result"].get("unexpected_index_list") or [], frame)
            self._tally.add(rule, results[rule.id], [(one.row, f"{one.detail} ({one.value!r})") for one in found])


def check(
    rows: pa.Table,
    settings: QualitySettings,
    *,
    count_tokens: CountTokens | None = None,
    max_question_tokens: int | None = None,
) -> tuple[Checked, QualityReport]:
    """Check a source that is one table, and stop if it is unfit as a whole.

    Raises:
        QualityError: See `QualityReport.enforce`.
    """
    gate = QualityGate(settings, count_tokens=count_tokens, max_question_tokens=max_question_tokens)
    checked, report = gate.check(rows), gate.finish()
    report.enforce(settings)
    return checked, report


def quarantine_table(faults: Sequence[Rejected]) -> pa.Table:
    """Faults in the layout of `documents.QUARANTINE`."""
    return pa.Table.from_pylist([vars(fault) for fault in faults], QUARANTINE)


class _Claims:
    """Remembers which row was the first with a content, a key, a question."""

    COLUMNS = ("row", "first_row_with_content", "first_row_with_key", "first_row_with_question")

    def __init__(self) -> None:
        self._contents, self._keys, self._questions = Seen(), Seen(), Seen()

    def frame(self, rows: pa.Table, index: list[int]) -> pd.DataFrame:
        """A data frame of `COLUMNS` for the rows at some places; the first row with a value has its own number.

        A repeated row claims nothing more, and neither does one whose key is taken: what it says may still be said by a
        later row.
        """
        import pandas as pd

        fit = rows if len(index) == len(rows) else rows.take(pa.array(index))
        own, keys, asked = fit["row"].to_numpy(), fit["row_key"].to_pylist(), fit["question"].to_pylist()
        folded = [folded_question(text) for text in asked]
        contents = _Contents(asked, fit["answer"])
        firsts = {name: own.copy() for name in self.COLUMNS}
        with_content, with_key, with_question = (firsts[name] for name in self.COLUMNS[1:])
        # Who says what another row says asks what it asks: a row with a key and a question of its own is first in all.
        alone = _unheard(self._keys, keys) & _unheard(self._questions, folded)
        crowd = np.flatnonzero(~alone).tolist()
        content, key, question = (
            _Firsts(seen, [values[at] for at in crowd])
            for seen, values in ((self._contents, contents), (self._keys, keys), (self._questions, folded))
        )
        for at, place in enumerate(crowd):
            row = int(own[place])
            if (first := content.of(at, row)) != row:
                with_content[place] = first
            elif (first := key.of(at, row)) != row:
                with_key[place] = first
                content.give_back(at)
            else:
                with_question[place] = question.of(at, row)
        claims = np.flatnonzero((with_content == own) & (with_key == own))
        self._contents.note(_Contents(asked, fit["answer"], claims), own[claims])
        self._keys.note([keys[at] for at in claims.tolist()], own[claims])
        asks = claims[with_question[claims] == own[claims]]
        self._questions.note([folded[at] for at in asks.tolist()], own[asks])
        return pd.DataFrame(firsts, index=index)


class _Contents(Sequence[str]):
    """What rows ask and say, put together when somebody looks: mostly nobody does."""

    def __init__(
        self, questions: list[str], answers: pa.ChunkedArray, places: npt.NDArray[np.intp] | None = None
    ) -> None:
        self._questions, self._answers = questions, answers
        self._places = np.arange(len(questions)) if places is None else places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, at: Any) -> Any:
        place = int(self._places[at])
        question = self._questions[place]
        return f"{len(question)}:{question}{self._answers[place].as_py()}"


def _unheard(earlier: Seen, values: list[str]) -> npt.NDArray[np.bool_]:
    """Which of a partition's values no other row has, there or earlier: bool [len(values)]."""
    codes = pa.array(values, pa.string()).dictionary_encode().indices.to_numpy()
    found: npt.NDArray[np.bool_] = (np.bincount(codes)[codes] == 1) & (earlier.find(values) == NEVER)
    return found


class _Firsts:
    """The first rows with each of a partition's values, some of which earlier partitions had."""

    def __init__(self, earlier: Seen, values: list[str]) -> None:
        self._values = values
        self._known = earlier.find(values).tolist()
        self._new: dict[str, int] = {}

    def of(self, at: int, row: int) -> int:
        """The first row with the value at a place: the given one, which thereby claims it, if there was none."""
        known: int = self._known[at]
        return self._new.setdefault(self._values[at], row) if known == NEVER else known

    def give_back(self, at: int) -> None:
        """Let a later row claim the value that was just claimed."""
        del self._new[self._values[at]]


def _all_but(places: Iterable[int], count: int) -> pa.Array:
    """Bool [count], false at some places."""
    chosen = np.ones(count, bool)
    chosen[list(places)] = False
    return pa.array(chosen)


def _by_row(fault: Rejected) -> int:
    return fault.row


class _Faults:
    """What is wrong with the rows of one partition: the first broken rule decides, the others are mentioned."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows
        self._odd: list[tuple[int, Rejected]] = []
        self.bad: dict[int, Rejected] = {}

    def add(self, rule: Rule, indices: Sequence[int], frame: pd.DataFrame) -> list[Rejected]:
        """Note that the rows at these positions break a rule, and say how."""
        found = self._found(rule, indices, frame)
        for index, fault in zip(indices, found, strict=True):
            earlier = self.bad.get(index)
            if rule.severity == "warning":
                self._odd.append((index, fault))
            elif earlier is None:
                self.bad[index] = fault
            else:
                self.bad[index] = replace(earlier, detail=f"{earlier.detail}; also {rule.name} ({rule.column})")
        return found

    def odd(self) -> list[Rejected]:
        """Warnings about the rows that stay, by row number."""
        return sorted((fault for index, fault in self._odd if index not in self.bad), key=_by_row)

    def _found(self, rule: Rule, indices: Sequence[int], frame: pd.DataFrame) -> list[Rejected]:
        if not len(indices):
            return []
        column = rule.column or "question"
        rows = self._rows.select(list({"row", "row_key", column})).take(pa.array(indices, pa.int64()))
        values = rows[column].to_pylist()
        evidence = frame.loc[list(indices), rule.evidence].tolist() if rule.evidence else values
        return [
            Rejected(
                row=row,
                row_key=key or "",
                column=rule.column,
                rule=rule.name,
                value="" if value is None else shortened(value),
                detail=rule.explain(said),
            )
            for row, key, value, said in zip(
                rows["row"].to_pylist(), rows["row_key"].to_pylist(), values, evidence, strict=True
            )
        ]
