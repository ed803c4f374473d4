from __future__ import annotations

import math
import random
from fractions import Fraction
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from sonogloss.metrics import Mean

numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(numbers, min_size=1), st.integers(0, 99), st.integers(1, 5))
def test_the_mean_is_exact_whatever_the_pieces_and_their_order(values: list[float], seed: int, size: int) -> None:
    expected = float(sum(map(Fraction, values)) / len(values))
    random.Random(seed).shuffle(values)
    pieces = [Mean.of(values[start : start + size]) for start in range(0, len(values), size)]
    mean = reduce(Mean.merge, pieces, Mean())
    assert mean.value == expected
    assert mean.n == len(values)
    assert mean == Mean.of(values)


@given(numbers)
def test_the_mean_of_one_value_is_that_value(value: float) -> None:
    assert Mean.of([value]).value == value


def test_sums_that_floats_lose_are_kept() -> None:
    """Summed as floats, the one would vanish beside the large numbers, in one order and not in the other."""
    assert Mean.of([1e16, 1.0, -1e16]).value == 1 / 3
    assert math.isnan(Mean().value)
