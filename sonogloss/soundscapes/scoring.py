"""Does a caption name the right sounds? Event precision, recall and F1 by the words that stand for each class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sonogloss.soundscapes.classes import mentioned


def event_counts(caption: str, names: Iterable[str]) -> tuple[int, int, int]:
    """(rightly named, wrongly named, missed) classes of one caption against the true classes of its scene."""
    said, true = mentioned(caption), frozenset(names)
    return len(said & true), len(said - true), len(true - said)


def event_f1(captions: Sequence[str], scenes: Sequence[Iterable[str]]) -> float:
    """Micro-averaged F1 in [0, 1] over all captions: 2 TP / (2 TP + FP + FN)."""
    counts = [event_counts(caption, names) for caption, names in zip(captions, scenes, strict=True)]
    right, wrong, missed = (sum(column) for column in zip(*counts, strict=True))
    return 2 * right / max(1, 2 * right + wrong + missed)
