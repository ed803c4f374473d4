"""How far a corpus value can be trusted: bootstrap intervals, paired differences, a permutation test.

All of them rest on one fact: a metric's statistic is a row of numbers that add up over clips, and its value for a
corpus is a function of the sum. A resampled corpus is the same rows with other weights. Document frequencies of
CIDEr-D stay those of the whole corpus. Clips are what is resampled: those of one recording count as independent.

A corpus that comes in blocks is resampled block by block: first it is drawn how many of a resampled corpus's clips
come from each block (:func:`share_draws`), then which (:func:`resample`). That is drawing from all clips at once.

Of up to 200 clips, percentiles of resampled values are too close together, most of all for skewed metrics as CIDEr-D;
there the distances of these values from that of the corpus are measured in standard errors of their own (bootstrap-t).
Where such errors vanish, as in resampled corpora of which no caption matches four words in a row, or in a corpus whose
value is the largest that there can be, percentiles remain.

Efron & Tibshirani 1993 (bootstrap-t, section 12.5; percentile intervals, chapter 13; permutation test, chapter 15).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sonogloss.metrics.ngrams import Integers
from sonogloss.metrics.sums import Numbers

Value = Callable[[Numbers], Numbers]
"""From rows of numbers [..., numbers], or sums of them, to values [...]."""

_AT_ONCE = 1 << 20  # weights
LEVEL = 0.95
FEW_CLIPS = 200
"""Up to so many clips have intervals by bootstrap-t."""
_ENDS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
_FAR = 1000.0  # standard errors: a distance that says that the error of a resampled corpus vanishes
_LITTLE = 0.1  # of the spread of resampled values: an error so small says that it vanishes for the corpus itself


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval that holds the true value in 95 % of all corpora."""

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
    sums = [weights @ clips for weights in _weights(len(clips), draws, seed)]
    return np.concatenate([np.zeros((0, clips.shape[1])), *sums])


def _weights(count: int, draws: Integers, seed: int | Sequence[int]) -> Iterator[Numbers]:
    """How often some resampled corpora have each clip, [resamples, clips]."""
    rng = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // max(1, count))
    for start in range(0, len(draws), step):
        drawn = (rng.integers(0, count, size) for size in draws[start : start + step].tolist())
        yield np.array([np.bincount(places, minlength=count) for places in drawn], np.float64)


def interval(values: Numbers) -> Interval:
    """The interval between percentiles of the values of resampled corpora."""
    low, high = np.quantile(values, _ENDS)
    return Interval(low=float(low), high=float(high))


def bootstrap_interval(
    clips: Numbers,
    value: Value,
    *,
    resamples: int = 1000,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """The interval of a corpus value: bootstrap-t where there are few clips, else between percentiles.

    Args:
        clips: the rows, [n, numbers].
        value: of a sum of them.
        resamples: how many corpora are drawn, each of n clips with replacement.
        seed: of the draws.
        bounds: the least and the largest value that there can be.
    """
    count = len(clips)
    draws = share_draws([count], resamples, seed)[:, 0]
    if count > FEW_CLIPS:
        return interval(value(resample(clips, draws, seed)))
    weights = np.concatenate(list(_weights(count, draws, seed)))
    observed, values = float(value(clips.sum(axis=0))), value(weights @ clips)
    errors, away = _errors(clips, weights, value), values - observed
    endless = np.where(away == 0, 0.0, np.copysign(2 * _FAR, away))
    distances = np.clip(np.divide(away, errors, out=endless, where=errors > 0), -2 * _FAR, 2 * _FAR)
    low_t, high_t = np.quantile(distances, _ENDS)
    error = float(_errors(clips, np.ones((1, count)), value)[0])
    if max(-low_t, high_t) >= _FAR or error < _LITTLE * values.std():
        return interval(values)
    low, high = np.clip([observed - high_t * error, observed - low_t * error], *bounds)
    return Interval(low=float(low), high=float(high))


def _errors(clips: Numbers, weights: Numbers, value: Value) -> Numbers:
    """The standard error of resampled corpora, [resamples], from their values without each of their clips (jackknife).

    Args:
        clips: the rows, [n, numbers].
        weights: how often each corpus has each clip, [resamples, n].
        value: of a sum of rows.
    """
    errors = []
    step = max(1, _AT_ONCE // clips.size)
    for some in np.split(weights, range(step, len(weights), step)):
        without = value((some @ clips)[:, None] - clips * (some > 0)[..., None])
        size = some.sum(axis=1)
        apart = without - ((some * without).sum(axis=1) / size)[:, None]
        errors.append(np.sqrt((size - 1) / size * (some * apart**2).sum(axis=1)))
    return np.concatenate(errors)


def compare(
    first: Numbers,
    second: Numbers,
    value: Value,
    *,
    resamples: int = 1000,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    tolerance: float = 1e-12,
) -> Difference:
    """The difference of two systems, clip by clip.

    Args:
        first: the statistics of one system, [n, numbers].
        second: those of the other for the same clips, in the same order.
        value: of a sum of them.
        resamples: how many corpora are drawn, and how many times captions are swapped.
        seed: of both.
        bounds: the least and the largest value that a system can have.
        tolerance: values of a clip that differ by no more are equal.
    """
    total, change = first.sum(axis=0), second - first
    observed = float(value(total + change.sum(axis=0)) - value(total))
    width, reach = first.shape[1], bounds[1] - bounds[0]
    found = bootstrap_interval(
        np.hstack([first, second]),
        lambda sums: value(sums[..., width:]) - value(sums[..., :width]),
        resamples=resamples,
        seed=seed,
        bounds=(-reach, reach),
    )
    rng = np.random.default_rng([seed, 1])
    moved = np.array([rng.integers(0, 2, len(first)).astype(np.float64) @ change for _ in range(resamples)])
    swapped = value(total + moved) - value(total + change.sum(axis=0) - moved)
    at_least = int((np.abs(swapped) >= abs(observed) - tolerance).sum())
    by_clip = value(second) - value(first)
    wins, losses = int((by_clip > tolerance).sum()), int((by_clip < -tolerance).sum())
    return Difference(
        value=observed,
        interval=found,
        p=(1 + at_least) / (1 + resamples),
        wins=wins,
        losses=losses,
        ties=len(by_clip) - wins - losses,
    )
