"""Arrays as the bodies of replies: what goes in comes out, and whatever is not whole is refused before it is read."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ragwright.endpoints.arrays import ACCEPT, accepts_arrays, read_array, write_array
from ragwright.errors import BadReply

ROWS = arrays.arrays(st.sampled_from(["<f2", "<f4", "<f8"]), st.tuples(st.integers(0, 9), st.integers(0, 9)))
WHOLE = write_array(np.arange(12, dtype=np.float16).reshape(3, 4))


def npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


@given(ROWS)
def test_an_array_comes_out_as_it_went_in(rows: np.ndarray) -> None:
    found = read_array(write_array(rows), place="here")
    assert (found.dtype, found.shape) == (rows.dtype, rows.shape)
    assert found.tobytes() == rows.tobytes()
    assert np.array_equal(np.load(io.BytesIO(write_array(rows))), rows, equal_nan=True)


@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=3))
def test_an_array_that_is_cut_or_goes_on_is_refused(end: int, more: bytes) -> None:
    with pytest.raises(BadReply, match="here"):
        read_array(WHOLE[:end], place="here")
    with pytest.raises(BadReply, match="here"):
        read_array(WHOLE + b"." + more, place="here")


@given(st.integers(0, 127), st.integers(0, 255))
def test_a_damaged_header_is_refused_or_changes_nothing_but_the_kind_of_number(at: int, byte: int) -> None:
    body = WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    try:
        found = read_array(body, place="here")
    except BadReply:
        return
    assert found.nbytes == 24


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[[0.5]]",
        npy(np.ones((2, 2), np.int64)),
        npy(np.ones((2, 2), ">f4")),
        npy(np.ones((2, 2), order="F")),
        npy(np.ones(4)),
        npy(np.ones((2, 2, 2))),
        npy([[{"a": "pickled object"}]]),
        WHOLE.replace(b"(3, 4)", b"(999999999999, 4)").replace(b" " * 11 + b"\n", b"\n"),
        WHOLE.replace(b"(3, 4)", b"(1<<9)"),
    ],
    ids=["nothing", "JSON", "integers", "big end first", "columns", "a row", "three axes", "objects", "a lie", "code"],
)
def test_what_is_no_array_of_floats_in_rows_is_refused(body: bytes) -> None:
    with pytest.raises(BadReply):
        read_array(body, place="here")


@pytest.mark.parametrize(
    ("accept", "takes"),
    [
        (ACCEPT, True),
        ("Application/X-NPY", True),
        ("text/html, application/x-npy;q=0.1", True),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/x-npyz", False),
    ],
)
def test_only_callers_that_name_arrays_get_them(accept: str, takes: bool) -> None:
    assert accepts_arrays(accept) is takes
