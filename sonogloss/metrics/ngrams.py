"""Count the n-grams of a caption: the common ground of BLEU and CIDEr-D."""

from __future__ import annotations

from collections import Counter

from sonogloss.metrics.tokenize import Tokens

ORDER = 4


def count_ngrams(tokens: Tokens) -> Counter[Tokens]:
    """How often each run of 1 to 4 words occurs, in order of first occurrence, short runs first."""
    return Counter(tokens[i : i + n] for n in range(1, ORDER + 1) for i in range(len(tokens) - n + 1))
