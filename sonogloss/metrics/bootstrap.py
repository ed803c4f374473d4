"""How far a corpus value can be trusted: bootstrap intervals, paired differences, a permutation test.

All of them rest on one fact: a metric's statistic is a row of numbers that add up over clips, and its value for a
corpus is a function of the sum. A resampled corpus is the same rows with other weights. Document frequencies of
CIDEr-D stay those of the whole corpus. Clips are what is resampled: those of one recording count as independent.

A corpus that comes in blocks is resampled block by block: first it is drawn how many of a resampled corpus's clips
come from each block (:func:`share_draws`), then which (:func:`resample`). That is drawing from all clips at once.

Efron & Tibshirani 1993 (percentile intervals, chapter 13; permutation test, chapter 15).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sonogloss.metrics.ngrams import Integers
from sonogloss.metrics.sums import Numbers

Value = Callable[[Numbers], Numbers]
"""From rows of numbers [..., numbers], or sums of them, to values [...]."""

_AT_ONCE = 1 << 20  # weights
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A percentile interval of 95 %: the value lies between `low` and `high` in 95 % of the resampled corpora."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two systems on the same clips.

    Attributes:
        value: the second one's value minus the first one's.
        interval: of the difference; clips are resampled for both at once.
        p: of a difference at least as large, in either direction, if each clip's two captions were swapped by chance.
        wins: clips whose own value is higher for the second.
        losses: clips whose own value is lower.
        ties: clips whose values are equal.
    """

    value: float
    interval: Interval
    p: float
    wins: int
    losses: int
    ties: int


def share_draws(sizes: Sequence[int], resamples: int, seed: int) -> Integers:
    """How many clips of each resampled corpus come from each block, [resamples, blocks].

    Args:
        sizes: clips of each block.
        resamples: how many corpora are drawn, each of as many clips as there are, with replacement.
        seed: of the draws.
    """
    clips = sum(sizes)
    if len(sizes) == 1 or not clips:
        return np.full((resamples, len(sizes)), clips, np.int64)
    return np.random.default_rng(seed).multinomial(clips, np.divide(sizes, clips), resamples)


def resample(clips: Numbers, draws: Integers, seed: int | Sequence[int]) -> Numbers:
    """The sums of resampled corpora, [resamples, numbers].

    Args:
        clips: the rows of a block, [n, numbers].
        draws: how many of its clips each corpus has, [resamples].
        seed: of this block.
    """
    rng = np.random.default_rng(seed)
    count = len(clips)
    sums = [np.zeros((0, clips.shape[1]))]
    step = max(1, _AT_ONCE // max(1, count))
    for start in range(0, len(draws), step):
        drawn = (rng.integers(0, count, size) for size in draws[start : start + step].tolist())
        weights = np.array([np.bincount(places, minlength=count) for places in drawn], np.float64)
        sums.append(weights @ clips)
    return np.concatenate(sums)


def interval(values: Numbers) -> Interval:
    """The interval of the values of resampled corpora."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high))


def bootstrap_interval(clips: Numbers, value: Value, *, resamples: int = 1000, seed: int = 0) -> Interval:
    """The interval of a corpus value.

    Args:
        clips: the rows, [n, numbers].
        value: of a sum of them.
        resamples: how many corpora are drawn, each of n clips with replacement.
        seed: of the draws.
    """
    return interval(value(resample(clips, share_draws([len(clips)], resamples, seed)[:, 0], seed)))


def compare(
    first: Numbers, second: Numbers, value: Value, *, resamples: int = 1000, seed: int = 0, tolerance: float = 1e-12
) -> Difference:
    """The difference of two systems, clip by clip.

    Args:
        first: the statistics of one system, [n, numbers].
        second: those of the other for the same clips, in the same order.
        value: of a sum of them.
        resamples: how many corpora are drawn, and how many times captions are swapped.
        seed: of both.
        tolerance: values of a clip that differ by no more are equal.
    """
    total, change = first.sum(axis=0), second - first
    observed = float(value(total + change.sum(axis=0)) - value(total))
    sums = resample(np.hstack([first, second]), np.full(resamples, len(first)), seed)
    differences = value(sums[:, first.shape[1] :]) - value(sums[:, : first.shape[1]])
    rng = np.random.default_rng([seed, 1])
    moved = np.array([rng.integers(0, 2, len(first)).astype(np.float64) @ change for _ in range(resamples)])
    swapped = value(total + moved) - value(total + change.sum(axis=0) - moved)
    at_least = int((np.abs(swapped) >= abs(observed) - tolerance).sum())
    by_clip = value(second) - value(first)
    wins, losses = int((by_clip > tolerance).sum()), int((by_clip < -tolerance).sum())
    return Difference(
        value=observed,
        interval=interval(differences),
        p=(1 + at_least) / (1 + resamples),
        wins=wins,
        losses=losses,
        ties=len(by_clip) - wins - losses,
    )
