"""How varied the captions of a corpus are; none of this looks at references but the size of their vocabulary.

One statistic of all captions, which merges, gives every value: distinct-n (Li et al. 2016, "A Diversity-Promoting
Objective Function", section 5.2), the vocabulary, captions that occur more than once, and self-BLEU (Zhu et al. 2018,
"Texygen", section 3.2). Self-BLEU compares each caption with all others as its references: what BLEU asks of them is
the largest count of an n-gram in any of them, and the length that comes closest. Both can be read off the two largest
counts of each n-gram and the number of captions of each length, so the value is exact and costs one pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from sonogloss.metrics.bleu import BleuCounts, bleu
from sonogloss.metrics.ngrams import ORDER, count_ngrams
from sonogloss.metrics.tokenize import Tokens


@dataclass(frozen=True, kw_only=True)
class CaptionStatistics:
    """All captions of a corpus, counted; `CaptionStatistics()` has seen none.

    Attributes:
        largest: by n-gram (n of 1 to 4), the two largest counts that captions have of it; the second one may be 0.
        ngrams: how many 1- to 4-grams there are, each as often as it occurs.
        captions: how often a caption occurs, by its words.
        lengths: how many captions have so many words.
        reference_words: the words of the references.
    """

    largest: Mapping[Tokens, tuple[int, int]] = field(default_factory=dict)
    ngrams: tuple[int, ...] = (0,) * ORDER
    captions: Mapping[Tokens, int] = field(default_factory=dict)
    lengths: Mapping[int, int] = field(default_factory=dict)
    reference_words: Set[str] = frozenset()

    @classmethod
    def of(cls, captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]] = ()) -> CaptionStatistics:
        """The statistics of some captions.

        Args:
            captions: words of each caption.
            references: words of each reference of each caption, for the size of their vocabulary.
        """
        largest: dict[Tokens, tuple[int, int]] = {}
        ngrams = [0] * ORDER
        for caption in captions:
            for ngram, count in count_ngrams(caption).items():
                ngrams[len(ngram) - 1] += count
                largest[ngram] = _two_largest(largest.get(ngram, (0, 0)), (count, 0))
        return cls(
            largest=largest,
            ngrams=tuple(ngrams),
            captions=Counter(captions),
            lengths=Counter(map(len, captions)),
            reference_words=frozenset(word for texts in references for text in texts for word in text),
        )

    def merge(self, other: CaptionStatistics) -> CaptionStatistics:
        """Both together; associative and commutative, exactly."""
        both = self.largest.keys() & other.largest.keys()
        shared = {ngram: _two_largest(self.largest[ngram], other.largest[ngram]) for ngram in both}
        return CaptionStatistics(
            largest={**self.largest, **other.largest, **shared},
            ngrams=tuple(a + b for a, b in zip(self.ngrams, other.ngrams, strict=True)),
            captions=Counter(self.captions) + Counter(other.captions),
            lengths=Counter(self.lengths) + Counter(other.lengths),
            reference_words=self.reference_words | other.reference_words,
        )

    @property
    def clips(self) -> int:
        """How many captions there are."""
        return sum(self.lengths.values())

    def distinct(self, n: int) -> float:
        """Different n-grams per n-gram, n of 1 to 4; in [0, 1], and 0 where there is no n-gram."""
        different = sum(len(ngram) == n for ngram in self.largest)
        return different / self.ngrams[n - 1] if different else 0.0

    @property
    def vocabulary(self) -> int:
        """How many different words the captions have."""
        return sum(len(ngram) == 1 for ngram in self.largest)

    @property
    def vocabulary_ratio(self) -> float:
        """Different words of the captions per different word of the references; 0 where these have none."""
        return self.vocabulary / len(self.reference_words) if self.reference_words else 0.0

    def is_repeated(self, caption: Tokens) -> bool:
        """Does a caption of these occur more than once?"""
        return self.captions.get(caption, 0) > 1

    def self_bleu(self, caption: Tokens) -> float:
        """BLEU-4 of a caption of these against all others, in [0, 1]; at least two captions."""
        matches = [0] * ORDER
        for ngram, count in count_ngrams(caption).items():
            first, second = self.largest[ngram]
            matches[len(ngram) - 1] += min(count, second if count == first else first)
        length = len(caption)
        others = (other for other, count in self.lengths.items() if count > (other == length))
        counts = BleuCounts(
            matches=tuple(matches),
            guesses=tuple(max(0, length - n) for n in range(ORDER)),
            candidate_length=length,
            reference_length=min((abs(other - length), other) for other in others)[1],
        )
        return bleu(counts)["bleu_4"]


def repeats_ngram(caption: Tokens, n: int = 3) -> bool:
    """Does an n-gram, n of 1 to 4, occur twice in this caption? Language models that loop do that."""
    return any(len(ngram) == n and count > 1 for ngram, count in count_ngrams(caption).items())


def _two_largest(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
    first, second = sorted((*one, *two))[-1:-3:-1]
    return first, second
