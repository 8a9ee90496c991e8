"""Giving a candidate generation its answerability model: the live one's while little has changed, or its own."""

from __future__ import annotations

import hashlib

import pyarrow.compute as pc

from ragwright.abstention import Calibration
from ragwright.calibration import calibrate
from ragwright.embedding import Embedder
from ragwright.evaluation.everyday import QUESTIONS
from ragwright.index.attempt import Attempt
from ragwright.index.catalog import Catalog, folder
from ragwright.index.plan import Op
from ragwright.index.reader import IndexReader
from ragwright.progress import Progress, silent
from ragwright.reading import Reader
from ragwright.settings import AnsweringSettings

# Share of the records that may change before a calibration is made anew, so that its cost follows the change.
_STALE = 0.1


def calibrate_candidate(
    attempt: Attempt,
    embedder: Embedder,
    settings: AnsweringSettings,
    *,
    progress: Progress = silent,
) -> Calibration | None:
    """Fit the answerability model to what the candidate shows, or carry over the live generation's.

    Args:
        attempt: Written and verified.
        embedder: The one the generation was made with.
        settings: Retrieval, and the operating point.
        progress: Told after each question.

    Returns:
        What readers of the generation will use; None if the settings say not to fit, or nothing is shown.
    """
    if not settings.calibration_rows or not attempt.plan.shown:
        return None
    made = read_calibration(attempt.catalog, attempt.generation) or _carried_over(attempt, settings)
    if made is None:
        view = IndexReader(
            attempt.catalog,
            attempt.store,
            embedder,
            generation=attempt.generation,
            lexical=settings.lexical_candidates,
        )
        reader = Reader(embedder, interaction=settings.late_interaction, closely=settings.top_k)
        questions = _drawn(attempt, settings.calibration_rows)
        made = calibrate(view, reader, questions, QUESTIONS, settings, records=attempt.plan.shown, progress=progress)
    attempt.catalog.write_json(_path(attempt.generation), made.model_dump(mode="json"))
    return made


def read_calibration(catalog: Catalog, generation: int) -> Calibration | None:
    """A generation's answerability model; None if it has none of this version."""
    stored = catalog.read_json(_path(generation))
    return None if stored is None else Calibration.read(stored)


def _carried_over(attempt: Attempt, settings: AnsweringSettings) -> Calibration | None:
    live = attempt.begin.live
    found = read_calibration(attempt.catalog, live) if live else None
    if (
        found is None
        or attempt.catalog.begin_of(live).fingerprint != attempt.begin.fingerprint
        or found.max_false_answer_rate != settings.max_false_answer_rate
        or found.candidates != settings.candidates
        or found.by_word > settings.late_interaction
    ):
        return None
    counts = attempt.plan.counts()
    changed = found.changed + max(counts[Op.INSERT], counts[Op.MARK] + counts[Op.DELETE])
    return found.model_copy(update={"changed": changed}) if changed <= _STALE * found.records else None


def _drawn(attempt: Attempt, at_most: int) -> list[tuple[str, str]]:
    """Row key and question of some rows: the same ones in every generation that has them."""
    manifest = attempt.table("manifest.parquet", columns=["row_key", "record_id", "part"])
    first = manifest.filter(pc.equal(manifest["part"], 0))
    keys, records = first["row_key"].to_pylist(), first["record_id"].to_pylist()
    places = sorted(range(len(keys)), key=lambda at: hashlib.blake2b(keys[at].encode(), digest_size=8).digest())
    wanted = [records[at] for at in places[:at_most]]
    found = attempt.store.fetch(attempt.space, wanted, columns=["record_id", "row_key", "question"]).to_pylist()
    by_record = {record["record_id"]: (record["row_key"], record["question"]) for record in found}
    return [by_record[record] for record in wanted if record in by_record and by_record[record][1].strip()]


def _path(generation: int) -> str:
    return f"{folder(generation)}/answerability.json"
