import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ragwright.digests import content_hashes
from ragwright.documents import content_hash


@given(st.lists(st.tuples(st.text(), st.text(max_size=3)), max_size=6), st.integers(0, 6))
def test_hashes_of_many_rows_are_those_of_each(rows: list[tuple[str, str]], cut: int) -> None:
    first, second = (pa.array([row[at] for row in rows], pa.string()) for at in range(2))
    expected = [content_hash(row) for row in rows]
    assert content_hashes([first, second]) == expected
    pieces = pa.chunked_array([first.slice(0, cut), first.slice(cut)])
    assert content_hashes([pieces, second]) == expected
    assert content_hashes([first.slice(cut)]) == [content_hash([row[0]]) for row in rows[cut:]]
