"""The n-grams that captions share with their references, for all clips of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sonogloss.metrics.ngrams import Integers, NGrams, count_ngrams
from sonogloss.metrics.tokenize import Tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlap:
    """Captions, each beside each of its references.

    Attributes:
        ngrams: of all texts, every different one once.
        caption: the text of each clip's caption, [clips].
        clip: the clip of each pair, ascending, [pairs].
        reference: the text of each pair's reference, [pairs].
        pair: the pair of each shared n-gram, [shared].
        own: its entry in the caption, a place in the entries of `ngrams`, [shared].
        other: its entry in the reference, [shared].
    """

    ngrams: NGrams
    caption: Integers
    clip: Integers
    reference: Integers
    pair: Integers
    own: Integers
    other: Integers


def find_overlap(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> Overlap:
    """Compare each caption with its references.

    Args:
        captions: words of each caption.
        references: words of each of its references; at least one.
    """
    places: dict[Tokens, int] = {}
    for text in captions:
        places.setdefault(text, len(places))
    for texts in references:
        for text in texts:
            places.setdefault(text, len(places))
    ngrams = count_ngrams(list(places))
    caption = np.array([places[text] for text in captions], np.int64)
    reference = np.array([places[text] for texts in references for text in texts], np.int64)
    clip = np.repeat(np.arange(len(captions)), [len(texts) for texts in references])
    pair, own = ngrams.entries_of(caption[clip])
    wanted = reference[pair] * len(ngrams.ngrams) + ngrams.ngram[own]
    other = np.minimum(np.searchsorted(ngrams.keys, wanted), len(ngrams.keys) - 1)
    shared = ngrams.keys[other] == wanted
    return Overlap(
        ngrams=ngrams,
        caption=caption,
        clip=clip,
        reference=reference,
        pair=pair[shared],
        own=own[shared],
        other=other[shared],
    )
