"""Does a caption name the right sounds? By the words of each class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sonogloss.soundscapes.classes import mentioned


def event_counts(caption: str, names: Iterable[str]) -> tuple[int, int, int]:
    """(correct, wrong, missed) classes of one caption against the true classes of its scene."""
    found, true = mentioned(caption), frozenset(names)
    return len(found & true), len(found - true), len(true - found)


def event_f1(captions: Sequence[str], scenes: Sequence[Iterable[str]]) -> float:
    """Micro-averaged F1 in [0, 1] over all captions: 2 TP / (2 TP + FP + FN)."""
    counts = [event_counts(caption, names) for caption, names in zip(captions, scenes, strict=True)]
    correct, wrong, missed = (sum(column) for column in zip(*counts, strict=True))
    return 2 * correct / max(1, 2 * correct + wrong + missed)
