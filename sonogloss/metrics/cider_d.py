"""CIDEr-D (Vedantam et al. 2015): tf-idf weighted n-gram agreement with the references.

Two passes: the references of all clips give document frequencies, which merge, then clips are scored with those of the
whole corpus. The corpus score is the mean of the clips'.

The weights rest on log(number of clips / document frequency). In a corpus of one clip every weight is log 1 = 0 and the
score says nothing: it is 0, as in the reference implementation, whatever the caption. With few clips it is coarse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sonogloss.metrics.ngrams import ORDER, Digests, Integers, count_ngrams, starts_of_runs
from sonogloss.metrics.overlap import Overlap
from sonogloss.metrics.sums import Numbers
from sonogloss.metrics.tokenize import Tokens

_SIGMA = 6.0  # words: how fast a difference in length is punished
_SCALE = 10.0


@dataclass(frozen=True, kw_only=True, eq=False)
class DocumentFrequencies:
    """In the references of how many clips does an n-gram occur? `DocumentFrequencies()` has seen no clip.

    Attributes:
        ngrams: digests, ascending.
        counts: clips of each.
        clips: all clips.
    """

    ngrams: Digests = field(default_factory=lambda: np.empty(0, np.uint64))
    counts: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    clips: int = 0

    def weights(self, ngrams: Digests) -> Numbers:
        """The inverse document frequency of n-grams, at least one clip; one that no clip has counts as if one had."""
        if not len(self.ngrams):
            return np.full(len(ngrams), math.log(self.clips))
        place = np.minimum(np.searchsorted(self.ngrams, ngrams), len(self.ngrams) - 1)
        counts = np.where(self.ngrams[place] == ngrams, self.counts[place], 1)
        return np.asarray(math.log(self.clips) - np.log(np.maximum(1, counts)))


def document_frequencies(
    references: Sequence[Sequence[Tokens]], clips: Sequence[int] | Integers | None = None
) -> DocumentFrequencies:
    """The document frequencies of some clips.

    Args:
        references: words of each reference, by clip.
        clips: how many clips have these references; one each by default.
    """
    times = np.ones(len(references), np.int64) if clips is None else np.asarray(clips, np.int64)
    found = count_ngrams([text for texts in references for text in texts])
    owner = np.repeat(np.arange(len(references)), [len(texts) for texts in references])
    keys = np.sort(found.ngram * max(1, len(references)) + owner[found.text])
    keys = keys[starts_of_runs(keys)]
    counts = np.bincount(keys // max(1, len(references)), times[keys % max(1, len(references))], len(found.ngrams))
    return DocumentFrequencies(ngrams=found.ngrams, counts=counts.astype(np.int64), clips=int(times.sum()))


def merge_frequencies(pieces: Sequence[DocumentFrequencies]) -> DocumentFrequencies:
    """All pieces together, in any order; they are of different clips."""
    every = np.concatenate([DocumentFrequencies().ngrams, *(piece.ngrams for piece in pieces)])
    counts = np.concatenate([DocumentFrequencies().counts, *(piece.counts for piece in pieces)])
    order = np.argsort(every)
    first = np.flatnonzero(starts_of_runs(every[order]))
    return DocumentFrequencies(
        ngrams=every[order][first],
        counts=np.add.reduceat(counts[order], first) if len(first) else counts,
        clips=sum(piece.clips for piece in pieces),
    )


def frequent(frequencies: DocumentFrequencies) -> DocumentFrequencies:
    """Without the n-grams of a single clip, which most are: they weigh as much as those that no clip has."""
    often = frequencies.counts > 1
    return DocumentFrequencies(
        ngrams=frequencies.ngrams[often], counts=frequencies.counts[often], clips=frequencies.clips
    )


def cider_d(overlap: Overlap, frequencies: DocumentFrequencies) -> Numbers:
    """The score of each clip, in [0, 10]; 1 is very good agreement.

    Args:
        overlap: captions beside their references.
        frequencies: of the whole corpus, at least these clips.
    """
    ngrams, caption = overlap.ngrams, overlap.caption[overlap.clip]
    weights = ngrams.counts * frequencies.weights(ngrams.ngrams)[ngrams.ngram]
    order = ngrams.orders[ngrams.ngram] - 1
    squares = np.bincount(ngrams.text * ORDER + order, weights**2, len(ngrams.lengths) * ORDER)
    norms = np.sqrt(squares).reshape(-1, ORDER)
    theirs = weights[overlap.other]
    clipped = np.minimum(weights[overlap.own], theirs) * theirs
    dots = np.bincount(overlap.pair * ORDER + order[overlap.own], clipped, len(caption) * ORDER).reshape(-1, ORDER)
    both = norms[caption] * norms[overlap.reference]
    cosines = np.divide(dots, both, out=np.zeros_like(both), where=both > 0)
    longer = ngrams.lengths[caption] - ngrams.lengths[overlap.reference]
    similarities = cosines.mean(axis=1) * np.exp(-(longer**2) / (2 * _SIGMA**2))
    clips = len(overlap.caption)
    return np.asarray(
        _SCALE * np.bincount(overlap.clip, similarities, clips) / np.bincount(overlap.clip, minlength=clips)
    )
