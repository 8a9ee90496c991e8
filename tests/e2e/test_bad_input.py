"""What a broken, odd or hostile FAQ gets: a clear error or a place in quarantine, and readers who notice nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_line import NO_MODELS, CommandLine
from published_index import FAQ, GOOD, Live, as_csv, as_jsonl, settings_of

from ragwright.errors import QualityError, RagwrightError, SourceError
from ragwright.index.attempt import ReindexRequest, open_catalog
from ragwright.index.reindex import reindex


@contextmanager
def nothing_changes(live: Live) -> Iterator[None]:
    """Hold a block to changing nothing a reader could notice, and to leaving nothing but its record behind."""
    before = live.head(), live.said(), live.records()
    files, attempts = live.files(), len(live.attempts())
    yield
    assert (live.head(), live.said(), live.records()) == before
    ended = live.attempts()[attempts:]
    assert [end["outcome"] for end in ended] == ["failed"] * len(ended)
    own = tuple(f"catalog/faq/generations/{attempts + n:08d}/" for n in range(1, len(ended) + 1))
    left = {name for name in live.files() - files if not name.startswith(own)}
    # The writer lease is a new file each time; a failed quality check has its page like any other.
    assert all(name.startswith(("catalog/faq/writer/", "data-docs/faq/runs/2")) for name in left), left
    assert len(list((live.settings.home / "catalog/faq/writer").iterdir())) == 1


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("live"), NO_MODELS)


@pytest.fixture(scope="module")
def live(shell: CommandLine) -> Live:
    live = Live(settings_of(shell.home))
    assert reindex(live.settings, ReindexRequest(source=str(write(shell, "faq.csv", GOOD)))).published
    return live


def write(shell: CommandLine, name: str, content: str | bytes) -> Path:
    path = shell.folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def case(name: str, *rest: object) -> Any:
    """A case is known by its file's name."""
    return pytest.param(name, *rest, id=name)


# Through the command line


@pytest.mark.parametrize(
    ("name", "content", "message", "place", "hint"),
    [
        case("empty.csv", b"", "the file is empty", "empty.csv", "Export"),
        case("lines.csv", b"\n\r\n\n", "nothing but blank lines", "lines.csv", "Export"),
        case(
            "column.csv", b"question,reply\na,b\n", "found ['question', 'reply']", "column.csv", "source.answer_column"
        ),
        case("wide.csv", GOOD.encode("utf-16"), "byte order mark of UTF-16", "wide.csv", "utf-16"),
        case("latin.csv", f"{GOOD}Un café?,Oui.\n".encode("latin-1"), "Un caf\\xe9?", "latin.csv, line 14", "latin-1"),
        case("faq.tsv.gz", b"\x1f\x8b\x08\x00", "gzip", "faq.tsv.gz", "Unpack"),
    ],
)
def test_an_unreadable_file_is_refused_at_once(
    shell: CommandLine, live: Live, name: str, content: bytes, message: str, place: str, hint: str
) -> None:
    write(shell, name, content)
    with nothing_changes(live):
        done = shell.run("reindex", "--source", name, "--json")
    assert done.error["type"] == "SourceError"
    assert message in str(done.error["message"])
    assert done.error["place"] == place
    assert hint in str(done.error["hint"])
    assert all(str(done.error[part]) in done.err for part in ("message", "place", "hint"))


def test_a_missing_file_suggests_names_that_come_near(shell: CommandLine, live: Live) -> None:
    write(shell, "frequent.csv", GOOD)
    with nothing_changes(live):
        done = shell.run("reindex", "--source", "frequnet.csv", "--json")
    assert (done.error["message"], done.error["place"]) == ("there is no such file", "frequnet.csv")
    assert str(done.error["hint"]).startswith("Did you mean 'frequent.csv'")


def test_an_unreachable_url_says_which(shell: CommandLine, live: Live) -> None:
    with socket.socket() as held:  # bound but not listening: whoever connects is refused
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/faq.csv"
        with nothing_changes(live):
            done = shell.run("reindex", "--source", f"{url}?key=secret", "--json")
    assert (done.error["type"], done.error["place"]) == ("Unavailable", url)
    assert "refused" in str(done.error["message"])
    assert "secret" not in done.out + done.err


def test_an_unfit_file_is_told_with_its_first_rows(shell: CommandLine, live: Live) -> None:
    write(shell, "blanks.csv", as_csv([*FAQ, ("What is this?", " "), (" ", "That is blank.")]))
    with nothing_changes(live):
        done = shell.run("reindex", "--source", "blanks.csv", "--json")
    assert (done.error["type"], done.error["place"]) == ("QualityError", "blanks.csv")
    assert "2 of 14 records are unfit" in str(done.error["message"])
    assert "row 12, answer: the answer shows nothing" in str(done.error["message"])
    assert "quality.max_bad_share" in str(done.error["hint"])


def test_a_file_of_all_that_may_happen_is_indexed(shell: CommandLine, live: Live) -> None:
    odd = [
        ("<b>Is HTML</b> kept?", "<p>Yes: <a href='javascript:alert(1)'>as it &amp; stands</a>.</p>"),
        ("Do emoji 🥐 pass?", "They do 👩‍🍳."),
        ("كيف أنظف الغلاية؟", "اغلها مرة واحدة مع الخل."),
        ("What is blank?", "\u00a0"),
    ]
    write(shell, "odd.csv", b"\xef\xbb\xbf" + as_csv([*FAQ, *odd]).replace("\n", "\r\n").encode())
    done = shell.run("reindex", "--source", "odd.csv", "--index", "odd", "--json")
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
    write(shell, "ask.jsonl", "".join(json.dumps({"id": n, "question": q}) + "\n" for n, (q, _) in enumerate(odd)))
    replies = shell.run("ask", "--file", "ask.jsonl", "--index", "odd", "--json").lines
    assert [reply["id"] for reply in replies] == [0, 1, 2, 3]
    for number, (question, answer) in enumerate(odd[:3]):
        found = replies[number]["citations"][0]
        assert (found["row"], found["question"], found["text"]) == (12 + number, question, answer)
        assert replies[number]["answer"] in answer


@pytest.mark.parametrize(
    ("name", "content", "message", "place"),
    [
        ("gone.jsonl", None, "No such file", "gone.jsonl"),
        ("wide.jsonl", '{"question": "Why?"}'.encode("utf-16"), "can't decode byte 0xff", "wide.jsonl"),
        ("cut.jsonl", b'{"question": "Why?"}\n{"question": "Wh', 'not JSON: \'{"question": "Wh\'', "cut.jsonl, line 2"),
        ("other.jsonl", b'{"q": "Why?"}', "no text under 'question'", "other.jsonl, line 1"),
    ],
)
def test_questions_that_cannot_be_read_are_refused_before_any_is_asked(
    shell: CommandLine, live: Live, name: str, content: bytes | None, message: str, place: str
) -> None:
    if content is not None:
        write(shell, name, content)
    error = shell.run("ask", "--file", name, "--json").error
    assert (error["type"], error["place"]) == ("SourceError", place)
    assert message in str(error["message"])
    assert "each line is an object" in str(error["hint"])


# In this process, which spares each of them the start of another


@pytest.mark.parametrize(
    ("name", "content", "error", "parts"),
    [
        case("header.csv", "question,answer\n", SourceError, ["['question', 'answer'] and no row", "header.csv"]),
        case("three.csv", "a,b,c\nd,e,f\n", SourceError, ["3 columns: ['a', 'b', 'c']", "source.question_column"]),
        case("wide.csv", GOOD.encode("utf-16-be"), SourceError, ["UTF-16-BE", "at byte 0"]),
        case("zeros.csv", b"\0" * 4_096, SourceError, ["found 1 columns", "\\x00"]),
        case(
            "zero.csv",
            GOOD.replace("answer", "ans\0wer", 1),
            SourceError,
            ["no column is named 'answer'", "ans\\x00wer"],
        ),
        case(
            "open.csv", GOOD + '"What is open?,Nobody.\nAnd?,No.\n', SourceError, ["never closed", "row 12 (line 14)"]
        ),
        case("stray.csv", GOOD + 'Who said "so"?,"He said "so".\n', SourceError, ["out of place", "row 12 (line 14)"]),
        case(
            "late.csv",
            (GOOD + as_csv(FAQ, header=False) * 400 + "Un café?,Oui.\n").encode("cp1252"),
            SourceError,
            ["caf\\xe9", "line 4814"],
        ),
        case("array.json", json.dumps([{"question": "a", "answer": "b"}]), SourceError, ["one JSON array", "jq"]),
        case("prose.jsonl", "This is\nno JSON.\n", SourceError, ["none of the first 2 lines", "'This is'"]),
        case("other.jsonl", '{"q": "a", "a": "b"}\n', SourceError, ["found ['q', 'a']", "source.question_column"]),
        case("cut.parquet", b"PAR1\x15\x04\x15", SourceError, ["damaged or cut off", "cut.parquet"]),
        case(
            "blank.csv",
            "question,answer\nWhat?, \n , \n",
            QualityError,
            ["none of the 2 records is fit", "row 0, answer"],
        ),
        case("cells.csv", GOOD + "a,b,c\nd\n", QualityError, ["2 of 14 records", "3 cells where there should be 2"]),
        case("lines.jsonl", as_jsonl(FAQ) + "{\n}\n", QualityError, ["2 of 14 records", "row 12, record", "'{'"]),
        case("moji.csv", as_csv([(q, f"{a} CafÃ©") for q, a in FAQ]), QualityError, ["mojibake: 12", "'Ã©'"]),
    ],
)
def test_a_bad_file_is_an_error_and_changes_nothing(
    shell: CommandLine, live: Live, name: str, content: str | bytes, error: type[RagwrightError], parts: list[str]
) -> None:
    source = write(shell, name, content)
    with nothing_changes(live), pytest.raises(error) as caught:
        reindex(live.settings, ReindexRequest(source=str(source)))
    assert caught.value.place is not None
    assert caught.value.place.startswith(str(source))
    assert caught.value.hint
    assert [part for part in parts if part not in str(caught.value)] == []


def test_a_folder_is_no_file(shell: CommandLine, live: Live) -> None:
    with nothing_changes(live), pytest.raises(SourceError, match=r"a folder.*Did you mean"):
        reindex(live.settings, ReindexRequest(source=str(shell.folder)))


HUGE = " ".join(f"Part {number} of the manual is about screw {number}." for number in range(5_000))
WORD = "".join(map(str, range(40_000)))
assert min(len(HUGE), len(WORD)) > 180_000


@pytest.mark.parametrize(
    ("name", "content", "rows", "quarantined"),
    [
        case("bom.csv", b"\xef\xbb\xbf" + GOOD.encode(), FAQ, []),
        case("bare.csv", b"\xef\xbb\xbf" + as_csv(FAQ, header=False).encode(), FAQ, []),
        case("crlf.csv", GOOD.replace("\n", "\r\n"), FAQ, []),
        case("cr.csv", GOOD.replace("\n", "\r"), FAQ, []),
        case(
            "cells.csv",
            as_csv([("Two\nlines?", "Yes,\n\n  two."), *FAQ]),
            [("Two\nlines?", "Yes,\n\n  two."), *FAQ],
            [],
        ),
        case("blank.csv", as_csv([*FAQ, ("What is blank?", "\u200b")]), FAQ, [(12, "answer", "blank")]),
        case("zero.csv", as_csv([*FAQ, ("What is zero?", "It is \0.")]), FAQ, [(12, "answer", "control-character")]),
        case("short.csv", GOOD + "What is missing?\n", FAQ, [(12, "", "cell-count")]),
        case("line.jsonl", as_jsonl(FAQ[:5]) + '{"question": "Cut\n' + as_jsonl(FAQ[5:]), FAQ, [(5, "", "json")]),
        case("null.jsonl", as_jsonl(FAQ) + '{"question": "Null?", "answer": null}\n', FAQ, [(12, "answer", "blank")]),
        case(
            "huge.csv", as_csv([*FAQ, ("What is in the manual?", HUGE)]), [*FAQ, ("What is in the manual?", HUGE)], []
        ),
        case("word.csv", as_csv([*FAQ, ("A word?", WORD)]), [*FAQ, ("A word?", WORD)], []),
        case("long.csv", as_csv([*FAQ, ("Why " * 9_000, "So.")]), FAQ, [(12, "question", "length")]),
    ],
)
def test_an_odd_file_is_indexed_and_every_row_accounted_for(
    shell: CommandLine,
    live: Live,
    name: str,
    content: str | bytes,
    rows: list[tuple[str, str]],
    quarantined: list[tuple[int, str, str]],
) -> None:
    settings = live.settings.model_copy(update={"index": name.replace(".", "-")})
    report = reindex(settings, ReindexRequest(source=str(write(shell, name, content))))
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
    assert Live(settings).shown() == sorted(rows)
