"""How varied the captions of a corpus are; none of this looks at references but the size of their vocabulary.

One statistic of all captions, which merges, gives every value: distinct-n (Li et al. 2016, "A Diversity-Promoting
Objective Function", section 5.2), the vocabulary, captions that occur more than once, and self-BLEU (Zhu et al. 2018,
"Texygen", section 3.2). Self-BLEU compares each caption with all others as its references: what BLEU asks of them is
the largest count of an n-gram in any of them, and the length that comes closest. Both can be read off the two largest
counts of each n-gram and the number of captions of each length, so the value is exact and costs one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from sonogloss.metrics.bleu import bleu
from sonogloss.metrics.ngrams import (
    ORDER,
    Digests,
    Integers,
    NGrams,
    count_ngrams,
    digest_texts,
    digest_words,
    starts_of_runs,
)
from sonogloss.metrics.sums import Numbers
from sonogloss.metrics.tokenize import Tokens

_WORD_OF_REFERENCE, _CAPTION, _LENGTH = 5, 6, 7  # kinds beside n-grams of 1 to 4 words


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionStatistics:
    """All captions of a corpus, counted; `CaptionStatistics()` has seen none.

    Attributes:
        digests: of what is counted, ascending; of a length, the length itself.
        kinds: 1 to 4 for n-grams of captions, 5 for words of references, 6 for captions, 7 for lengths of captions.
        counts: how often each occurs.
        largest: the largest count that a single caption has of it, or of what its kind counts.
        second: the second largest one, or 0.
    """

    digests: Digests = field(default_factory=lambda: np.empty(0, np.uint64))
    kinds: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    counts: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    largest: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    second: Integers = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def of(cls, captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]] = ()) -> CaptionStatistics:
        """The statistics of some captions.

        Args:
            captions: words of each caption.
            references: words of each reference of each caption, for the size of their vocabulary.
        """
        ngrams = count_ngrams(captions)
        words = digest_words(sorted({word for texts in references for text in texts for word in text}))
        of_kinds = [
            (ngrams.ngrams[ngrams.ngram], ngrams.orders[ngrams.ngram], ngrams.counts),
            (words, np.full(len(words), _WORD_OF_REFERENCE), np.ones(len(words), np.int64)),
            (digest_texts(captions), np.full(len(captions), _CAPTION), np.ones(len(captions), np.int64)),
            (ngrams.lengths.astype(np.uint64), np.full(len(captions), _LENGTH), np.ones(len(captions), np.int64)),
        ]
        digests, kinds, counts = (np.concatenate(columns) for columns in zip(*of_kinds, strict=True))
        return _grouped(digests, kinds, counts, counts, np.zeros_like(counts))

    @property
    def clips(self) -> int:
        """How many captions there are."""
        return int(self.counts[self.kinds == _LENGTH].sum())

    def distinct(self, n: int) -> float:
        """Different n-grams per n-gram, n of 1 to 4; in [0, 1], and 0 where there is no n-gram."""
        counts = self.counts[self.kinds == n]
        return len(counts) / float(counts.sum()) if len(counts) else 0.0

    @property
    def vocabulary(self) -> int:
        """How many different words the captions have."""
        return int((self.kinds == 1).sum())

    @property
    def reference_vocabulary(self) -> int:
        """How many different words the references have."""
        return int((self.kinds == _WORD_OF_REFERENCE).sum())

    @property
    def vocabulary_ratio(self) -> float:
        """Different words of the captions per different word of the references; 0 where these have none."""
        return self.vocabulary / self.reference_vocabulary if self.reference_vocabulary else 0.0

    def repeated(self, captions: Sequence[Tokens]) -> Numbers:
        """1 for each of these captions that occurs more than once, else 0."""
        places = self._find(digest_texts(captions), np.array(_CAPTION))
        return np.asarray(self.counts[places] > 1, np.float64)

    def self_bleu(self, captions: NGrams) -> Numbers:
        """BLEU-4 of captions of these against all others, in [0, 1]; at least two captions."""
        places = self._find(captions.ngrams, captions.orders)[captions.ngram]
        largest, second = self.largest[places], self.second[places]
        matched = np.minimum(captions.counts, np.where(captions.counts == largest, second, largest))
        cells = captions.text * ORDER + captions.orders[captions.ngram] - 1
        matches = np.bincount(cells, matched, len(captions.lengths) * ORDER).reshape(-1, ORDER)
        guesses = np.maximum(0, captions.lengths[:, None] - np.arange(ORDER))
        return bleu(np.column_stack([matches, guesses, captions.lengths, self._closest(captions.lengths)]), ORDER)

    def _closest(self, lengths: Integers) -> Integers:
        """The length of another caption that comes closest, the shorter one of two."""
        there = self.kinds == _LENGTH
        known, counts = self.digests[there].astype(np.int64), self.counts[there]
        closest = {}
        for length in np.unique(lengths).tolist():
            others = known[(counts > 1) | (known != length)]
            closest[length] = int(others[np.lexsort((others, np.abs(others - length)))[0]])
        return np.array([closest[length] for length in lengths.tolist()], np.int64)

    def _find(self, digests: Digests, kinds: Integers) -> Integers:
        """The places of entries that are all there; equal digests of different kinds stand side by side."""
        places = np.searchsorted(self.digests, digests)
        while (wrong := self.kinds[places] != kinds).any():
            places = places + wrong
        return places


_NOTHING = CaptionStatistics()


def merge_statistics(pieces: Sequence[CaptionStatistics]) -> CaptionStatistics:
    """All pieces together, in any order."""
    names = [field.name for field in fields(CaptionStatistics)]
    return _grouped(*(np.concatenate([getattr(piece, name) for piece in (_NOTHING, *pieces)]) for name in names))


def _grouped(
    digests: Digests, kinds: Integers, counts: Integers, largest: Integers, second: Integers
) -> CaptionStatistics:
    """Equal entries as one: counts are summed, and of the largest counts the two largest stay."""
    order = np.lexsort((-largest, kinds, digests))
    digests, kinds, largest = digests[order], kinds[order], largest[order]
    new = starts_of_runs(digests) | starts_of_runs(kinds)
    first = np.flatnonzero(new)
    if not len(first):
        return _NOTHING
    runner_up = np.where(np.append(new, True)[first + 1], 0, np.append(largest, 0)[first + 1])
    return CaptionStatistics(
        digests=digests[first],
        kinds=kinds[first],
        counts=np.add.reduceat(counts[order], first),
        largest=largest[first],
        second=np.maximum(runner_up, np.maximum.reduceat(second[order], first)),
    )


def repeats_ngram(captions: NGrams, n: int = 3) -> Numbers:
    """1 for each caption in which an n-gram, n of 1 to 4, occurs twice, else 0; language models that loop do that."""
    twice = (captions.counts > 1) & (captions.orders[captions.ngram] == n)
    return np.asarray(np.bincount(captions.text[twice], minlength=len(captions.lengths)) > 0, np.float64)
