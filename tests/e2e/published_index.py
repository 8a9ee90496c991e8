"""A small FAQ, published without a model, and what its readers see."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragwright.answering import Answer
from ragwright.assembly import open_answerer
from ragwright.index.attempt import open_catalog
from ragwright.settings import Settings
from ragwright.stores import open_store

FAQ = [
    ("How do I descale the kettle?", "Boil it once with vinegar and rinse it well."),
    ("Where is the warranty card?", "The warranty card lies beneath the packing foam."),
    ("Can the toaster take frozen bread?", "Yes, press the snowflake button first."),
    ("Who repairs a broken mixer?", "Any of our service points repairs mixers within two weeks."),
    ("What does the red lamp mean?", "A red lamp means that the water tank is empty."),
    ("How long is the power cord?", "The power cord is ninety centimetres long."),
    ("Is the blender jug safe in a dishwasher?", "The jug is; its lid with the seal is not."),
    ("How loud is the grinder?", "It reaches seventy decibels at full speed."),
    ("May children use the iron?", "Nobody under eight may use the iron, even when watched."),
    ("How do I order a spare filter?", "Order spare filters by telephone or at a service point."),
    ("Why does the fan smell when it is new?", "A film of grease protects the motor and burns off within an hour."),
    ("How do I recycle an old appliance?", "Bring it to any shop that sells such appliances."),
]
ASKED = [FAQ[4][0], FAQ[9][0], "What color is my desk?"]


def as_csv(rows: list[tuple[str, str]], *, header: bool = True) -> str:
    """The rows as a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("question", "answer"), *rows] if header else rows)
    return text.getvalue()


def as_jsonl(rows: list[tuple[str, str]]) -> str:
    """The rows as a JSONL file."""
    return "".join(json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in rows)


GOOD = as_csv(FAQ)


def settings_of(home: Path) -> Settings:
    """Settings under which nothing needs a model or a process."""
    return Settings(
        home=home,
        embedding={"endpoint": "hashing:64"},
        generation={"endpoint": "none"},
        answering={"calibration_rows": 10},
    )


@dataclass(frozen=True)
class Live:
    """An index that has a live generation."""

    settings: Settings

    def head(self) -> tuple[int, int]:
        """Sequence of the log's last entry, and the live generation."""
        with open_catalog(self.settings) as catalog:
            head = catalog.head()
        return head.sequence, head.live

    def attempts(self) -> list[dict[str, Any]]:
        """How each attempt ended; nothing is known of one that could not write it down."""
        with open_catalog(self.settings) as catalog:
            ends = [catalog.read_json(f"generations/{n:08d}/end.json") for n in catalog.attempts()]
        return [end or {} for end in ends]

    def files(self) -> set[str]:
        """Every file below the home."""
        return {str(path.relative_to(self.settings.home)) for path in self.settings.home.rglob("*") if path.is_file()}

    def records(self) -> list[tuple[Any, ...]]:
        """Every record of the live generation's space, visible or not."""
        with open_catalog(self.settings) as catalog, open_store(self.settings.store_spec) as store:
            last = catalog.head().last
            assert last is not None
            columns = ["record_id", "born", "died", "row_key", "part", "question", "text"]
            batches = list(store.scan(last.space, columns=columns))
        return sorted(tuple(record[name] for name in columns) for batch in batches for record in batch.to_pylist())

    def shown(self) -> list[tuple[str, str]]:
        """Questions and answers that readers may see, put together again from their sections."""
        live = self.head()[1]
        answers: dict[tuple[str, str], str] = {}
        visible = [record[3:] for record in self.records() if record[1] <= live < record[2]]
        for key, _, question, text in sorted(visible):
            before = answers.get((key, question), "")
            # A section repeats some of the one before it.
            shared = next(n for n in range(min(len(before), len(text)), -1, -1) if before.endswith(text[:n]))
            gap = " " if before and not shared else ""
            answers[key, question] = before + gap + text[shared:]
        return sorted((question, answer) for (_, question), answer in answers.items())

    def ask(self, *questions: str) -> list[Answer]:
        """Ask in this process."""
        with open_answerer(self.settings) as answerer:
            return [answerer.answer(question) for question in questions]

    def said(self) -> list[tuple[str, bool, int | None, list[int]]]:
        """What the questions `ASKED` get."""
        return [(a.answer, a.abstained, a.generation, [c.row for c in a.citations]) for a in self.ask(*ASKED)]
