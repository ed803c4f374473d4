"""The metrics there are: what each needs, how it is made, where its values lie.

A metric is made of statistics that merge: a clip gives one, and `value` reads the score off the statistic of a clip or
off the merged ones of a corpus. A new metric is its function in a file of its own and an entry in :data:`METRICS`; its
name is the one that aac-metrics gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter

from sonogloss.metrics.bleu import BleuCounts, bleu, bleu_counts
from sonogloss.metrics.diversity import CaptionStatistics, repeats_ngram
from sonogloss.metrics.meteor import meteor
from sonogloss.metrics.metric import Metric, Need, ScoredClip, mean_metric
from sonogloss.metrics.ngrams import ORDER
from sonogloss.metrics.rouge_l import rouge_l

_PENALTY = 0.9  # what a fluency error costs


def _bleu_counts(clip: ScoredClip) -> BleuCounts:
    return bleu_counts(clip.candidate, clip.references)


def _bleu(name: str, counts: BleuCounts) -> float:
    return bleu(counts)[name]


def _bleu_of_numbers(name: str, numbers: Sequence[float]) -> float:
    return _bleu(name, BleuCounts.of_numbers(numbers))


def _spider(clip: ScoredClip) -> float | None:
    """SPIDEr (Liu et al. 2017, section 3): the mean of CIDEr-D and SPICE."""
    spice = clip.said.get("spice")
    return None if spice is None else (clip.cider_d + float(spice)) / 2


def _fluent(clip: ScoredClip, value: float | None) -> float | None:
    """A value, a tenth of it where the caption has a fluency error (Zhou et al. 2022, section 3.3)."""
    error = clip.said.get("fluency_model")
    return None if value is None or error is None else value * (1 - _PENALTY * float(error))


def _of_captions(value: Callable[[CaptionStatistics], float], *needs: Need, high: float = 1.0) -> Metric:
    """A metric of all captions together."""
    return Metric(needs=frozenset(["captions", *needs]), value=value, captions=True, high=high)


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
    "rouge_l": mean_metric(lambda clip: rouge_l(clip.candidate, clip.references), "references"),
    "meteor": Metric(
        needs=frozenset(["references", "meteor"]),
        statistic=lambda clip: clip.said.get("meteor"),
        value=attrgetter("value"),
        value_of_numbers=meteor,
    ),
    "cider_d": mean_metric(
        attrgetter("cider_d"),
        "references",
        frequencies=True,
        least_clips=2,  # every weight of a corpus of one clip is log 1 = 0
        high=10.0,
    ),
    "spice": mean_metric(lambda clip: clip.said.get("spice"), "references", "spice"),
    "spider": mean_metric(_spider, "references", "spice", frequencies=True, least_clips=2, high=5.5),
    "sbert_sim": mean_metric(lambda clip: clip.said.get("sentence_model"), "references", "sentence_model", low=-1.0),
    "fer": mean_metric(
        lambda clip: clip.said.get("fluency_model"), "captions", "fluency_model", higher_is_better=False
    ),
    "fense": mean_metric(
        lambda clip: _fluent(clip, clip.said.get("sentence_model")),
        "references",
        "sentence_model",
        "fluency_model",
        low=-1.0,
    ),
    "spider_fl": mean_metric(
        lambda clip: _fluent(clip, _spider(clip)),
        "references",
        "spice",
        "fluency_model",
        frequencies=True,
        least_clips=2,
        high=5.5,
    ),
    # The cosine of a caption and its clip needs no references, but favors captions that the same CLAP retrieved or
    # chose: to be compared between runs with that CLAP only.
    "clap_sim": mean_metric(lambda clip: clip.clap_score, "clap_scores", low=-1.0),
    "distinct_1": _of_captions(lambda captions: captions.distinct(1)),
    "distinct_2": _of_captions(lambda captions: captions.distinct(2)),
    "self_bleu_4": mean_metric(
        lambda clip: clip.captions.self_bleu(clip.candidate),
        "captions",
        captions=True,
        least_clips=2,
        higher_is_better=False,
    ),
    "repeated_captions": mean_metric(
        lambda clip: float(clip.captions.is_repeated(clip.candidate)), "captions", captions=True, higher_is_better=False
    ),
    "repeated_trigrams": mean_metric(
        lambda clip: float(repeats_ngram(clip.candidate)), "captions", higher_is_better=False
    ),
    "vocab.cands": _of_captions(lambda captions: captions.vocabulary, high=float("inf")),
    "vocab.mrefs_full": _of_captions(lambda captions: len(captions.reference_words), "references", high=float("inf")),
    "vocab.ratio_full": _of_captions(lambda captions: captions.vocabulary_ratio, "references", high=float("inf")),
    "accuracy": Metric(needs=frozenset(["labels"]), value=attrgetter("accuracy")),
    "map": Metric(needs=frozenset(["labels", "all_scores"]), value=attrgetter("mean_average_precision")),
}
