"""Which of two sounds came first, by the words of a caption."""

from __future__ import annotations

import re

from sonogloss.soundscapes import CLASSES, mentioned

_AFTER = re.compile(r"\bafter\b")
_THEN = re.compile(r"\b(then|before|followed by|finally)\b")


def stated_order(caption: str) -> tuple[str, str] | None:
    """The two classes that a caption names, the earlier one first.

    `a dog barks before rain falls`, `rain falling after a dog barking` and `after a dog barks, rain falls` all give
    (dog, rain). None where the caption states no order (`a dog barks while rain falls`) or does not name two classes.
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
