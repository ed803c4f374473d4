"""BLEU-1 to BLEU-4 (Papineni et al. 2002) as the COCO caption evaluation computes it.

Clipped n-gram precision against all references at once, with the reference length closest to the candidate's (the
shorter one of two equally close) for the brevity penalty. A corpus score is made from summed counts and is not the mean
of the clips' scores. Two small constants keep empty counts finite, as in the reference implementation: a clip without a
common 4-gram scores about 1e-8 rather than 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sonogloss.metrics.ngrams import ORDER, count_ngrams
from sonogloss.metrics.tokenize import Tokens

_TINY = 1e-15  # in numerators
_SMALL = 1e-9  # in denominators


@dataclass(frozen=True, kw_only=True)
class BleuCounts:
    """What a clip, or any number of clips, adds to BLEU; `BleuCounts()` adds nothing.

    Attributes:
        matches: clipped matches of 1- to 4-grams.
        guesses: 1- to 4-grams of the candidates.
        candidate_length: words of the candidates.
        reference_length: words of the references whose lengths come closest.
    """

    matches: tuple[int, ...] = (0,) * ORDER
    guesses: tuple[int, ...] = (0,) * ORDER
    candidate_length: int = 0
    reference_length: int = 0

    def merge(self, other: BleuCounts) -> BleuCounts:
        """Both together; associative and commutative."""
        return BleuCounts(
            matches=tuple(a + b for a, b in zip(self.matches, other.matches, strict=True)),
            guesses=tuple(a + b for a, b in zip(self.guesses, other.guesses, strict=True)),
            candidate_length=self.candidate_length + other.candidate_length,
            reference_length=self.reference_length + other.reference_length,
        )

    @property
    def numbers(self) -> tuple[float, ...]:
        """The counts in a row; those of merged counts are their sums."""
        return (*self.matches, *self.guesses, self.candidate_length, self.reference_length)

    @classmethod
    def of_numbers(cls, numbers: Sequence[float]) -> BleuCounts:
        """The counts behind such a row, or behind a weighted sum of rows."""
        return cls(
            matches=tuple(numbers[:ORDER]),  # type: ignore[arg-type]  # weights make them floats
            guesses=tuple(numbers[ORDER : 2 * ORDER]),  # type: ignore[arg-type]
            candidate_length=numbers[-2],  # type: ignore[arg-type]
            reference_length=numbers[-1],  # type: ignore[arg-type]
        )


def bleu_counts(candidate: Tokens, references: Sequence[Tokens]) -> BleuCounts:
    """The counts of one clip.

    Args:
        candidate: words of the caption.
        references: words of each reference; at least one.
    """
    allowed: Counter[Tokens] = Counter()
    for reference in references:
        allowed |= count_ngrams(reference)
    matches = [0] * ORDER
    for ngram, count in count_ngrams(candidate).items():
        matches[len(ngram) - 1] += min(count, allowed[ngram])
    length = len(candidate)
    return BleuCounts(
        matches=tuple(matches),
        guesses=tuple(max(0, length - n) for n in range(ORDER)),
        candidate_length=length,
        reference_length=min((abs(len(r) - length), len(r)) for r in references)[1],
    )


def bleu(counts: BleuCounts) -> dict[str, float]:
    """`bleu_1` to `bleu_4`, fractions in [0, 1], of one clip's counts or of a corpus's."""
    ratio = (counts.candidate_length + _TINY) / (counts.reference_length + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product = 1.0
    scores = {}
    for n, (match, guess) in enumerate(zip(counts.matches, counts.guesses, strict=True), start=1):
        product *= (match + _TINY) / (guess + _SMALL)
        scores[f"bleu_{n}"] = product ** (1 / n) * brevity
    return scores
