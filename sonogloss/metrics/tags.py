"""What tagged clips of a corpus add up to: from this the metrics of tags are read off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sonogloss.metrics.accuracy import TagCounts
from sonogloss.metrics.average_precision import RankedClips, mean_average_precision


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
