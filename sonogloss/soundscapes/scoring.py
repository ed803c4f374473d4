"""Does a caption name the right sounds, in the right order? By the words that stand for each class and for an order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sonogloss.soundscapes.classes import CLASSES, mentioned

_AFTER = re.compile(r"\bafter\b")
_THEN = re.compile(r"\b(then|before|followed by|finally)\b")


def event_counts(caption: str, names: Iterable[str]) -> tuple[int, int, int]:
    """(rightly named, wrongly named, missed) classes of one caption against the true classes of its scene."""
    said, true = mentioned(caption), frozenset(names)
    return len(said & true), len(said - true), len(true - said)


def event_f1(captions: Sequence[str], scenes: Sequence[Iterable[str]]) -> float:
    """Micro-averaged F1 in [0, 1] over all captions: 2 TP / (2 TP + FP + FN)."""
    counts = [event_counts(caption, names) for caption, names in zip(captions, scenes, strict=True)]
    right, wrong, missed = (sum(column) for column in zip(*counts, strict=True))
    return 2 * right / max(1, 2 * right + wrong + missed)


def told_order(caption: str) -> tuple[str, str] | None:
    """The two classes that a caption speaks of, the one it says came first in front.

    `a dog barks before rain falls`, `rain falling after a dog barking` and `after a dog barks, rain falls` all give
    (dog, rain). None where it tells no order (`a dog barks while rain falls`), or does not speak of two classes.
    """
    text = caption.lower()
    places = sorted((match.start(), name) for name in mentioned(text) if (match := CLASSES[name].mention.search(text)))
    if len(places) != 2:
        return None
    (start, one), (end, other) = places
    if _AFTER.search(text[start:end]):
        return other, one
    if _AFTER.search(text[:start]) or _THEN.search(text[start:end]):
        return one, other
    return None
