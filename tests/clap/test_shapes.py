from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sonogloss.clap.shapes import FEWEST_ROWS, batches, padded_length


@given(count=st.integers(0, 100), largest=st.integers(FEWEST_ROWS, 40))
def test_every_row_is_in_one_call_and_no_call_is_small_or_large(count: int, largest: int) -> None:
    calls = list(batches(range(count), largest))
    assert list(dict.fromkeys(row for call in calls for row in call)) == list(range(count))
    assert sum(len(set(call)) for call in calls) == count
    assert all(FEWEST_ROWS <= len(call) <= largest for call in calls)
    assert len(calls) == -(-count // largest)


@given(tokens=st.integers(1, 600), longest=st.integers(1, 600))
def test_a_length_follows_from_the_text_and_fits_the_model(tokens: int, longest: int) -> None:
    length = padded_length(min(tokens, longest), longest)
    assert min(tokens, longest) <= length <= longest
    assert length == longest or length % 2 == 0
