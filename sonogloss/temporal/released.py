"""The rules of the released ZSTE scripts for tasks 2 and 5, for comparison with published numbers.

They compare words instead of classes, and accept an answer when both of its sentences are targets. Neither is what the
tasks ask, see :mod:`~sonogloss.temporal.zste`.
"""

from __future__ import annotations

from collections.abc import Sequence


def task_2_targets(labels: Sequence[str], present: Sequence[str]) -> set[int]:
    """Classes whose name is a part of a present one's: `rain` is a part of `train`."""
    return {number for number, label in enumerate(labels) if any(label in name for name in present)}


def task_5_targets(labels: Sequence[str], present: Sequence[str]) -> set[int]:
    """Classes that share one of the last two words of a present one, among the sentences with "first" only."""
    words = {word for name in present for word in name.split()[-2:]}
    return {number for number, label in enumerate(labels) if words & set(label.split()[-2:])}
