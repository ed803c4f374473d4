"""Intervals, paired differences and the permutation test, against what they must be."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.metrics.bootstrap import FEW_CLIPS, bootstrap_interval, compare, resample, share_draws
from sonogloss.metrics.sums import mean
from sonogloss.metrics.sums import of_values as means


def test_an_interval_is_that_of_the_normal_distribution_where_many_clips_make_one() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 4000)
    found = bootstrap_interval(means(values), mean, resamples=4000, seed=5)
    half = 1.96 * values.std() / np.sqrt(4000)
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_an_interval_of_few_clips_is_that_of_students_t() -> None:
    values = np.random.default_rng(4).normal(0.5, 0.1, 20)
    found = bootstrap_interval(means(values), mean, resamples=20_000)
    half = 2.093 * values.std(ddof=1) / np.sqrt(20)  # of 19 degrees of freedom
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_an_interval_of_skewed_clips_reaches_farther_to_the_side_that_they_may_have_missed() -> None:
    values = means([0.0] * 8 + [0.2] * 8 + [3.0])
    found = bootstrap_interval(values, mean)
    middle = values[:, 0].mean()
    assert found.high - middle > 2 * (middle - found.low)
    assert bootstrap_interval(values, mean, bounds=(0.0, 0.4)).high == 0.4


@pytest.mark.parametrize("clips", [2, 5, FEW_CLIPS, FEW_CLIPS + 1])
def test_an_interval_holds_the_value_of_its_corpus(clips: int) -> None:
    rng = np.random.default_rng(clips)
    rows = np.stack([rng.integers(0, 3, clips), rng.integers(3, 9, clips)], axis=1).astype(np.float64)
    found = bootstrap_interval(rows, mean, bounds=(0.0, 1.0))
    assert 0 <= found.low <= mean(rows.sum(axis=0)) <= found.high <= 1


def test_a_value_at_its_limit_is_not_certain() -> None:
    """Of captions long enough together, none is missed so badly that the corpus shows it; other corpora would."""
    words = np.array([[30.0, 11.0], [2.0, 11.0], [4.0, 11.0], [9.0, 11.0]])  # of a caption, and of its reference

    def brevity(sums: np.ndarray) -> np.ndarray:
        return np.minimum(1, np.exp(1 - sums[..., 1] / np.maximum(sums[..., 0], 1e-9)))

    found = bootstrap_interval(words[:1].repeat(4, axis=0), brevity)
    assert (found.low, found.high) == (1, 1)
    found = bootstrap_interval(np.concatenate([words, [[60.0, 11.0]] * 2]), brevity)
    assert brevity(np.concatenate([words, [[60.0, 11.0]] * 2]).sum(axis=0)) == 1
    assert found.low < 0.9


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


def test_blocks_are_resampled_as_one_corpus_is() -> None:
    """Mean and spread over resampled corpora do not depend on how clips are cut into blocks."""
    clips = np.random.default_rng(0).gamma(1.0, 1.0, (60, 1))
    draws = share_draws([10, 30, 20], 20_000, seed=1)
    assert set(draws.sum(axis=1).tolist()) == {60}
    blocks = np.split(clips, [10, 40])
    cut = sum(resample(block, draws[:, number], [1, number]) for number, block in enumerate(blocks))
    whole = resample(clips, share_draws([60], 20_000, seed=2)[:, 0], 2)
    assert cut.mean() == pytest.approx(whole.mean(), rel=0.005)
    assert cut.std() == pytest.approx(whole.std(), rel=0.03)
    assert resample(clips[:0], np.zeros(3, np.int64), 0).tolist() == [[0], [0], [0]]


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_rows_of_a_mean_add_up_to_it(one: list[float], two: list[float]) -> None:
    total = means(one).sum(axis=0) + means(two).sum(axis=0)
    assert mean(total) == pytest.approx(np.mean([*one, *two]))
    assert np.isnan(mean(np.zeros(2)))
