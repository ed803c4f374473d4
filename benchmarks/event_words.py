"""Which sounds a caption names: keywords of a vocabulary all of whose words it has, whatever their endings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from sonogloss.metrics.sums import Numbers
from sonogloss.records import FloatArray
from sonogloss.tagging.texts import stem, stems

_LINKS = {"and", "or", "of", "a", "an", "the", "in", "on", "other"}


class EventWords:
    """Finds the keywords of a vocabulary in texts.

    Args:
        keywords: of one word or several; brackets and words such as `and` are left out.
    """

    def __init__(self, keywords: Iterable[str]) -> None:
        self._needed = {
            keyword: frozenset(stem(word) for word in _words(keyword) if word not in _LINKS) for keyword in keywords
        }

    def of(self, text: str) -> set[str]:
        """The keywords that a text has."""
        words = frozenset(stems(text))
        return {keyword for keyword, needed in self._needed.items() if needed and needed <= words}

    def counts(self, caption: str, references: Sequence[str]) -> tuple[int, int, int]:
        """Keywords named rightly, named wrongly, and missed.

        Right is what two references have, or the only one.
        """
        said = Counter(keyword for reference in references for keyword in self.of(reference))
        true = {keyword for keyword, number in said.items() if number >= min(2, len(references))}
        named = self.of(caption)
        return len(named & true), len(named - true), len(true - named)

    def numbers(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> Numbers:
        """:meth:`counts` of every clip, [clips, 3]."""
        return np.array([self.counts(*pair) for pair in zip(captions, references, strict=True)], float)


def f1(sums: FloatArray) -> FloatArray:
    """The F1 of sums of counts [..., 3]; 0 where nothing is named and nothing true."""
    right = 2 * sums[..., 0]
    return right / np.maximum(right + sums[..., 1] + sums[..., 2], 1)


def _words(keyword: str) -> list[str]:
    return re.findall(r"[^\W_]+", re.sub(r"\(.*?\)", " ", keyword.lower().replace("_", " ")))
