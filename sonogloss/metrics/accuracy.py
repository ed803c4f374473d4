"""Accuracy of tags: is the best label one of the true ones? Counts by label, which merge exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


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
