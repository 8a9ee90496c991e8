"""What a broken, odd or hostile FAQ gets: a clear error or a place in quarantine, and readers who notice nothing."""

from __future__ import annotations

import csv
import io
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from command_line import NO_MODELS, CommandLine

from ragwright.answering import Answer
from ragwright.assembly import open_answerer
from ragwright.errors import QualityError, RagwrightError, SourceError
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.reindex import reindex
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
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("question", "answer"), *rows] if header else rows)
    return text.getvalue()


def as_jsonl(rows: list[tuple[str, str]]) -> str:
    return "".join(json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in rows)


GOOD = as_csv(FAQ)


@dataclass(frozen=True)
class Live:
    """A home in which readers see a published generation."""

    shell: CommandLine
    settings: Settings

    def write(self, name: str, content: str | bytes) -> str:
        path = self.shell.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def head(self) -> tuple[int, int]:
        with open_catalog(self.settings) as catalog:
            head = catalog.head()
        return head.sequence, head.live

    def attempts(self) -> list[dict[str, Any]]:
        """How each attempt ended."""
        with open_catalog(self.settings) as catalog:
            ends = [catalog.read_json(f"generations/{n:08d}/end.json") for n in catalog.attempts()]
        return [end or {} for end in ends]

    def files(self) -> set[str]:
        return {str(path.relative_to(self.settings.home)) for path in self.settings.home.rglob("*") if path.is_file()}

    def shown(self) -> list[tuple[Any, ...]]:
        with open_catalog(self.settings) as catalog, open_store(self.settings.store_spec) as store:
            last = catalog.head().last
            assert last is not None
            columns = ["record_id", "born", "died", "question", "text"]
            batches = list(store.scan(last.space, columns=columns))
        return sorted(tuple(record[name] for name in columns) for batch in batches for record in batch.to_pylist())


def ask(settings: Settings, *questions: str) -> list[Answer]:
    with open_answerer(settings) as answerer:
        return [answerer.answer(question) for question in questions]


def said(settings: Settings) -> list[tuple[str, bool, int | None, list[int]]]:
    return [(a.answer, a.abstained, a.generation, [c.row for c in a.citations]) for a in ask(settings, *ASKED)]


@contextmanager
def nothing_changes(live: Live) -> Iterator[None]:
    """Hold a block to changing nothing a reader could notice, and to leaving nothing but its record behind."""
    before = live.head(), said(live.settings), live.shown()
    files, attempts = live.files(), len(live.attempts())
    yield
    assert (live.head(), said(live.settings), live.shown()) == before
    ended = live.attempts()[attempts:]
    assert [end["outcome"] for end in ended] == ["failed"] * len(ended)
    own = tuple(f"catalog/faq/generations/{attempts + n:08d}/" for n in range(1, len(ended) + 1))
    left = {name for name in live.files() - files if not name.startswith(own)}
    # The writer lease is a new file each time; a failed quality check has its page like any other.
    assert all(name.startswith(("catalog/faq/writer/", "data-docs/faq/runs/2")) for name in left), left
    assert len(list((live.settings.home / "catalog/faq/writer").iterdir())) == 1


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    folder = tmp_path_factory.mktemp("live")
    shell = CommandLine(folder, NO_MODELS)
    settings = Settings(home=shell.home, embedding={"endpoint": "hashing:64"}, generation={"endpoint": "none"})
    (folder / "faq.csv").write_text(GOOD, encoding="utf-8")
    assert reindex(settings, ReindexRequest(source=str(folder / "faq.csv"))).published
    return Live(shell, settings)


# Through the command line


@pytest.mark.parametrize(
    ("name", "content", "message", "place", "hint"),
    [
        ("empty.csv", b"", "the file is empty", "empty.csv", "Export"),
        ("lines.csv", b"\n\r\n\n", "nothing but blank lines", "lines.csv", "Export"),
        ("column.csv", b"question,reply\na,b\n", "found ['question', 'reply']", "column.csv", "source.answer_column"),
        ("wide.csv", GOOD.encode("utf-16"), "byte order mark of UTF-16", "wide.csv", "utf-16"),
        ("latin.csv", f"{GOOD}Un café?,Oui.\n".encode("latin-1"), "Un caf\\xe9?", "latin.csv, line 14", "latin-1"),
        ("faq.tsv.gz", b"\x1f\x8b\x08\x00", "gzip", "faq.tsv.gz", "Unpack"),
    ],
)
def test_an_unreadable_file_is_refused_at_once(
    live: Live, name: str, content: bytes, message: str, place: str, hint: str
) -> None:
    live.write(name, content)
    with nothing_changes(live):
        done = live.shell.run("reindex", "--source", name, "--json")
    assert done.error["type"] == "SourceError"
    assert message in str(done.error["message"])
    assert done.error["place"] == place
    assert hint in str(done.error["hint"])
    for told in done.error.values():
        assert str(told).split("\n")[0] in done.err or told == "SourceError"


def test_a_missing_file_suggests_names_that_come_near(live: Live) -> None:
    live.write("frequent.csv", GOOD)
    with nothing_changes(live):
        done = live.shell.run("reindex", "--source", "frequnet.csv", "--json")
    assert (done.error["message"], done.error["place"]) == ("there is no such file", "frequnet.csv")
    assert str(done.error["hint"]).startswith("Did you mean 'frequent.csv'")


def test_an_unreachable_url_says_which(live: Live) -> None:
    with socket.socket() as held:  # bound but not listening: whoever connects is refused
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/faq.csv"
        with nothing_changes(live):
            done = live.shell.run("reindex", "--source", f"{url}?key=secret", "--json")
    assert (done.error["type"], done.error["place"]) == ("Unavailable", url)
    assert "refused" in str(done.error["message"])
    assert "secret" not in done.out + done.err


def test_an_unfit_file_is_told_with_its_first_rows(live: Live) -> None:
    live.write("blanks.csv", as_csv([*FAQ, ("What is this?", " "), (" ", "That is blank.")]))
    with nothing_changes(live):
        done = live.shell.run("reindex", "--source", "blanks.csv", "--json")
    assert (done.error["type"], done.error["place"]) == ("QualityError", "blanks.csv")
    assert "2 of 14 records are unfit" in str(done.error["message"])
    assert "row 12, answer: the answer shows nothing" in str(done.error["message"])
    assert "quality.max_bad_share" in str(done.error["hint"])


def test_a_file_of_all_that_may_happen_is_indexed(live: Live) -> None:
    odd = [
        ("<b>Is HTML</b> kept?", "<p>Yes: <a href='javascript:alert(1)'>as it &amp; stands</a>.</p>"),
        ("Do emoji 🥐 pass?", "They do 👩‍🍳."),
        ("كيف أنظف الغلاية؟", "اغلها مرة واحدة مع الخل."),
        ("What is blank?", "\u00a0"),
    ]
    live.write("odd.csv", b"\xef\xbb\xbf" + as_csv([*FAQ, *odd]).replace("\n", "\r\n").encode())
    done = live.shell.run("reindex", "--source", "odd.csv", "--index", "odd", "--json")
    assert done.value["ledger"] == {
        "source_rows": 16,
        "added": 15,
        "updated": 0,
        "unchanged": 0,
        "removed": 0,
        "quarantined": 1,
        "failed": 0,
    }
    assert (done.value["published"], done.value["quality"]["quarantined"]) == (True, {"blank": 1})
    live.write("ask.jsonl", "".join(json.dumps({"id": n, "question": q}) + "\n" for n, (q, _) in enumerate(odd)))
    replies = live.shell.run("ask", "--file", "ask.jsonl", "--index", "odd", "--json").lines
    assert [reply["id"] for reply in replies] == [0, 1, 2, 3]
    for number, (question, answer) in enumerate(odd[:3]):
        found = replies[number]["citations"][0]
        assert (found["row"], found["question"], found["text"]) == (12 + number, question, answer)
        assert replies[number]["answer"] in answer


# In this process, which spares each of them the start of another


@pytest.mark.parametrize(
    ("name", "content", "error", "parts"),
    [
        ("header.csv", "question,answer\n", SourceError, ["['question', 'answer'] and no row", "header.csv"]),
        ("three.csv", "a,b,c\nd,e,f\n", SourceError, ["3 columns: ['a', 'b', 'c']", "source.question_column"]),
        ("wide.csv", GOOD.encode("utf-16-be"), SourceError, ["UTF-16-BE", "at byte 0"]),
        ("zeros.csv", b"\0" * 4_096, SourceError, ["found 1 columns", "\\x00"]),
        (
            "zero.csv",
            GOOD.replace("answer", "ans\0wer", 1),
            SourceError,
            ["no column is named 'answer'", "ans\\x00wer"],
        ),
        ("open.csv", GOOD + '"What is open?,Nobody.\nAnd?,No.\n', SourceError, ["never closed", "row 12 (line 14)"]),
        ("stray.csv", GOOD + 'Who said "so"?,"He said "so".\n', SourceError, ["out of place", "row 12 (line 14)"]),
        (
            "late.csv",
            (GOOD + as_csv(FAQ, header=False) * 400 + "Un café?,Oui.\n").encode("cp1252"),
            SourceError,
            ["caf\\xe9", "line 4814"],
        ),
        ("array.json", json.dumps([{"question": "a", "answer": "b"}]), SourceError, ["one JSON array", "jq"]),
        ("prose.jsonl", "This is\nno JSON.\n", SourceError, ["none of the first 2 lines", "'This is'"]),
        ("other.jsonl", '{"q": "a", "a": "b"}\n', SourceError, ["found ['q', 'a']", "source.question_column"]),
        ("cut.parquet", b"PAR1\x15\x04\x15", SourceError, ["damaged or cut off", "cut.parquet"]),
        (
            "blank.csv",
            "question,answer\nWhat?, \n , \n",
            QualityError,
            ["none of the 2 records is fit", "row 0, answer"],
        ),
        ("cells.csv", GOOD + "a,b,c\nd\n", QualityError, ["2 of 14 records", "3 cells where there should be 2"]),
        ("lines.jsonl", as_jsonl(FAQ) + "{\n}\n", QualityError, ["2 of 14 records", "row 12, record", "'{'"]),
        ("moji.csv", as_csv([(q, f"{a} CafÃ©") for q, a in FAQ]), QualityError, ["mojibake: 12", "'Ã©'"]),
    ],
    ids=lambda value: value if isinstance(value, str) and value.count(".") == 1 and len(value) < 20 else "",
)
def test_a_bad_file_is_an_error_and_changes_nothing(
    live: Live, name: str, content: str | bytes, error: type[RagwrightError], parts: list[str]
) -> None:
    source = live.shell.folder / live.write(name, content)
    with nothing_changes(live), pytest.raises(error) as caught:
        reindex(live.settings, ReindexRequest(source=str(source)))
    assert caught.value.place is not None
    assert caught.value.place.startswith(str(source))
    assert caught.value.hint
    assert [part for part in parts if part not in str(caught.value)] == []


def test_a_folder_is_no_file(live: Live) -> None:
    with nothing_changes(live), pytest.raises(SourceError, match=r"a folder.*Did you mean"):
        reindex(live.settings, ReindexRequest(source=str(live.shell.folder)))


HUGE = " ".join(f"Part {number} of the manual is about screw {number}." for number in range(5_000))
WORD = "".join(map(str, range(40_000)))
assert min(len(HUGE), len(WORD)) > 180_000


@pytest.mark.parametrize(
    ("name", "content", "rows", "quarantined"),
    [
        ("bom.csv", b"\xef\xbb\xbf" + GOOD.encode(), FAQ, []),
        ("bare.csv", b"\xef\xbb\xbf" + as_csv(FAQ, header=False).encode(), FAQ, []),
        ("crlf.csv", GOOD.replace("\n", "\r\n"), FAQ, []),
        ("cr.csv", GOOD.replace("\n", "\r"), FAQ, []),
        ("cells.csv", as_csv([("Two\nlines?", "Yes,\n\n  two."), *FAQ]), [("Two\nlines?", "Yes,\n\n  two."), *FAQ], []),
        ("blank.csv", as_csv([*FAQ, ("What is blank?", "\u200b")]), FAQ, [(12, "answer", "blank")]),
        ("zero.csv", as_csv([*FAQ, ("What is zero?", "It is \0.")]), FAQ, [(12, "answer", "control-character")]),
        ("short.csv", GOOD + "What is missing?\n", FAQ, [(12, "", "cell-count")]),
        ("line.jsonl", as_jsonl(FAQ[:5]) + '{"question": "Cut\n' + as_jsonl(FAQ[5:]), FAQ, [(5, "", "json")]),
        ("null.jsonl", as_jsonl(FAQ) + '{"question": "Null?", "answer": null}\n', FAQ, [(12, "answer", "blank")]),
        ("huge.csv", as_csv([*FAQ, ("What is in the manual?", HUGE)]), [*FAQ, ("What is in the manual?", HUGE)], []),
        ("word.csv", as_csv([*FAQ, ("A word?", WORD)]), [*FAQ, ("A word?", WORD)], []),
        ("long.csv", as_csv([*FAQ, ("Why " * 9_000, "So.")]), FAQ, [(12, "question", "length")]),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_an_odd_file_is_indexed_and_every_row_accounted_for(
    live: Live,
    name: str,
    content: str | bytes,
    rows: list[tuple[str, str]],
    quarantined: list[tuple[int, str, str]],
) -> None:
    settings = live.settings.model_copy(update={"index": name.replace(".", "-")})
    report = reindex(settings, ReindexRequest(source=str(live.shell.folder / live.write(name, content))))
    ledger = report.ledger
    assert (ledger.source_rows, ledger.added, ledger.quarantined) == (
        len(rows) + len(quarantined),
        len(rows),
        len(quarantined),
    )
    with open_catalog(settings) as catalog:
        found = catalog.read_table("generations/00000001/quarantine.parquet")
    assert found is not None
    assert [(bad["row"], bad["column"], bad["rule"]) for bad in found.to_pylist()] == quarantined
    assert whole_rows(settings) == sorted(rows)


def whole_rows(settings: Settings) -> list[tuple[str, str]]:
    """What readers may see, put together again from its sections; a section repeats some of the one before it."""
    with open_catalog(settings) as catalog, open_store(settings.store_spec) as store:
        last = catalog.head().last
        assert last is not None
        columns = ["row_key", "part", "question", "text"]
        batches = list(store.scan(last.space, as_of=last.generation, columns=columns))
    records = sorted(tuple(r[c] for c in columns) for b in batches for r in b.to_pylist())
    answers: dict[tuple[str, str], str] = {}
    for key, _, question, text in records:
        before = answers.get((key, question), "")
        shared = next(n for n in range(min(len(before), len(text)), -1, -1) if before.endswith(text[:n]))
        gap = " " if before and not shared else ""
        answers[key, question] = before + gap + text[shared:]
    return sorted((question, answer) for (_, question), answer in answers.items())
