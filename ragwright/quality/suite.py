"""What makes a row unfit to index, written as Great Expectations expectations.

The suite decides; this module only names the rules, says in words what a broken one means, and feeds the suite the
columns it needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ragwright.documents import content_hash
from ragwright.errors import QualityError
from ragwright.settings import QualitySettings

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations import ExpectationSuite
    from great_expectations.core.batch_definition import BatchDefinition

SUITE_VERSION = "1"
"""Changes whenever a rule does, so that rows which passed an older suite are looked at again."""

# White space, and characters that show nothing: soft hyphen, zero-width, direction marks, fillers.
_INVISIBLE = (
    " \\t\\n\\r\\x0b\\x0c\x85\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufe0f\ufeff"
)
VISIBLE = f"[^{_INVISIBLE}]"

# Tab and line feed are text. C1 controls are what Windows-1252 punctuation becomes when it is read as Latin-1.
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"

REPLACEMENT = "\ufffd"

# UTF-8 that was read as Windows-1252. A two-byte letter shows as A with a circumflex or tilde and a sign from the upper
# half. Signs that may follow a capital letter in a real text (quotes, dashes, an ellipsis) do not count. `sources` has
# turned a no-break space into a space, so before one only the impossible counts: such a capital after a small letter
# or punctuation, or alone before two spaces.
MOJIBAKE = (
    "Ã[¡-ª¬-º¼-¿\u0178\u2030\u0153\u0152\u0160\u2021\u2020\u0192\u02c6]"
    "|Â[¡-ª¬-º¼-¿]"
    "|â€|â[\u201a\u201e\u02c6][\u00a0-\u00ff\u2013\u2018-\u201e\u2122]"
    "|(?:[ÐÑ][°-¿\u0152\u0192\u20ac\u2018-\u2022\u2026\u2030\u0192\u02c6]){2}"
    "|ðŸ|ï»¿|ï¿½"
    "|[a-zß-ÿ.,;:!?)][ÂÃ](?: |$)|(?:^| )Ã  "
)


@dataclass(frozen=True)
class Rule:
    """One expectation.

    Attributes:
        name: What a report calls it.
        column: The column at fault.
        expectation: Name of the Great Expectations class.
        arguments: Its arguments.
        wants: What the rule asks for, for people.
        explain: Says what is wrong, from the value of `evidence`.
        evidence: The column `explain` reads; the one at fault if empty.
        severity: A `warning` keeps the row.
    """

    name: str
    column: str
    expectation: str
    arguments: Mapping[str, Any]
    wants: str
    explain: Callable[[Any], str]
    evidence: str = ""
    severity: Literal["critical", "warning"] = "critical"

    @property
    def id(self) -> str:
        """Unique in its suite."""
        return f"{self.name}:{self.column}"


def row_rules(settings: QualitySettings, *, max_question_tokens: int | None = None) -> list[Rule]:
    """The rules that look at one row alone, the most telling first.

    `max_question_tokens` adds the rule on the derived column `question_tokens`.
    """
    rules = []
    for column in ("question", "answer", "row_key"):
        rules += [
            Rule(
                "missing",
                column,
                "ExpectColumnValuesToNotBeNull",
                {"column": column},
                f"No {column} is missing.",
                lambda _, column=column: f"the {column} is missing",  # type: ignore[misc]
            ),
            Rule(
                "blank",
                column,
                "ExpectColumnValuesToMatchRegex",
                {"column": column, "regex": VISIBLE},
                f"Every {column} shows something.",
                lambda _, column=column: f"the {column} shows nothing",  # type: ignore[misc]
            ),
        ]
    for column, low, high in (
        ("question", 0, settings.max_question_chars),
        ("answer", settings.min_answer_chars, settings.max_answer_chars),
    ):
        rules.append(
            Rule(
                "length",
                column,
                "ExpectColumnValueLengthsToBeBetween",
                {"column": column, "min_value": low, "max_value": high},
                f"Every {column} has {low:,} to {high:,} characters.",
                lambda text, low=low, high=high: f"length {len(text):,}; {low:,} to {high:,} characters are allowed",  # type: ignore[misc]
            )
        )
    damage: Literal["critical", "warning"] = "warning" if settings.damaged_text == "warn" else "critical"
    checks: list[tuple[str, str, str, Callable[[str], str], Literal["critical", "warning"]]] = [
        ("control-character", CONTROL, "a control character", _control, "critical"),
        ("replacement-character", REPLACEMENT, "a replacement character", _replacement, damage),
        ("mojibake", MOJIBAKE, "UTF-8 that was read as Windows-1252", _mojibake, damage),
    ]
    for name, pattern, what, explain, severity in checks:
        rules += [
            Rule(
                name,
                column,
                "ExpectColumnValuesToNotMatchRegex",
                {"column": column, "regex": pattern},
                f"No {column} holds {what}.",
                explain,
                severity=severity,
            )
            for column in ("question", "answer")
        ]
    if max_question_tokens is not None:
        rules.append(
            Rule(
                "tokens",
                "question",
                "ExpectColumnValuesToBeBetween",
                {"column": "question_tokens", "max_value": max_question_tokens},
                f"Every question has at most {max_question_tokens:,} tokens.",
                lambda tokens: f"{int(tokens):,} tokens; the embedder takes {max_question_tokens:,}",
                evidence="question_tokens",
            )
        )
    return rules


SET_RULES = [
    Rule(
        "duplicate-row",
        "",
        "ExpectColumnPairValuesToBeEqual",
        {"column_A": "row", "column_B": "first_row_with_content"},
        "No row repeats the question and answer of an earlier row.",
        lambda first: f"row {first} has the same question and answer",
        evidence="first_row_with_content",
    ),
    Rule(
        "duplicate-key",
        "row_key",
        "ExpectColumnPairValuesToBeEqual",
        {"column_A": "row", "column_B": "first_row_with_key"},
        "No row has the key of an earlier row.",
        lambda first: f"row {first} has the same key",
        evidence="first_row_with_key",
    ),
    Rule(
        "conflicting-answers",
        "question",
        "ExpectColumnPairValuesToBeEqual",
        {"column_A": "row", "column_B": "first_row_with_question"},
        "No row answers an earlier row's question differently.",
        lambda first: f"row {first} has the same question with another answer; both are kept",
        evidence="first_row_with_question",
        severity="warning",
    ),
]
"""The rules that compare a row with those before it, by columns that remember where a value was first seen."""


def fingerprint(settings: QualitySettings, *, max_question_tokens: int | None = None) -> str:
    """Names the suite with its thresholds: a row that passed under one fingerprint need not be looked at again."""
    limits = (settings.min_answer_chars, settings.max_answer_chars, settings.max_question_chars, settings.damaged_text)
    return f"{SUITE_VERSION}-{content_hash(map(str, (*limits, max_question_tokens)))[:12]}"


def whole_frames() -> BatchDefinition[Any]:
    """Data frames to run suites over, each as a whole, in memory. Nothing is printed or sent anywhere."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
            analytics_enabled=False,
        ),
    )
    asset = context.data_sources.add_pandas("source").add_dataframe_asset("rows")
    return asset.add_batch_definition_whole_dataframe("partition")


class Suite:
    """Rules as an expectation suite in memory.

    Args:
        name: Of the suite.
        rules: One expectation each.
        columns: What the rules need.
        frames: From `whole_frames`; suites that are run one after the other may share them.
    """

    def __init__(
        self, name: str, rules: Sequence[Rule], *, columns: Sequence[str], frames: BatchDefinition[Any]
    ) -> None:
        import great_expectations as gx
        import great_expectations.expectations as gxe

        self.name, self.rules = name, tuple(rules)
        self._batches = frames
        self._suite = gx.ExpectationSuite(
            name,
            expectations=[
                getattr(gxe, rule.expectation)(
                    **rule.arguments, description=rule.wants, severity=rule.severity, meta={"rule": rule.id}
                )
                for rule in (_columns_rule(columns), *rules)
            ],
        )

    def run(self, frame: pd.DataFrame, *, broken: bool = False) -> dict[str, dict[str, Any]]:
        """Results by rule id; those of broken rules in Great Expectations' COMPLETE layout, with the frame's index.

        Args:
            frame: The rows.
            broken: Some rule is likely to be: it is asked at once where.

        Raises:
            QualityError: A column is missing, or an expectation could not be evaluated.
        """
        import great_expectations as gx

        if broken:
            return self._validated(frame, self._suite, "COMPLETE")
        # To say where a rule is broken costs as much as to see that it is, and mostly none is.
        results = self._validated(frame, self._suite, "BASIC")
        found = [one for one in self._suite.expectations if not results[(one.meta or {})["rule"]]["success"]]
        if found:
            results |= self._validated(frame, gx.ExpectationSuite(self.name, expectations=found), "COMPLETE")
        return results

    def _validated(self, frame: pd.DataFrame, suite: ExpectationSuite, layout: str) -> dict[str, dict[str, Any]]:
        batch = self._batches.get_batch(batch_parameters={"dataframe": frame})
        results = {}
        faults = []
        for result in batch.validate(suite, result_format={"result_format": layout}).results:
            if result.expectation_config is None or result.expectation_config.meta is None:
                raise QualityError("Great Expectations returned a result without saying of what")
            rule = result.expectation_config.meta["rule"]
            if rule == _columns_rule(()).id and not result.success:
                missing = result.result["details"]["mismatched"].get("missing", [])
                raise QualityError(f"columns {missing!r} are missing from {list(frame.columns)!r}")
            if not result.result:
                faults.append(f"{rule}: {result.exception_info!r}")
            results[rule] = result.to_json_dict()
        if faults:
            raise QualityError(
                f"{len(faults)} expectations could not be evaluated, the first is {faults[0]}",
                place=f"suite {self.name}",
            )
        return results


def _columns_rule(columns: Sequence[str]) -> Rule:
    return Rule(
        "columns",
        "",
        "ExpectTableColumnsToMatchSet",
        {"column_set": list(columns), "exact_match": False},
        "The columns that the rules need are there.",
        str,
    )


def _control(text: str) -> str:
    found = re.search(CONTROL, text)
    return f"control character U+{ord(found[0]):04X} at character {found.start()}" if found else "control character"


def _replacement(text: str) -> str:
    return f"U+FFFD at character {text.find(REPLACEMENT)}: a character was lost before the file was written"


def _mojibake(text: str) -> str:
    found = re.search(MOJIBAKE, text)
    shown = f"{found[0]!r} at character {found.start()} " if found else ""
    return f"{shown}looks like UTF-8 that was read as Windows-1252; export the file again as UTF-8"
