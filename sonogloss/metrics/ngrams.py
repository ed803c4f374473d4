"""N-grams of many texts at once, counted: the common ground of BLEU, CIDEr-D and diversity.

An n-gram is a 64-bit digest of its words, so that corpora of any size are arrays of numbers. Among six million
different n-grams the chance that any two share a digest is one in a million.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from sonogloss.metrics.tokenize import Tokens

ORDER = 4

Digests = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

_RANGES = 32
_MOST_WORDS = 1 << 20
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, kw_only=True, eq=False)
class NGrams:
    """How often each text has each run of 1 to 4 words.

    Attributes:
        lengths: words of each text, [texts].
        ngrams: digests of the different n-grams, ascending, [n-grams].
        orders: words of each of them, 1 to 4, [n-grams].
        keys: `text * n-grams + n-gram` of what there is, ascending, [entries].
        counts: how often the text has it, [entries].
    """

    lengths: Integers
    ngrams: Digests
    orders: Integers
    keys: Integers
    counts: Integers

    @cached_property
    def text(self) -> Integers:
        """The text of each entry."""
        return self.keys // max(1, len(self.ngrams))

    @cached_property
    def ngram(self) -> Integers:
        """The n-gram of each entry, a place in `ngrams`."""
        return self.keys % max(1, len(self.ngrams))

    def entries_of(self, texts: Integers) -> tuple[Integers, Integers]:
        """Entries of some texts: for each the place in `texts`, and the place in `keys`."""
        width = len(self.ngrams)
        starts = np.searchsorted(self.keys, texts * width)
        lengths = np.searchsorted(self.keys, (texts + 1) * width) - starts
        before = np.cumsum(lengths) - lengths
        places = np.repeat(np.arange(len(texts)), lengths)
        return places, np.arange(len(places)) + (starts - before)[places]


def count_ngrams(texts: Sequence[Tokens]) -> NGrams:
    """Count the n-grams of some texts."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    found = digest_words([word for text in texts for word in text])
    text = np.repeat(np.arange(len(texts)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(found))  # words from here to the end of the text
    runs, digests, owners = found, [found], [text]
    for order in range(2, ORDER + 1):
        runs = _mix(runs[:-1] * _FACTOR + found[order - 1 :])
        inside = left[: len(runs)] >= order
        digests.append(runs[inside])
        owners.append(text[: len(runs)][inside])
    orders = np.repeat(np.arange(1, ORDER + 1), [len(each) for each in digests])
    every = np.concatenate(digests)
    ascending = np.argsort(every)
    new = starts_of_runs(every[ascending])
    places = np.empty(len(every), np.int64)
    places[ascending] = np.cumsum(new) - 1
    ngrams = every[ascending][new]
    keys = np.sort(np.concatenate(owners) * len(ngrams) + places)
    first = np.flatnonzero(starts_of_runs(keys))
    return NGrams(
        lengths=lengths,
        ngrams=ngrams,
        orders=orders[ascending][new],
        keys=keys[first],
        counts=np.diff(first, append=len(keys)),
    )


def digest_words(words: Sequence[str]) -> Digests:
    """A number a word, the same on every machine."""
    if len(_words) > _MOST_WORDS:
        _words.clear()
    return np.fromiter(map(_words.__getitem__, words), np.uint64, len(words))


def digest_texts(texts: Sequence[Tokens]) -> Digests:
    """A number a text."""
    return digest_words(["\0".join((*text, "")) for text in texts])


def starts_of_runs(ordered: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Where a value differs from the one before."""
    return np.concatenate([np.ones(min(1, len(ordered)), bool), ordered[1:] != ordered[:-1]])


def cut_ranges(digests: Digests) -> list[slice]:
    """Cut ascending digests at the same values everywhere: merged a range at a time, pieces need little memory."""
    bounds = np.arange(1, _RANGES, dtype=np.uint64) * np.uint64((1 << 64) // _RANGES)
    return [slice(*ends) for ends in pairwise([0, *np.searchsorted(digests, bounds).tolist(), len(digests)])]


class _Words(dict[str, int]):
    def __missing__(self, word: str) -> int:
        digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[word] = found = int.from_bytes(digest, "little")
        return found


_words = _Words()


def _mix(values: Digests) -> Digests:
    """The finalizer of splitmix64 (Steele et al. 2014): every bit depends on every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
