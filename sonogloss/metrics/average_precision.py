"""Average precision of one label's scores over a corpus, and its mean over labels (mAP, macro).

AP is the sum of precision times gain in recall over the thresholds that scores give, as scikit-learn computes it:
clips of equal score cross the threshold together. It needs all scores of a label at once, so what merges is the list of
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class RankedClips:
    """Scores of one label, and whether it is true, of clips in any order; `RankedClips()` has seen none."""

    scores: tuple[float, ...] = ()
    true: tuple[bool, ...] = ()

    def merge(self, other: RankedClips) -> RankedClips:
        """Both together; the average precision does not depend on the order."""
        return RankedClips(scores=self.scores + other.scores, true=self.true + other.true)

    @property
    def average_precision(self) -> float | None:
        """In [0, 1]; None where the label is true of no clip."""
        return average_precision(self.scores, self.true)


def average_precision(scores: Sequence[float], true: Sequence[bool]) -> float | None:
    """Average precision of scores [n] with the truth [n]; None where nothing is true.

    Example:
        >>> average_precision([0.9, 0.8, 0.7], [True, False, True])
        0.8333333333333333
    """
    truth = np.asarray(true, dtype=bool)
    if not truth.any():
        return None
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(truth[order])
    # The last clip of each run of equal scores is where a threshold lies.
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)
    recall = hits[ends] / truth.sum()
    precision = hits[ends] / (ends + 1)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def mean_average_precision(labels: Iterable[RankedClips]) -> tuple[float, int]:
    """The mean over the labels that are true of some clip, and how many these are; not a number for none."""
    values = [value for label in labels if (value := label.average_precision) is not None]
    return (float(np.mean(values)) if values else float("nan")), len(values)
