"""Novel trigrams: runs of three words in captions that no caption of a datastore has.

A captioner that retrieves may copy: the share is 0 where every three words in a row stand in some caption that it could
have read, and 1 where none do. Trigrams are compared by the digests of :mod:`sonogloss.metrics.ngrams`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sonogloss.metrics.metric import ClipTexts
from sonogloss.metrics.ngrams import Digests, count_ngrams
from sonogloss.metrics.sums import Numbers
from sonogloss.metrics.tokenize import tokenize

_WORDS = 3


def known_trigrams(blocks: Iterable[Sequence[str]], tokenizer: str) -> Digests:
    """The different trigrams of captions, ascending.

    Args:
        blocks: of captions.
        tokenizer: see :func:`sonogloss.metrics.tokenize.tokenize`.
    """
    found = [np.empty(0, np.uint64)]
    for texts in blocks:
        ngrams = count_ngrams(tokenize(texts, tokenizer))
        found.append(ngrams.ngrams[ngrams.orders == _WORDS])
    return np.unique(np.concatenate(found))


def novel_trigrams(clips: Sequence[ClipTexts], known: Digests) -> Numbers:
    """How many trigrams of each caption are not known, and how many it has, [clips, 2]."""
    ngrams = count_ngrams([clip.words for clip in clips])
    new = ~np.isin(ngrams.ngrams, known)[ngrams.ngram]
    trigrams = np.where(ngrams.orders[ngrams.ngram] == _WORDS, ngrams.counts, 0)
    return np.stack([np.bincount(ngrams.text, own, len(clips)) for own in (trigrams * new, trigrams)], axis=-1)
