"""What a metric is made of: the clips that it sees, and what it takes from each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from sonogloss.metrics.cider_d import DocumentFrequencies, cider_d
from sonogloss.metrics.diversity import CaptionStatistics
from sonogloss.metrics.ngrams import NGrams, count_ngrams
from sonogloss.metrics.overlap import Overlap, find_overlap
from sonogloss.metrics.sums import Numbers, mean, of_values
from sonogloss.metrics.tokenize import Tokens

Need = Literal[
    "captions",
    "references",
    "clap_scores",
    "meteor",
    "spice",
    "sentence_model",
    "fluency_model",
    "datastore",
    "mace",
    "labels",
    "all_scores",
]
"""What must be known of the clips; some of it programs and models of others have to say."""


@dataclass(frozen=True, kw_only=True)
class ClipTexts:
    """The texts of one clip.

    Attributes:
        caption: as it was written.
        references: as they were written; at least one.
        words: of the caption.
        reference_words: of each reference.
    """

    caption: str
    references: Sequence[str]
    words: Tokens
    reference_words: Sequence[Tokens]


Scorer = Callable[[Sequence[ClipTexts]], Numbers]
"""From clips to what a program or a model says of each, [clips] or [clips, numbers]."""


@dataclass(frozen=True, kw_only=True)
class ClipBatch:
    """What metrics of captions see of some clips.

    Attributes:
        texts: of each clip.
        frequencies: document frequencies of the whole corpus; empty unless a metric asks for them.
        captions: all captions of the corpus, counted; empty unless a metric asks for them.
        clap_scores: cosine of caption and clip, [clips]; not a number where there is none.
        said: what programs and models of others say of them, by need.
    """

    texts: Sequence[ClipTexts]
    frequencies: DocumentFrequencies
    captions: CaptionStatistics = field(default_factory=CaptionStatistics)
    clap_scores: Numbers | None = None
    said: Mapping[Need, Numbers] = field(default_factory=dict)

    @cached_property
    def words(self) -> list[Tokens]:
        """Of each caption."""
        return [clip.words for clip in self.texts]

    @cached_property
    def ngrams(self) -> NGrams:
        """Of each caption."""
        return count_ngrams(self.words)

    @cached_property
    def overlap(self) -> Overlap:
        """Captions beside their references."""
        return find_overlap(self.words, [clip.reference_words for clip in self.texts])

    @cached_property
    def cider_d(self) -> Numbers:
        """CIDEr-D, which several metrics rest on."""
        return cider_d(self.overlap, self.frequencies)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is made.

    Attributes:
        needs: what must be known of the clips.
        value: from rows of numbers [..., numbers], or sums of rows, to scores [...]. Metrics of tags take a
            :class:`~sonogloss.metrics.tags.TagStatistics`, and those of all captions together a
            :class:`~sonogloss.metrics.diversity.CaptionStatistics`: these two kinds have no `numbers`.
        numbers: from clips to what each adds to the corpus, [clips, numbers]; not a number where a clip lacks what is
            needed.
        frequencies: does it need document frequencies?
        captions: does it need all captions of the corpus?
        least_clips: of a corpus for which it says something.
        low, high: the range of its values.
        higher_is_better: the direction.
    """

    needs: frozenset[Need]
    value: Callable[[Any], Any]
    numbers: Callable[[ClipBatch], Numbers] | None = None
    frequencies: bool = False
    captions: bool = False
    least_clips: int = 1
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = True


def mean_metric(function: Callable[[ClipBatch], Any], *needs: Need, **properties: Any) -> Metric:
    """A metric whose value for a corpus is the mean over its clips.

    Args:
        function: the values of clips, [clips]; not a number where a clip lacks what is needed.
        *needs: what must be known of the clips.
        **properties: other attributes of :class:`Metric`.
    """
    return Metric(needs=frozenset(needs), numbers=lambda clips: of_values(function(clips)), value=mean, **properties)
