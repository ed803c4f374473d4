"""CIDEr-D (Vedantam et al. 2015): tf-idf weighted n-gram agreement with the references.

Two passes: the references of all clips give document frequencies (:func:`document_frequencies`, which merge), then each
clip is scored with those of the whole corpus. The corpus score is the mean of the clips'.

The weights rest on log(number of clips / document frequency). In a corpus of one clip every weight is log 1 = 0 and the
score says nothing: it is 0, as in the reference implementation, whatever the caption. With few clips it is coarse.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sonogloss.metrics.ngrams import ORDER, count_ngrams
from sonogloss.metrics.tokenize import Tokens

_SIGMA = 6.0  # words: how fast a difference in length is punished
_SCALE = 10.0


@dataclass(frozen=True, kw_only=True)
class DocumentFrequencies:
    """In the references of how many clips does an n-gram occur? `DocumentFrequencies()` has seen no clip."""

    counts: Mapping[Tokens, int] = field(default_factory=dict)
    clips: int = 0

    def merge(self, other: DocumentFrequencies) -> DocumentFrequencies:
        """Both together; associative and commutative."""
        return DocumentFrequencies(counts=Counter(self.counts) + Counter(other.counts), clips=self.clips + other.clips)


def document_frequencies(clips: Sequence[Sequence[Tokens]]) -> DocumentFrequencies:
    """The document frequencies of some clips, each given by the words of its references."""
    counts: Counter[Tokens] = Counter()
    for references in clips:
        counts.update({ngram for reference in references for ngram in count_ngrams(reference)})
    return DocumentFrequencies(counts=counts, clips=len(clips))


def cider_d(candidate: Tokens, references: Sequence[Tokens], frequencies: DocumentFrequencies) -> float:
    """The score of one clip, in [0, 10]; 1 is very good agreement.

    Args:
        candidate: words of the caption.
        references: words of each reference; at least one.
        frequencies: of the whole corpus, at least this clip.
    """
    weighted = _Weighted(candidate, frequencies)
    total = sum(weighted.similarity(_Weighted(reference, frequencies)) for reference in references)
    return _SCALE * total / len(references)


class _Weighted:
    """The tf-idf vectors of one text, one for each n-gram length."""

    def __init__(self, tokens: Tokens, frequencies: DocumentFrequencies) -> None:
        self.length = len(tokens)
        self.vectors: list[dict[Tokens, float]] = [{} for _ in range(ORDER)]
        log_clips = math.log(frequencies.clips)
        for ngram, count in count_ngrams(tokens).items():
            idf = log_clips - math.log(max(1, frequencies.counts.get(ngram, 0)))
            self.vectors[len(ngram) - 1][ngram] = count * idf
        self.norms = [math.sqrt(sum(w * w for w in vector.values())) for vector in self.vectors]

    def similarity(self, reference: _Weighted) -> float:
        """Mean over n of the clipped cosine, times a Gaussian of the difference in length."""
        total = 0.0
        for n in range(ORDER):
            theirs = reference.vectors[n]
            if norm := self.norms[n] * reference.norms[n]:
                shared = ((w, theirs[ngram]) for ngram, w in self.vectors[n].items() if ngram in theirs)
                total += sum(min(w, their) * their for w, their in shared) / norm
        return total / ORDER * math.exp(-((self.length - reference.length) ** 2) / (2 * _SIGMA**2))
