"""Intervals, paired differences and the permutation test, against what they must be."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.metrics import METRICS, BleuCounts, bleu, bleu_counts
from sonogloss.metrics.bootstrap import bootstrap_interval, compare
from sonogloss.metrics.metric import Mean


def mean(numbers: np.ndarray) -> float:
    return float(numbers[0] / numbers[1])


def means(values: list[float]) -> np.ndarray:
    return np.array([Mean.of([value]).numbers for value in values])


def test_an_interval_is_that_of_the_normal_distribution_where_many_clips_make_one() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 4000)
    found = bootstrap_interval(means(list(values)), mean, resamples=4000, seed=5)
    half = 1.96 * values.std() / np.sqrt(4000)
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_one_value_has_no_spread_and_a_seed_gives_one_result() -> None:
    same = bootstrap_interval(means([0.25] * 7), mean)
    assert (same.low, same.high) == (0.25, 0.25)
    values = means(list(np.linspace(0, 1, 40) ** 2))
    assert bootstrap_interval(values, mean, seed=3) == bootstrap_interval(values, mean, seed=3)
    assert bootstrap_interval(values, mean, seed=3) != bootstrap_interval(values, mean, seed=4)


def test_p_is_the_share_of_swaps_that_differ_as_much() -> None:
    first, second = [0.1, 0.4, 0.3, 0.2, 0.6, 0.1], [0.5, 0.5, 0.2, 0.7, 0.6, 0.4]
    gains = np.subtract(second, first)
    observed = abs(gains.mean())
    exact = np.mean([abs(np.mean(gains * signs)) >= observed - 1e-12 for signs in product([-1, 1], repeat=6)])
    found = compare(means(first), means(second), mean, resamples=20_000)
    assert found.value == pytest.approx(gains.mean())
    assert found.p == pytest.approx(exact, abs=0.01)
    assert (found.wins, found.losses, found.ties) == (4, 1, 1)


def test_a_run_does_not_differ_from_itself() -> None:
    values = means([0.1, 0.7, 0.3])
    found = compare(values, values, mean, resamples=50)
    assert (found.value, found.p, found.ties) == (0.0, 1.0, 3)
    assert (found.interval.low, found.interval.high) == (0.0, 0.0)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), min_size=1, max_size=8)
        ),
        min_size=1,
        max_size=6,
    )
)
def test_the_numbers_of_bleu_add_up_to_bleu(clips: list[tuple[list[str], list[str]]]) -> None:
    counts = [bleu_counts(tuple(candidate), [tuple(reference)]) for candidate, reference in clips]
    merged = BleuCounts()
    for one in counts:
        merged = merged.merge(one)
    total = np.array([one.numbers for one in counts]).sum(axis=0)
    for name, expected in bleu(merged).items():
        value = METRICS[name].value_of_numbers
        assert value is not None
        assert value(total.tolist()) == pytest.approx(expected, abs=1e-15)
