"""What a metric is made of: the clip that it sees, the statistic that it takes from it, and the mean of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal

from sonogloss.metrics.cider_d import DocumentFrequencies, cider_d
from sonogloss.metrics.diversity import CaptionStatistics
from sonogloss.metrics.tokenize import Tokens

Need = Literal[
    "captions",
    "references",
    "clap_scores",
    "meteor",
    "spice",
    "sentence_model",
    "fluency_model",
    "labels",
    "all_scores",
]
"""What must be known of the clips; some of it programs and models of others have to say."""


@dataclass(frozen=True, kw_only=True)
class ClipTexts:
    """What programs and models of others see of one clip.

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


Scorer = Callable[[Sequence[ClipTexts]], Sequence[Any]]
"""From clips to what a program or a model says of each."""


@dataclass(frozen=True, kw_only=True)
class ScoredClip:
    """What metrics of captions see of one clip.

    Attributes:
        candidate: words of the caption.
        references: words of each reference; at least one.
        frequencies: document frequencies of the whole corpus; empty unless a metric asks for them.
        captions: all captions of the corpus, counted; empty unless a metric asks for them.
        clap_score: cosine of caption and clip, if there is one.
        said: what programs and models of others say of it, by need.
    """

    candidate: Tokens
    references: Sequence[Tokens]
    frequencies: DocumentFrequencies
    captions: CaptionStatistics = field(default_factory=CaptionStatistics)
    clap_score: float | None = None
    said: Mapping[Need, Any] = field(default_factory=dict)

    @cached_property
    def cider_d(self) -> float:
        """CIDEr-D, which several metrics rest on."""
        return cider_d(self.candidate, self.references, self.frequencies)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is made.

    Attributes:
        needs: what must be known of the clips.
        value: from a statistic to the score. Metrics of tags take a :class:`~sonogloss.metrics.tags.TagStatistics`.
        statistic: from a clip to what it adds to the corpus; None where the clip lacks what is needed. Metrics of tags
            have none: their statistics are gathered for all labels at once. Neither have those of all captions
            together, whose `value` takes a :class:`~sonogloss.metrics.diversity.CaptionStatistics`.
        value_of_numbers: from a sum of the statistics' `numbers` to the score; without it there are no intervals.
        frequencies: does it need document frequencies?
        captions: does it need all captions of the corpus?
        least_clips: of a corpus for which it says something.
        low, high: the range of its values.
        higher_is_better: the direction.
    """

    needs: frozenset[Need]
    value: Callable[[Any], float]
    statistic: Callable[[ScoredClip], Any] | None = None
    value_of_numbers: Callable[[Sequence[float]], float] | None = None
    frequencies: bool = False
    captions: bool = False
    least_clips: int = 1
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = True


def mean_metric(function: Callable[[ScoredClip], float | None], *needs: Need, **properties: Any) -> Metric:
    """A metric whose value for a corpus is the mean over its clips.

    Args:
        function: the value of a clip; None where the clip lacks what is needed.
        *needs: what must be known of the clips.
        **properties: other attributes of :class:`Metric`.
    """

    def statistic(clip: ScoredClip) -> Mean | None:
        value = function(clip)
        return None if value is None else Mean.of([value])

    return Metric(
        needs=frozenset(needs),
        statistic=statistic,
        value=attrgetter("value"),
        value_of_numbers=lambda numbers: numbers[0] / numbers[1],
        **properties,
    )


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The sum and number of the values seen; `Mean()` has seen none."""

    total: Fraction = Fraction(0)
    n: int = 0

    @classmethod
    def of(cls, values: Iterable[float]) -> Mean:
        """The mean of finite values."""
        exact = [Fraction(value) for value in values]
        return cls(total=sum(exact, Fraction(0)), n=len(exact))

    def merge(self, other: Mean) -> Mean:
        """Both together; associative and commutative, exactly."""
        return Mean(total=self.total + other.total, n=self.n + other.n)

    @property
    def numbers(self) -> tuple[float, float]:
        """Sum and number; those of merged means are their sums."""
        return float(self.total), float(self.n)

    @property
    def value(self) -> float:
        """The mean; not a number when nothing was seen."""
        return float(self.total / self.n) if self.n else float("nan")
