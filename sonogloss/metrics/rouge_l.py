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
    common = [_longest_common_subsequence(candidate, reference) for reference in references]
    if not candidate or not any(common):
        return 0.0
    precision = max(common) / len(candidate)
    recall = max(c / len(reference) for c, reference in zip(common, references, strict=True) if reference)
    return (1 + _BETA_SQUARED) * precision * recall / (recall + _BETA_SQUARED * precision)


def _longest_common_subsequence(first: Tokens, second: Tokens) -> int:
    lengths = [0] * (len(second) + 1)  # lengths[j]: of the words of `first` so far, and the first j of `second`
    for word in first:
        diagonal = 0
        for j, other in enumerate(second, start=1):
            above = lengths[j]
            lengths[j] = diagonal + 1 if word == other else max(above, lengths[j - 1])
            diagonal = above
    return lengths[-1]
