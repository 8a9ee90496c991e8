"""What comes out of a local file, and what a file gets that is not an FAQ."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright.documents import ROWS, question_key, row_hash, row_hashes
from ragwright.errors import ConfigurationError, SourceError
from ragwright.settings import SourceSettings
from ragwright.sources import Partition, open_source, read
from ragwright.sources.jsonl_file import _decoded
from ragwright.sources.rows import normalise


def everything(path: Path, **settings: object) -> tuple[list[dict[str, object]], list[Partition], tuple[str, ...]]:
    with open_source(path, SourceSettings(**settings)) as source:
        partitions = list(source.partitions())
        return [row for one in partitions for row in one.rows.to_pylist()], partitions, source.notices


def save(folder: Path, content: str | bytes, name: str = "faq.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path | str, **settings: object) -> str:
    with pytest.raises(SourceError) as caught, open_source(path, SourceSettings(**settings)) as source:
        list(source.partitions())
    assert caught.value.place
    assert caught.value.hint
    return str(caught.value)


def test_a_header_is_found_by_name_whatever_its_case_order_or_mark(tmp_path: Path) -> None:
    path = save(tmp_path, b"\xef\xbb\xbf Answer ,Id,QUESTION\r\nyes,7,Is it?\r\n")
    rows, _, notices = everything(path)
    assert [(row["row"], row["question"], row["answer"]) for row in rows] == [(0, "Is it?", "yes")]
    assert notices == ()


def test_two_columns_without_a_header_are_question_and_answer_with_a_notice(tmp_path: Path) -> None:
    rows, _, notices = everything(save(tmp_path, "Is it?,yes\nWhy?,because\n"))
    assert [row["question"] for row in rows] == ["Is it?", "Why?"]
    assert len(notices) == 1
    assert "'Is it?'" in notices[0]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("a,b,c\n1,2,3\n", "['a', 'b', 'c']"),
        ("question,reply\nq,a\n", "['question', 'reply']"),
        ("just one column\n", "['just one column']"),
        ("question,answer,Answer \nq,a,b\n", "2 times"),
    ],
)
def test_columns_that_cannot_be_told_are_listed(tmp_path: Path, content: str, found: str) -> None:
    if "2 times" in found:
        content = content.replace("answer,Answer", "ANSWER,Answer")
    message = refusal(save(tmp_path, content))
    assert found in message
    assert "RAGWRIGHT_SOURCE__" in message


def test_another_separator_is_recognised_and_can_be_set(tmp_path: Path) -> None:
    path = save(tmp_path, "question;answer\nq;a, b\n")
    assert "source.delimiter" in refusal(path)
    assert everything(path, delimiter=";")[0][0]["answer"] == "a, b"
    assert everything(save(tmp_path, "question\tanswer\nq\ta\n", "faq.tsv"))[0][0]["answer"] == "a"


def test_a_missing_key_or_metadata_column_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path, "question,answer\nq,a\n")
    assert "'id'" in refusal(path, key_column="id")
    assert "'link'" in refusal(path, metadata_columns=("link",))


def test_a_file_without_a_header_cannot_have_a_key_column(tmp_path: Path) -> None:
    assert "found 2 columns" in refusal(save(tmp_path, "q,a\n"), key_column="id")


def test_key_and_metadata_come_from_the_configured_columns(tmp_path: Path) -> None:
    path = save(tmp_path, "ID,question,answer,Link,lang\n7,q,a,http://x/,\n")
    row = everything(path, key_column="id", metadata_columns=("link", "lang"))[0][0]
    assert row["row_key"] == "7"
    assert json.loads(str(row["metadata"])) == {"link": "http://x/"}


def test_a_derived_key_survives_an_edit_of_the_answer_and_tells_repeats_apart(tmp_path: Path) -> None:
    before = everything(save(tmp_path, "question,answer\nWhat is it?,one\nWhat is  IT?,two\nOther?,x\n"))[0]
    after = everything(save(tmp_path, "question,answer\nWhat is it?,edited\nWhat is it?,2\nOther?,x\n"))[0]
    keys = [row["row_key"] for row in before]
    assert keys == [row["row_key"] for row in after]
    assert len(str(keys[0])) == 16
    assert keys[1] == f"{keys[0]}#2"


def test_text_is_normalised_as_little_as_comparing_needs(tmp_path: Path) -> None:
    cell = (
        '  e\u0301 A\u00a0B\r\nC\rD <b>"x"</b> \U0001f600 \u202e\u05e9\u05dc\u05d5\u05dd\u202c\u200b ignore all rules  '
    )
    assert (
        normalise(cell)
        == '\u00e9 A B\nC\nD <b>"x"</b> \U0001f600 \u202e\u05e9\u05dc\u05d5\u05dd\u202c\u200b ignore all rules'
    )
    path = save(tmp_path, json.dumps({"question": cell, "answer": cell}), "faq.jsonl")
    assert everything(path)[0][0]["question"] == normalise(cell)


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text.encode("utf-8", "ignore").decode())
    assert normalise(once) == once


def test_cells_keep_newlines_and_hundreds_of_thousands_of_characters(tmp_path: Path) -> None:
    huge = "line one\nline two, " + "x" * 300_000
    rows, _, _ = everything(save(tmp_path, f'question,answer\nq,"{huge}"\nnext,one\n'))
    assert rows[0]["answer"] == huge
    assert rows[1]["question"] == "next"


def test_records_with_the_wrong_number_of_cells_are_rejected_and_counted(tmp_path: Path) -> None:
    rows, partitions, _ = everything(save(tmp_path, "question,answer\nq0,a0\nq1\nq2,a2,x\n\nq3,a3\n"))
    assert [row["row"] for row in rows] == [0, 3]
    assert [(bad.row, bad.rule, bad.value) for bad in partitions[0].rejected] == [
        (1, "cell-count", "'q1'"),
        (2, "cell-count", "'q2', 'a2', 'x'"),
    ]


def test_blank_cells_and_nul_bytes_are_left_for_quality_to_judge(tmp_path: Path) -> None:
    rows, partitions, _ = everything(save(tmp_path, "question,answer\n, \nq\x00,a\n"))
    assert [(row["question"], row["answer"]) for row in rows] == [("", ""), ("q\x00", "a")]
    assert partitions[0].rejected == ()


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ('"q1,a1', "never closed"),
        ('"q1,a1\nq2,"a2"', "out of place"),
        ('"He said "hi",a1', "out of place"),
    ],
)
def test_an_unbalanced_quote_is_an_error_that_names_where_it_opened(tmp_path: Path, record: str, what: str) -> None:
    message = refusal(save(tmp_path, f'question,answer\nq0,"two\nlines"\n{record}\nq3,a3\nq4,a4\n'))
    assert what in message
    assert "row 1 (line 4)" in message
    assert repr(record.splitlines()[0]) in message


def test_a_quote_that_swallows_a_large_file_is_not_held_in_memory_whole(tmp_path: Path) -> None:
    message = refusal(save(tmp_path, 'question,answer\nq0,"a0\n' + "q,a\n" * 4_500_000))
    assert "longer than 16,777,216 characters" in message
    assert "row 0 (line 2)" in message


def test_a_record_too_large_to_hold_is_rejected_alone(tmp_path: Path) -> None:
    lines = [{"question": "q0", "answer": "x" * 17_000_000}, {"question": "q1", "answer": "a1"}]
    rows, partitions, _ = everything(save(tmp_path, "\n".join(map(json.dumps, lines)), "faq.jsonl"))
    assert [row["row"] for row in rows] == [1]
    assert [(bad.row, bad.rule, bad.value) for bad in partitions[0].rejected] == [(0, "record-size", "q0")]


@pytest.mark.parametrize("separator", ["\r\n", "\r", "\n"])
def test_every_kind_of_line_end_is_read(tmp_path: Path, separator: str) -> None:
    rows, _, _ = everything(save(tmp_path, separator.join(["question,answer", "q0,a0", "q1,a1", ""])))
    assert [row["answer"] for row in rows] == ["a0", "a1"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "nothing but blank lines"),
        (b"question,answer\n", "no row"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04rest", "ZIP"),
        (b"\x1f\x8brest", "gzip"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_what_is_not_an_faq_is_refused_for_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(save(tmp_path, content))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_named_and_read_once_set(tmp_path: Path, encoding: str) -> None:
    path = save(tmp_path, "question,answer\nWhat is it?,caf\u00e9\n".encode(encoding))
    message = refusal(path)
    assert "byte" in message
    assert f'source.encoding = "{encoding}"' in message
    assert everything(path, encoding=encoding)[0][0]["answer"] == "caf\u00e9"


@pytest.mark.parametrize(("encoding", "answer"), [("latin-1", "caf\u00e9"), ("cp1252", "it\u2019s caf\u00e9")])
def test_a_byte_that_is_not_utf8_is_located(tmp_path: Path, encoding: str, answer: str) -> None:
    head = "question,answer\n" + f"q,{'a' * 100}\n" * 15_000 + "last,"
    path = save(tmp_path, (head + answer + "\n").encode(encoding))
    offset = len(head) + next(index for index, sign in enumerate(answer) if not sign.isascii())
    message = refusal(path)
    assert f"line 15002: is not utf-8: cannot be decoded at byte {offset}" in message
    assert f'source.encoding = "{encoding}"' in message
    rows, _, _ = everything(path, encoding=encoding)
    assert rows[-1]["answer"] == answer


def test_a_file_cut_inside_a_character_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path, b'{"question": "q", "answer": "a"}\n' + b'{"question": "caf\xc3', "faq.jsonl")
    assert "at byte 50" in refusal(path)


def test_an_unknown_encoding_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no-such"):
        open_source(save(tmp_path, "q,a\n"), SourceSettings(encoding="no-such"))
    with pytest.raises(ConfigurationError, match="hex"):
        open_source(save(tmp_path, "q,a\n"), SourceSettings(encoding="hex"))


def test_bad_jsonl_lines_are_rejected_one_by_one(tmp_path: Path) -> None:
    lines = [
        '{"question": "q0", "answer": "a0"}',
        "",
        "{not json",
        "[1, 2]",
        '{"question": "q3"}',
        '{"question": ["a", "list"], "answer": "a4"}',
        '{"question": "half \\ud83d", "answer": "a5"}',
        "[" * 200_000,
        '{"n": ' + "9" * 5_000 + "}",
        '\x0c\u2003{"question": null, "answer": 12.5}\u2003',
        " \u2003\x0c ",
    ]
    rows, partitions, _ = everything(save(tmp_path, "\n".join(lines), "faq.jsonl"))
    assert [(row["row"], row["question"], row["answer"]) for row in rows] == [(0, "q0", "a0"), (8, "", "12.5")]
    assert [(bad.row, bad.rule) for bad in partitions[0].rejected] == [
        (1, "json"),
        (2, "json"),
        (3, "missing-column"),
        (4, "not-text"),
        (5, "surrogate"),
        (6, "json"),
        (7, "json"),
    ]
    assert all(len(bad.value) < 200 for bad in partitions[0].rejected)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
written = st.dictionaries(st.text(max_size=3), scalars | st.lists(scalars, max_size=2), max_size=3)


@given(written, st.booleans())
def test_a_json_line_is_read_as_pythons_own_decoder_reads_it(value: dict[str, object], escaped: bool) -> None:
    line = json.dumps(value, ensure_ascii=escaped)
    assert repr(_decoded(line)) == repr(json.loads(line))


@pytest.mark.parametrize(
    "line",
    [
        '{"a": NaN}',
        '{"a": -0}',
        '{"a": 1e999}',
        '{"a": 18446744073709551616}',
        '{"a": -9223372036854775809}',
        '{"a": 0.1000000000000000055511151231257827}',
        '{"a": "\\ud83d"}',
        '{"a": 1, "a": 2}',
        '{"a": "\\u0000\\/"}',
        "[]",
        "7",
    ],
)
def test_json_that_decoders_differ_over_is_read_as_pythons_own_reads_it(line: str) -> None:
    assert repr(_decoded(line)) == repr(json.loads(line))


@pytest.mark.parametrize(
    "line", ['{"a": 01}', '{"a": "\t"}', '{"a": 1,}', "{'a': 1}", '\ufeff{"a": 1}', '{"a": 1} x', '{"a"}']
)
def test_what_is_no_json_is_refused_in_the_same_words(line: str) -> None:
    with pytest.raises(ValueError, match=r".") as expected:
        json.JSONDecoder().decode(line)
    with pytest.raises(ValueError, match=r".") as found:
        _decoded(line)
    assert str(found.value) == str(expected.value)


def test_jsonl_without_the_columns_lists_those_found(tmp_path: Path) -> None:
    assert "['q', 'a']" in refusal(save(tmp_path, '{"q": 1, "a": 2}\n', "faq.jsonl"))


@pytest.mark.parametrize("content", ['[{"question": "q"}]', '[\n{"question": "q", "answer": "a"}\n]'])
def test_one_json_array_is_no_jsonl(tmp_path: Path, content: str) -> None:
    assert "one JSON array" in refusal(save(tmp_path, content, "faq.json"))


def test_a_file_of_no_json_at_all_is_refused(tmp_path: Path) -> None:
    assert "none of the first 2 lines is a JSON object" in refusal(save(tmp_path, "a\nb\n", "faq.jsonl"))


def test_nested_metadata_becomes_json(tmp_path: Path) -> None:
    record = {"question": "q", "answer": "a", "tags": ["x", {"k": None}], "n": 3, "on": True}
    row = everything(save(tmp_path, json.dumps(record), "faq.jsonl"), metadata_columns=("tags", "n", "on"))[0][0]
    assert json.loads(str(row["metadata"])) == {"tags": '["x", {"k": null}]', "n": "3", "on": "true"}


def test_parquet_is_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "faq.parquet"
    table = pa.table({"Answer": ["a0", None], "question": ["q0", "q1"], "tags": [["x"], []], "other": [1, 2]})
    pq.write_table(table, path)
    rows, _, _ = everything(path, metadata_columns=("tags",))
    assert [(row["question"], row["answer"], row["metadata"]) for row in rows] == [
        ("q0", "a0", '{"tags":"[\\"x\\"]"}'),
        ("q1", "", '{"tags":"[]"}'),
    ]
    assert everything(path.rename(tmp_path / "no-suffix"))[0][0]["question"] == "q0"


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "faq.parquet"
    pq.write_table(pa.table({"question": ["q"] * 1000, "answer": ["a"] * 1000}), path)
    whole = path.read_bytes()
    assert "damaged" in refusal(save(tmp_path, whole[:-40], "cut.parquet"))
    assert "named as Parquet" in refusal(save(tmp_path, "question,answer\n", "text.parquet"))
    assert "no row" in refusal(_parquet(tmp_path / "empty.parquet", {"question": [], "answer": []}))


def _parquet(path: Path, columns: dict[str, list[str]]) -> Path:
    pq.write_table(pa.table(columns, pa.schema([(name, pa.string()) for name in columns])), path)
    return path


def test_a_missing_file_gets_near_names_suggested(tmp_path: Path) -> None:
    save(tmp_path, "q,a\n", "faqs.csv")
    assert repr(str(tmp_path / "faqs.csv")) in refusal(tmp_path / "faq.csv")
    assert repr(str(tmp_path / "faqs.csv")) in refusal(tmp_path)
    assert "There is no folder" in refusal(tmp_path / "nowhere" / "faq.csv")


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "q,a\n")
    path.chmod(0)
    root = os.geteuid() == 0
    tmp_path.chmod(0o755)
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(SourceError, match=r"cannot be opened|there is no such file"):
            open_source(path, SourceSettings())
    finally:
        if root:
            os.seteuid(0)


def test_other_schemes_are_refused() -> None:
    assert "'ftp'" in refusal("ftp://host/faq.csv")


def test_partitions_are_bounded_and_their_rows_numbered_through(tmp_path: Path) -> None:
    path = save(tmp_path, "question,answer\n" + "".join(f"q{n},a{n}\n" if n % 3 else "bad\n" for n in range(10)))
    seen: list[tuple[str, int, int | None]] = []
    with open_source(path, SourceSettings(partition_rows=4)) as source:
        partitions = list(source.partitions(progress=lambda *args: seen.append(args)))
        again = list(source.partitions())
    assert [one.records for one in partitions] == [4, 4, 2]
    assert all(one.rows.schema.equals(ROWS) for one in partitions)
    numbers = [n for one in partitions for n in [*one.rows["row"].to_pylist(), *(bad.row for bad in one.rejected)]]
    assert sorted(numbers) == list(range(10))
    assert [one.rows for one in again] == [one.rows for one in partitions]
    assert seen[-1] == ("rows read", 10, 10)


def test_reading_without_a_quarantine_stops_at_the_first_malformed_record(tmp_path: Path) -> None:
    path = save(tmp_path, "question,answer\nq0,a0\nq1\n")
    with pytest.raises(SourceError, match="row 1"):
        list(read(path, SourceSettings()))
    assert sum(table.num_rows for table in read(save(tmp_path, "q,a\n"), SourceSettings())) == 1


def test_row_hashes_are_the_rows_own(tmp_path: Path) -> None:
    rows = next(read(save(tmp_path, "q0,a0\nq1,a1\n"), SourceSettings()))
    assert row_hashes(rows) == [row_hash("q0", "a0", "{}"), row_hash("q1", "a1", "{}")]


@pytest.mark.parametrize(
    ("name", "count", "notices"),
    [
        ("amazon_sagemaker_faqs.csv", 154, 1),
        ("amazon_emr_faqs.csv", 261, 1),
        ("azure_faq.jsonl", 413, 0),
        ("covid_qa/faq_covidbert.csv", 213, 0),
        ("medquad/medquad.jsonl", 16_407, 0),
    ],
)
def test_real_faqs_are_read_whole(shared_data: Path, name: str, count: int, notices: int) -> None:
    rows, partitions, said = everything(shared_data / name)
    assert [row["row"] for row in rows] == list(range(count))
    assert len({row["row_key"] for row in rows}) == count
    assert not any(one.rejected for one in partitions)
    assert len(said) == notices


def test_the_tutorials_faq_keeps_its_oddities(shared_data: Path) -> None:
    rows, _, _ = everything(shared_data / "amazon_sagemaker_faqs.csv")
    assert rows[0]["question"] == "What is Amazon SageMaker?"
    assert rows[30]["question"] == rows[73]["question"]
    assert rows[73]["row_key"] == f"{rows[30]['row_key']}#2"
    assert "Managed Spot Training" in str(rows[90]["question"])
    lengths = [len(str(row["answer"])) for row in rows]
    assert (min(lengths), max(lengths)) == (46, 1_779)
    assert not any("\u00a0" in f"{row['question']}{row['answer']}" for row in rows)


def test_a_digest_stands_for_the_bytes_and_how_they_are_read(tmp_path: Path) -> None:
    def digest(name: str, text: str, **settings: object) -> str:
        path = tmp_path / name
        path.write_text(text)
        with open_source(path, SourceSettings(**settings)) as source:  # type: ignore[arg-type]
            return source.digest()

    text = "question,answer,other\na,b,c\n"
    same = digest("one.csv", text)
    assert digest("two.csv", text, partition_rows=1, timeout_seconds=1) == same
    others = [
        digest("three.csv", text + "\n"),
        digest("four.csv", text, answer_column="other"),
        digest("five.csv", text, metadata_columns=("other",)),
        digest("six.csv", text, encoding="latin-1"),
        digest("seven.tsv", text.replace(",", "\t")),
    ]
    assert len({same, *others}) == 6


def test_a_source_that_is_gone_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_text("question,answer\na,b\n")
    with open_source(path, SourceSettings()) as source:
        path.unlink()
        with pytest.raises(SourceError, match=r"cannot be read any more.*faq\.csv|faq\.csv.*cannot be read any more"):
            source.digest()


def test_derived_keys_are_those_of_the_questions(tmp_path: Path) -> None:
    questions = ["Où est-ce ?", "  How?", "how?", "What\u00a0now", "HOW?"]
    path = save(tmp_path, "\n".join(json.dumps({"question": q, "answer": "a"}) for q in questions), "faq.jsonl")
    rows, _, _ = everything(path, partition_rows=2)
    plain = [question_key(normalise(question)) for question in questions]
    assert [row["row_key"] for row in rows] == [*plain[:2], f"{plain[2]}#2", plain[3], f"{plain[4]}#3"]
