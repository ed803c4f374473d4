"""BLEU-1 to BLEU-4 (Papineni et al. 2002) as the COCO caption evaluation computes it.

Clipped n-gram precision against all references at once, with the reference length closest to the candidate's (the
shorter one of two equally close) for the brevity penalty. A corpus score is made from summed counts and is not the mean
of the clips' scores. Two small constants keep empty counts finite, as in the reference implementation: a clip without a
common 4-gram scores about 1e-8 rather than 0.
"""

from __future__ import annotations

import numpy as np

from sonogloss.metrics.ngrams import ORDER, Integers, starts_of_runs
from sonogloss.metrics.overlap import Overlap
from sonogloss.metrics.sums import Numbers

_TINY = 1e-15  # in numerators
_SMALL = 1e-9  # in denominators


def bleu_counts(overlap: Overlap) -> Numbers:
    """What each clip adds, [clips, 10].

    Clipped matches of 1- to 4-grams, 1- to 4-grams of the caption, its words, and those of the reference whose length
    comes closest.
    """
    ngrams, clips = overlap.ngrams, len(overlap.caption)
    length = ngrams.lengths[overlap.caption]
    return np.column_stack(
        [
            _matches(overlap),
            np.maximum(0, length[:, None] - np.arange(ORDER)),
            length,
            _closest(ngrams.lengths[overlap.reference], length[overlap.clip], overlap.clip, clips),
        ]
    ).astype(np.float64)


def _matches(overlap: Overlap) -> Integers:
    """Of each n-gram of a caption, as often as the reference that has it most often allows."""
    ngrams, width, clips = overlap.ngrams, len(overlap.ngrams.ngrams), len(overlap.caption)
    ngram = ngrams.ngram[overlap.own]
    matched = np.minimum(ngrams.counts[overlap.own], ngrams.counts[overlap.other])
    order = np.lexsort((matched, overlap.clip[overlap.pair] * width + ngram))
    keys = (overlap.clip[overlap.pair] * width + ngram)[order]
    last = np.append(starts_of_runs(keys)[1:], np.ones(min(1, len(keys)), bool))
    cells = (keys // max(1, width) * ORDER + ngrams.orders[keys % max(1, width)] - 1)[last]
    return np.bincount(cells, matched[order][last], clips * ORDER).reshape(clips, ORDER).astype(np.int64)


def _closest(lengths: Integers, own: Integers, clip: Integers, clips: int) -> Integers:
    """The length of each clip's references that comes closest to the caption's."""
    far = int(max(lengths.max(initial=0), own.max(initial=0))) + 1
    best = np.minimum.reduceat(np.abs(lengths - own) * far + lengths, np.searchsorted(clip, np.arange(clips)))
    return np.asarray(best % far)


def bleu(counts: Numbers, order: int) -> Numbers:
    """BLEU of an order from 1 to 4, in [0, 1], of counts [..., 10]: those of clips, or summed ones."""
    matches, guesses, lengths = counts[..., :order], counts[..., ORDER : ORDER + order], counts[..., -2:]
    ratio = (lengths[..., 0] + _TINY) / (lengths[..., 1] + _SMALL)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    product = np.prod((matches + _TINY) / (guesses + _SMALL), axis=-1)
    return np.asarray(product ** (1 / order) * brevity)
