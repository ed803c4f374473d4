"""The metrics there are: what each needs, how it is made, where its values lie.

A metric is made of statistics that merge: a clip gives one, and `value` reads the score off the statistic of a clip or
off the merged ones of a corpus. A new metric is its function in a file of its own and an entry in :data:`METRICS`; its
name is the one that aac-metrics gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from operator import attrgetter
from typing import Any, Literal

from sonogloss.errors import OptionError, unknown
from sonogloss.metrics.bleu import BleuCounts, bleu, bleu_counts
from sonogloss.metrics.cider_d import DocumentFrequencies, cider_d
from sonogloss.metrics.ngrams import ORDER
from sonogloss.metrics.rouge_l import rouge_l
from sonogloss.metrics.tokenize import Tokens

Need = Literal["references", "clap_scores", "labels", "all_scores"]

# What a metric that lacks its need is answered with.
_NEEDS: dict[Need, tuple[str, str]] = {
    "references": ("reference captions", "Evaluate captions, or leave it out."),
    "clap_scores": ("the CLAP scores of the captions", "Evaluate a results directory, or leave it out."),
    "labels": ("labels", "Evaluate what classify wrote, or leave it out."),
    "all_scores": ("the scores of all labels, which this run did not keep", "Run classify with --all-scores."),
}


@dataclass(frozen=True, kw_only=True)
class ScoredClip:
    """What metrics of captions see of one clip.

    Attributes:
        candidate: words of the caption.
        references: words of each reference; at least one.
        frequencies: document frequencies of the whole corpus; empty unless a metric asks for them.
        clap_score: cosine of caption and clip, if there is one.
    """

    candidate: Tokens
    references: Sequence[Tokens]
    frequencies: DocumentFrequencies
    clap_score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How a metric is made.

    Attributes:
        needs: what must be known of the clips.
        value: from a statistic to the score. Metrics of tags take a :class:`~sonogloss.metrics.tags.TagStatistics`.
        statistic: from a clip to what it adds to the corpus; None where the clip lacks what is needed. Metrics of tags
            have none: their statistics are gathered for all labels at once.
        value_of_numbers: from a sum of the statistics' `numbers` to the score.
        frequencies: does it need document frequencies?
        least_clips: of a corpus for which it says something.
        low, high: the range of its values.
        higher_is_better: the direction.
    """

    needs: frozenset[Need]
    value: Callable[[Any], float]
    statistic: Callable[[ScoredClip], Any] | None = None
    value_of_numbers: Callable[[Sequence[float]], float] | None = None
    frequencies: bool = False
    least_clips: int = 1
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = True


def _mean(function: Callable[[ScoredClip], float | None], *needs: Need, **properties: Any) -> Metric:
    """A metric whose value for a corpus is the mean over its clips."""

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


def _bleu_counts(clip: ScoredClip) -> BleuCounts:
    return bleu_counts(clip.candidate, clip.references)


def _bleu(name: str, counts: BleuCounts) -> float:
    return bleu(counts)[name]


def _bleu_of_numbers(name: str, numbers: Sequence[float]) -> float:
    return _bleu(name, BleuCounts.of_numbers(numbers))


_BLEU = [f"bleu_{order}" for order in range(1, ORDER + 1)]

METRICS: dict[str, Metric] = {
    **{
        name: Metric(
            needs=frozenset(["references"]),
            statistic=_bleu_counts,
            value=partial(_bleu, name),
            value_of_numbers=partial(_bleu_of_numbers, name),
        )
        for name in _BLEU
    },
    "rouge_l": _mean(lambda clip: rouge_l(clip.candidate, clip.references), "references"),
    "cider_d": _mean(
        lambda clip: cider_d(clip.candidate, clip.references, clip.frequencies),
        "references",
        frequencies=True,
        least_clips=2,  # every weight of a corpus of one clip is log 1 = 0
        high=10.0,
    ),
    # The cosine of a caption and its clip needs no references, but favors captions that the same CLAP retrieved or
    # chose: to be compared between runs with that CLAP only.
    "clap_sim": _mean(lambda clip: clip.clap_score, "clap_scores", low=-1.0),
    "accuracy": Metric(needs=frozenset(["labels"]), value=attrgetter("accuracy")),
    "map": Metric(needs=frozenset(["labels", "all_scores"]), value=attrgetter("mean_average_precision")),
}


def metrics_with(available: Collection[Need]) -> tuple[str, ...]:
    """The metrics that need no more than this."""
    return tuple(name for name, metric in METRICS.items() if metric.needs <= set(available))


REFERENCE_METRICS = metrics_with({"references"})


def check_metrics(metrics: str | Sequence[str] | None, available: Collection[Need]) -> tuple[str, ...]:
    """The metrics asked for, each once; where None are, all that can be had.

    Args:
        metrics: names out of :data:`METRICS`, as a list or separated by commas.
        available: what is known of the clips.

    Raises:
        OptionError: one is unknown or needs something else, or the list is empty.
    """
    possible = metrics_with(available)
    if metrics is None:
        return possible
    entries = [metrics] if isinstance(metrics, str) else metrics
    asked = dict.fromkeys(name.strip() for entry in entries for name in entry.split(",") if name.strip())
    if not asked:
        raise OptionError("No metric is asked for.", f"Choose from {', '.join(possible)}.")
    for name in asked:
        if name not in METRICS:
            raise unknown("metric", name, possible)
        for need, (words, remedy) in _NEEDS.items():
            if need in METRICS[name].needs and need not in available:
                raise OptionError(f"The metric {name} needs {words}.", remedy)
    return tuple(asked)


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
