"""The table of an evaluation: a row a task, setting and metric, with chance level and confidence interval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonogloss.temporal.zste import RETRIEVAL, Item

RESAMPLES = 2000
CUT = 10  # of the mean average precision
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """One number over `n` items; `low` and `high` bound the middle 95 % of its bootstrap distribution."""

    task: str
    setting: str
    metric: str
    value: float
    low: float
    high: float
    chance: float
    n: int


def in_order(items: Iterable[Item]) -> list[Item]:
    """Items by task, setting and id."""
    return sorted(items, key=lambda item: (item.task, item.setting, item.item))


def summarise(items: Iterable[Item], *, seed: int = 0) -> list[SummaryRow]:
    """The table of an evaluation, in order of task and setting.

    Intervals are percentiles over resampled items. Items that share a clip are taken as independent, so for few clips
    in many pairs the intervals are somewhat too narrow.
    """
    groups: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in in_order(items):
        groups[item.task, item.setting].append(item)
    rows: list[SummaryRow] = []
    for (task, setting), members in groups.items():
        measured = _retrieval(members) if task == RETRIEVAL else _accuracy(members)
        for metric, values, statistic, chance in measured:
            low, high = _interval(values, statistic, np.random.default_rng([seed, len(rows)]))
            rows.append(
                SummaryRow(
                    task=task,
                    setting=setting,
                    metric=metric,
                    value=float(statistic(values[None])[0]),
                    low=low,
                    high=high,
                    chance=chance,
                    n=len(members),
                )
            )
    return rows


_Statistic = Callable[[Numbers], Numbers]
_Measured = Iterator[tuple[str, Numbers, _Statistic, float]]


def _mean(values: Numbers) -> Numbers:
    return np.asarray(values.mean(axis=1))


def _median(values: Numbers) -> Numbers:
    return np.asarray(np.median(values, axis=1))


def _accuracy(items: Sequence[Item]) -> _Measured:
    chance = float(np.mean([item.chance for item in items if item.chance is not None]))
    yield "accuracy", np.array([float(bool(item.correct)) for item in items]), _mean, chance


def _retrieval(items: Sequence[Item]) -> _Measured:
    ranks = np.array([item.rank for item in items], np.float64)
    texts = items[0].candidates
    for cut in (1, 5, 10):
        yield f"r@{cut}", (ranks <= cut).astype(np.float64), _mean, min(1.0, cut / texts)
    yield "mean_rank", ranks, _mean, (texts + 1) / 2
    yield "median_rank", ranks, _median, (texts + 1) / 2
    guessed = sum(1 / place for place in range(1, min(CUT, texts) + 1)) / texts
    yield f"map@{CUT}", np.where(ranks <= CUT, 1 / ranks, 0.0), _mean, guessed


def _interval(values: Numbers, statistic: _Statistic, rng: np.random.Generator) -> tuple[float, float]:
    if statistic is _mean and np.isin(values, (0.0, 1.0)).all():
        # The number of ones in a resample of zeros and ones is binomial, so the resample itself is not needed.
        resampled = rng.binomial(len(values), values.mean(), RESAMPLES) / len(values)
    else:
        block = max(1, 1_000_000 // len(values))
        sizes = [min(block, RESAMPLES - start) for start in range(0, RESAMPLES, block)]
        resampled = np.concatenate(
            [statistic(values[rng.integers(len(values), size=(size, len(values)))]) for size in sizes]
        )
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)
