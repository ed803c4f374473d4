"""What tagged clips of a corpus add up to: from this the metrics of tags are read off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class TagStatistics:
    """Counts of the best labels, and by label the clips ranked by its score where all scores were kept."""

    counts: TagCounts
    ranked: Mapping[str, RankedClips] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Share of the clips whose best label is true."""
        return self.counts.accuracy

    @property
    def mean_average_precision(self) -> float:
        """The mean over the labels that are true of some clip."""
        return mean_average_precision(self.ranked.values())[0]


@dataclass(frozen=True, kw_only=True)
class TagCounts:
    """What tagged clips add up to; `TagCounts()` has seen none.

    Attributes:
        clips: clips seen.
        right: clips whose best label is true.
        true: by label, clips of which it is true.
        hits: by label, clips of which it is true and the best.
        named: by label, clips of which it is the best.
        confused: by (true label, best label), clips whose best label is not true.
    """

    clips: int = 0
    right: int = 0
    true: Mapping[str, int] = field(default_factory=dict)
    hits: Mapping[str, int] = field(default_factory=dict)
    named: Mapping[str, int] = field(default_factory=dict)
    confused: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, best: str | None, true: Collection[str]) -> TagCounts:
        """The counts of one clip.

        Args:
            best: its best label; None where no label was good enough, which is wrong.
            true: its true labels, at least one.
        """
        right = best in true
        return cls(
            clips=1,
            right=int(right),
            true=dict.fromkeys(true, 1),
            hits={best: 1} if best is not None and right else {},
            named={best: 1} if best is not None else {},
            confused={} if best is None or right else {(label, best): 1 for label in true},
        )

    def merge(self, other: TagCounts) -> TagCounts:
        """Both together; associative and commutative, exactly."""
        return TagCounts(
            clips=self.clips + other.clips,
            right=self.right + other.right,
            true=Counter(self.true) + Counter(other.true),
            hits=Counter(self.hits) + Counter(other.hits),
            named=Counter(self.named) + Counter(other.named),
            confused=Counter(self.confused) + Counter(other.confused),
        )

    @property
    def accuracy(self) -> float:
        """Share of the clips whose best label is true; not a number when nothing was seen."""
        return self.right / self.clips if self.clips else float("nan")

    def recall(self, label: str) -> float | None:
        """Of the clips of which the label is true, the share that has it as the best; None where there are none."""
        return self.hits.get(label, 0) / self.true[label] if self.true.get(label) else None

    def precision(self, label: str) -> float | None:
        """Of the clips that have the label as the best, the share of which it is true; None where there are none."""
        return self.hits.get(label, 0) / self.named[label] if self.named.get(label) else None

    def confusion(self, label: str) -> tuple[str, int] | None:
        """The best label most often found where this one was true and that one was not, and how often."""
        wrong = {named: count for (true, named), count in self.confused.items() if true == label}
        return min(wrong.items(), key=lambda entry: (-entry[1], entry[0])) if wrong else None


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
