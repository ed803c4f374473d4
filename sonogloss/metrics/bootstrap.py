"""How far a corpus value can be trusted: bootstrap intervals, paired differences, a permutation test.

All of them rest on one fact: a metric's statistic is a vector of numbers that add up over clips, and its value for a
corpus is a function of the sum. A resampled corpus is the same vectors with other weights. Document frequencies of
CIDEr-D stay those of the whole corpus. Clips are what is resampled: those of one recording count as independent.

Efron & Tibshirani 1993 (percentile intervals, chapter 13; permutation test, chapter 15).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Value = Callable[[Numbers], float]
"""From a sum of vectors to the value of the metric."""

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


def bootstrap_interval(clips: Numbers, value: Value, *, resamples: int = 1000, seed: int = 0) -> Interval:
    """The interval of a corpus value.

    Args:
        clips: the statistics, [n, numbers].
        value: of a sum of them.
        resamples: how many corpora are drawn, each of n clips with replacement.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    return _interval([value(_weights(rng, len(clips)) @ clips) for _ in range(resamples)])


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
    rng = np.random.default_rng(seed)
    observed = value(second.sum(axis=0)) - value(first.sum(axis=0))
    differences = []
    for _ in range(resamples):
        weights = _weights(rng, len(first))
        differences.append(value(weights @ second) - value(weights @ first))
    total, change = first.sum(axis=0), second - first
    at_least = 0
    for _ in range(resamples):
        moved = rng.integers(0, 2, len(first)).astype(np.float64) @ change
        swapped = value(total + moved) - value(total + change.sum(axis=0) - moved)
        at_least += abs(swapped) >= abs(observed) - tolerance
    by_clip = np.array([value(two) - value(one) for one, two in zip(first, second, strict=True)])
    wins, losses = int((by_clip > tolerance).sum()), int((by_clip < -tolerance).sum())
    return Difference(
        value=observed,
        interval=_interval(differences),
        p=(1 + at_least) / (1 + resamples),
        wins=wins,
        losses=losses,
        ties=len(by_clip) - wins - losses,
    )


def _weights(rng: np.random.Generator, count: int) -> Numbers:
    """How often each clip is drawn when as many as there are come back."""
    return np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)


def _interval(values: list[float]) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high))
