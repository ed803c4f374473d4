"""ROUGE-L (Lin 2004) as the COCO caption evaluation computes it; the corpus score is the mean of the clips'."""

from __future__ import annotations

from collections.abc import Sequence

from sonogloss.metrics.tokenize import Tokens

_BETA_SQUARED = 1.2**2


def rouge_l(candidate: Tokens, references: Sequence[Tokens]) -> float:
    """F-measure of the longest common subsequence, a fraction in [0, 1].

    Precision and recall are each the best over the references, which may be different ones, and recall weighs more
    (beta = 1.2). A caption without words scores 0, even against a reference without words.

    Args:
        candidate: words of the caption.
        references: words of each reference; at least one.
    """
    places: dict[str, int] = {}  # by word, a bit for each place where the caption has it
    for number, word in enumerate(candidate):
        places[word] = places.get(word, 0) | 1 << number
    common = [_longest_common_subsequence(places, len(candidate), reference) for reference in references]
    if not candidate or not any(common):
        return 0.0
    precision = max(common) / len(candidate)
    recall = max(c / len(reference) for c, reference in zip(common, references, strict=True) if reference)
    return (1 + _BETA_SQUARED) * precision * recall / (recall + _BETA_SQUARED * precision)


def _longest_common_subsequence(places: dict[str, int], length: int, other: Tokens) -> int:
    """Hyyrö 2004, "Bit-parallel LCS-length computation revisited": a row of the table is the bits of one number."""
    row = every = (1 << length) - 1
    for word in other:
        if matches := row & places.get(word, 0):
            row = ((row + matches) | (row - matches)) & every
    return length - row.bit_count()
