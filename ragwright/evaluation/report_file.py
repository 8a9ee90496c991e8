"""The page of a generation's evaluation, put where people and the catalog find it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragwright.errors import CatalogError, SourceError
from ragwright.evaluation.document import write_files
from ragwright.evaluation.html import Past, Subject, page
from ragwright.evaluation.questions import Question, examine
from ragwright.evaluation.run import EvaluationResult
from ragwright.index.attempt import open_catalog
from ragwright.index.catalog import Catalog, folder
from ragwright.settings import Settings
from ragwright.sources.location import named

MOST_PAST = 30
"""Attempts before this one that are looked through for the trend."""


def write_report(settings: Settings, generation: int, *, out: Path | None = None) -> Path:
    """Write a generation's evaluation as one HTML file; a copy stays in the catalog beside `evaluation.json`.

    Args:
        settings: Of the index.
        generation: One that was evaluated, published or not.
        out: Where to; by default `reports/<index>/generation-00000012.html` in the home folder.

    Returns:
        Where it is.

    Raises:
        CatalogError: The generation is unknown, was not evaluated, or by a version that measured less.
        ConfigurationError: The file cannot be written.
        StorageFull: No room for the page.
    """
    out = out or settings.home / "reports" / settings.index / f"generation-{generation:08d}.html"
    with open_catalog(settings) as catalog:
        document = page(*_gathered(catalog, generation)).encode()
        catalog.write(f"{folder(generation)}/report.html", document)
    write_files(out, {out: document})
    return out


def _gathered(catalog: Catalog, generation: int) -> tuple[EvaluationResult, Subject]:
    begin = catalog.begin_of(generation)
    value = catalog.read_json(f"{folder(generation)}/evaluation.json")
    if value is None:
        raise CatalogError(
            f"generation {generation} was not evaluated",
            place=f"index {catalog.index!r}",
            hint=f"Run `ragwright evaluate --generation {generation}` first.",
        )
    result = _result(catalog, generation, value)
    about = {
        "state": _state(catalog, generation),
        "begun": f"{begin.at:%Y-%m-%d %H:%M:%S %Z}",
        "FAQ": named(begin.source),
        "embedder": str(begin.fingerprint),
    }
    gate = catalog.read_json(f"{folder(generation)}/gate.json")
    return result, Subject(catalog.index, about, gate, _questions(result.source), _past(catalog, generation, value))


def _result(catalog: Catalog, generation: int, value: Mapping[str, Any]) -> EvaluationResult:
    try:
        return EvaluationResult.from_json(value, generation)
    except (KeyError, TypeError) as error:
        raise CatalogError(
            f"the evaluation of generation {generation} lacks {error}: an older version made it",
            place=f"index {catalog.index!r}",
            hint=f"Run `ragwright evaluate --generation {generation}` again.",
        ) from error


def _state(catalog: Catalog, generation: int) -> str:
    head = catalog.head()
    if generation == head.live:
        return "live"
    if generation in {entry.generation for entry in head.published()}:
        return "published before; can be gone back to"
    if generation in {entry.generation for entry in head.entries}:
        return "published before; cannot be gone back to"
    end = catalog.read_json(f"{folder(generation)}/end.json") or {}
    return f"not published: {end.get('outcome', 'a candidate')}"


def _questions(source: str) -> dict[str, Question]:
    """The questions by id, if their file is still there; the page says where one is not."""
    path = Path(source)
    if not source or not path.is_file():
        return {}
    try:
        questions, _ = examine(path)
    except SourceError:
        return {}  # no question set any more
    return {question.id: question for question in questions.questions}


def _past(catalog: Catalog, generation: int, value: Mapping[str, Any]) -> list[Past]:
    seen = {entry.generation for entry in catalog.head().entries}
    numbers = [number for number in catalog.attempts() if number < generation][-MOST_PAST:]
    before = [(number, _same_questions(catalog, number, value)) for number in numbers]
    return [Past(number, number in seen, figures) for number, figures in (*before, (generation, value)) if figures]


def _same_questions(catalog: Catalog, generation: int, value: Mapping[str, Any]) -> dict[str, Any] | None:
    """Another generation's evaluation on the same questions; the latest one, if that is one."""
    latest = catalog.read_json(f"{folder(generation)}/evaluation.json")
    if latest is None or _asked(latest) == _asked(value):
        return latest
    for name in catalog.names(f"{folder(generation)}/evaluations"):
        if name.startswith(f"{_asked(value)}-"):
            return catalog.read_json(f"{folder(generation)}/evaluations/{name}")
    return None


def _asked(value: Mapping[str, Any]) -> object:
    """What tells whether two evaluations asked the same questions."""
    digest = (value.get("conditions") or {}).get("questions")
    return digest or (value.get("source"), value.get("questions"))
