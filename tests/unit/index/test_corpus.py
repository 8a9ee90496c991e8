"""The words of a corpus are counted as if it were counted whole, however little of it is looked at."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from cheap_gate import validate_cheaply
from hypothesis import given
from hypothesis import settings as testing
from hypothesis import strategies as st
from small_index import Write, run

from ragwright.chunking import chunk_rows
from ragwright.documents import ROWS, content_hash
from ragwright.embedding.hashed import HashingEmbedder
from ragwright.index import corpus, staging, writing
from ragwright.index.attempt import open_catalog
from ragwright.index.catalog import folder
from ragwright.index.earlier_texts import answers
from ragwright.index.history import rollback
from ragwright.settings import ChunkingSettings, Settings, SourceSettings
from ragwright.stores import open_store
from ragwright.terms import STOPWORDS, TERM_RULES, CorpusStatistics, terms

FAQ = [(f"What is thing number {n}?", f"Thing {n} follows thing {n - 1}. " * (1 + n % 5) * 6) for n in range(40)]
EDITED = [("What is thing number 0?", "Something else by now."), *FAQ[1:7], *FAQ[8:], ("Is it new?", "It's naïve.")]


def settings_at(home: Path, dimension: int = 16) -> Settings:
    return Settings(
        home=home,
        store=f"memory:{home}",
        embedding={"endpoint": f"hashing:{dimension}"},
        generation={"endpoint": "none"},
        source=SourceSettings(partition_rows=16),
        chunking=ChunkingSettings(max_tokens=32, overlap_tokens=6),
    )


def fit(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """What the cheap gate leaves, by itself."""
    return [row for row in dict.fromkeys((question.strip(), answer.strip()) for question, answer in rows) if row[1]]


def counted_whole(rows: Sequence[tuple[str, str]]) -> bytes:
    file = io.BytesIO()
    table = CorpusStatistics.from_texts(f"{question}\n{answer}" for question, answer in fit(rows)).to_table()
    pq.write_table(table, file, compression="zstd", compression_level=1)
    return file.getvalue()


def counted(settings: Settings, generation: int) -> bytes | None:
    with open_catalog(settings) as catalog:
        return catalog.read(f"{folder(generation)}/statistics.parquet")


@contextmanager
def looking(patch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many rows are looked at, as often as some are."""
    seen: list[int] = []
    real = corpus.TermCounter.add

    def add(self: corpus.TermCounter, rows: pa.Table) -> None:
        seen.append(len(rows))
        real(self, rows)

    with patch.context() as patched:
        patched.setattr(corpus.TermCounter, "add", add)
        yield seen


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    validate_cheaply(monkeypatch)
    monkeypatch.setattr(writing, "HEAD_TTL", -1.0)  # nobody reads here until a run has ended
    return settings_at(tmp_path / "home")


def test_a_change_looks_at_the_words_of_what_changed(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings, write_faq(FAQ))
    with looking(monkeypatch) as seen:
        report = run(settings, write_faq(EDITED))
    assert (report.ledger.updated, report.ledger.added, report.ledger.removed) == (1, 1, 1)
    assert sum(seen) == 4, "two new texts and two that are gone"
    assert counted(settings, 2) == counted_whole(EDITED)


def with_another_text(settings: Settings) -> None:
    with open_store(settings.store_spec) as store:
        (space,) = store.spaces()
        records = pa.concat_tables(pa.Table.from_batches([batch]) for batch in store.scan(space))
        texts = pa.array(["".join(reversed(text)) for text in records["text"].to_pylist()])
        store.upsert(space, records.set_column(records.schema.get_field_index("text"), "text", texts))


def of_older_rules(settings: Settings) -> None:
    rewrite(settings, lambda table: table.replace_schema_metadata({"documents": "40", "rules": "0"}))


def of_no_known_rules(settings: Settings) -> None:
    rewrite(settings, lambda table: table.replace_schema_metadata({"documents": "40"}))


def of_other_rows(settings: Settings) -> None:
    rewrite(settings, lambda table: table.replace_schema_metadata({"documents": "39", "rules": TERM_RULES}))


def without_a_term(settings: Settings) -> None:
    rewrite(settings, lambda table: table.filter(pc.not_equal(table["term"], "7")))  # row 7, which goes, has it


def damaged(settings: Settings) -> None:
    with open_catalog(settings) as catalog:
        catalog.write(f"{folder(1)}/statistics.parquet", b"PAR1 and no more")


def rewrite(settings: Settings, change: Callable[[pa.Table], pa.Table]) -> None:
    with open_catalog(settings) as catalog:
        place = f"{folder(1)}/statistics.parquet"
        table = catalog.read_table(place)
        assert table is not None
        catalog.write_table(place, change(table))


@pytest.mark.parametrize(
    "spoil", [with_another_text, of_older_rules, of_no_known_rules, of_other_rows, without_a_term, damaged]
)
def test_what_cannot_be_relied_on_is_counted_anew(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Settings], None]
) -> None:
    run(settings, write_faq(FAQ))
    spoil(settings)
    with looking(monkeypatch) as seen:
        run(settings, write_faq(EDITED))
    assert sum(seen) >= len(EDITED)
    assert counted(settings, 2) == counted_whole(EDITED)


def test_counts_by_older_rules_do_not_stay_because_the_source_does(settings: Settings, write_faq: Write) -> None:
    run(settings, write_faq(FAQ))
    of_older_rules(settings)
    assert run(settings, write_faq(FAQ)).embedded == 0
    assert counted(settings, 2) == counted_whole(FAQ)


def test_a_space_that_is_gone_is_not_needed_for_another(
    settings: Settings, write_faq: Write, caplog: pytest.LogCaptureFixture
) -> None:
    run(settings, write_faq(FAQ))
    with open_store(settings.store_spec) as store:
        store.drop_space(*store.spaces())
    other = settings.model_copy(update={"embedding": settings_at(settings.home, 24).embedding})
    assert run(other, write_faq(EDITED)).embedded > len(EDITED)
    assert counted(settings, 2) == counted_whole(EDITED)
    assert "counted anew" in caplog.text


def test_a_source_too_large_to_keep_is_read_again_for_a_recount(
    settings: Settings, write_faq: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "KEPT_BYTES", 1_000)
    run(settings, write_faq(FAQ))
    for number, rows in enumerate((EDITED, EDITED[20:], EDITED), 2):
        run(settings, write_faq([*rows, rows[0], ("Is this blank?", " ")]))
        assert counted(settings, number) == counted_whole(rows)


_ROWS = st.tuples(
    st.sampled_from([f"What is thing number {n}?" for n in range(6)]),
    # Words that come again and again, so that where one section ends and the next begins is not plain to see.
    st.sampled_from(["It’s a naïve one.", "One thing.", " ", "so " * 60, "it is. " * 30, "1,5 and 2.5 東京. " * 9]),  # noqa: RUF001
)
_EDITS = st.lists(st.tuples(st.integers(0, 39), st.none() | _ROWS), max_size=4)
_STEPS = st.lists(
    st.tuples(st.sampled_from(["edit", "edit", "edit", "full", "repair", "other", "back"]), _EDITS),
    min_size=1,
    max_size=5,
)


@testing(max_examples=8)
@given(_STEPS)
def test_counts_carried_over_many_generations_are_those_of_a_count_from_nothing(
    steps: list[tuple[str, list[tuple[int, tuple[str, str] | None]]]],
) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        validate_cheaply(patched)
        patched.setattr(writing, "HEAD_TTL", -1.0)
        source, rows, dimension = Path(name) / "faq.csv", list(FAQ), 16
        for kind, edits in [("edit", []), *steps]:
            for at, row in edits:
                # What goes comes back, elsewhere; what is edited may say what another row says.
                rows[at:] = [*rows[at + 1 :], rows[at]] if row is None else [row, *rows[at + 1 :]]
                del rows[38 if row is None else 40 :]
                rows += FAQ[: 40 - len(rows)] if row is not None else []
            if kind == "back":
                with open_catalog(settings_at(Path(name))) as catalog:
                    if len(catalog.head().published()) > 1:
                        rollback(catalog, reason="a test")
            dimension = 40 - dimension if kind == "other" else dimension
            with source.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("question", "answer"), *rows])
            options = {kind: True} if kind in {"full", "repair"} else {}
            settings = settings_at(Path(name), dimension)
            report = run(settings, str(source), allow_mass_delete=True, **options)
            assert counted(settings, report.generation) == counted_whole(rows)


@given(st.lists(st.sampled_from(["so ", "it is. ", "so so ", "One thing. ", "\n", "x" * 30]), min_size=1, max_size=60))
def test_an_answer_is_found_in_its_sections(pieces: list[str]) -> None:
    answer = "".join(pieces).strip()
    rows = pa.table([[0], ["key"], ["Why?"], [answer], ["{}"]], schema=ROWS)
    settings = settings_at(Path())
    chunks = chunk_rows(rows, HashingEmbedder(16), settings.chunking)
    assert answer in islice(answers(chunks["text"].to_pylist()), 256)


def test_terms_are_those_that_the_rules_are_named_for() -> None:
    """If this fails, texts have other terms than before: raise the number in `TERM_RULES`."""
    texts = [
        *sorted(STOPWORDS),
        *(answer for _, answer in FAQ[:3]),
        "Training jobs' runs: 1,779 ran, 3.5 GB; policies, classes, buses, edited, hastily, stopping, being's o'clock",
        "Ｆｕｌｌ　ｗｉｄｔｈ It’s ﬁne, İstanbul STRASSE straße x² naïve_name 東京タワー",  # noqa: RUF001
    ]
    assert (TERM_RULES.partition("/")[0], content_hash(term for text in texts for term in terms(text))) == (
        "1",
        "69316cf474fa0d66c4b7fd8cc3cb770d",
    )


terms_counted = st.dictionaries(st.sampled_from([f"{n:03d}" for n in range(0, 400, 5)]), st.integers(1, 9), min_size=70)
moves = st.dictionaries(st.sampled_from([f"{n:03d}" for n in range(400)]), st.integers(-3, 3), max_size=3)


@testing(deadline=None)
@given(terms_counted, moves)
def test_counts_that_are_moved_are_those_of_a_sum(before: dict[str, int], by: dict[str, int]) -> None:
    sorted_counts, others = (
        pa.table([list(counts), pa.array(counts.values(), pa.int64())], schema=corpus._COUNTED)
        for counts in (dict(sorted(before.items())), by)
    )
    assert corpus._moved(sorted_counts, others) == corpus._summed([sorted_counts, others]).sort_by("term")
