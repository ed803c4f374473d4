"""Which answers the released ZSTE scripts accept in tasks 2 and 5, for comparison with published numbers.

They look for targets by comparing words and not classes, and count an answer as right when both of its sentences are
targets. Neither is what the tasks ask; see :mod:`~sonogloss.temporal.zste` for what is.
"""

from __future__ import annotations

from collections.abc import Sequence


def task_2_targets(labels: Sequence[str], heard: Sequence[str]) -> set[int]:
    """Classes whose name is found inside a heard one's: `rain` is found in `train`."""
    return {number for number, label in enumerate(labels) if any(label in name for name in heard)}


def task_5_targets(labels: Sequence[str], heard: Sequence[str]) -> set[int]:
    """Classes that share one of a heard class's words, in the half of the sentences that says "first" only."""
    words = {word for name in heard for word in name.split()[-2:]}
    return {number for number, label in enumerate(labels) if words & set(label.split()[-2:])}
