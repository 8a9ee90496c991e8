import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragwright import seen
from ragwright.seen import NEVER, Seen

texts = st.text(max_size=3)


@pytest.mark.parametrize("most", [{"_FEW_TEXTS": 0}, {"_FEW_TEXTS": 6}, {"_FEW_CHARACTERS": 9}, {}])
@given(runs=st.lists(st.lists(texts, max_size=12), max_size=12))
def test_what_was_noted_is_found_and_nothing_else(most, runs):
    with pytest.MonkeyPatch.context() as patched:
        for name, value in most.items():
            patched.setattr(seen, name, value)
        known, expected = Seen(), {}
        for run in runs:
            assert known.find(run).tolist() == [expected.get(text, NEVER) for text in run]
            new = [text for text in dict.fromkeys(run) if text not in expected]
            numbers = range(len(expected), len(expected) + len(new))
            known.note(new, numbers)
            assert len(known) == len(expected) + len(new)
            expected |= zip(new, numbers, strict=True)
            assert known.find(list(expected)).tolist() == list(expected.values())
        assert len(known) == len(expected)
        assert known.find(["not one of them"]).tolist() == [NEVER]


def test_texts_that_share_half_of_their_hash_are_told_apart(monkeypatch):
    real = seen._hashes

    def alike(found):
        high, low = real(found)
        high[:] = 7
        return high, low

    monkeypatch.setattr(seen, "_hashes", alike)
    monkeypatch.setattr(seen, "_FEW_TEXTS", 0)
    known = Seen()
    known.note(["a", "b", "c"], [1, 2, 3])
    known.note(["d"], [4])
    assert known.find(["c", "x", "a", "d", "b"]).tolist() == [3, NEVER, 1, 4, 2]
