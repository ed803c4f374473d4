"""The metrics there are: what each needs, how it is made, where its values lie.

A metric is made of numbers that add up: each clip gives a row of them, and `value` reads the score off the row of a
clip or off the sum of the rows of a corpus. A new metric is its function in a file of its own and an entry in
:data:`METRICS`; its name is the one that aac-metrics gives it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sonogloss.metrics.bleu import bleu, bleu_counts
from sonogloss.metrics.diversity import CaptionStatistics, repeats_ngram
from sonogloss.metrics.meteor import meteor
from sonogloss.metrics.metric import ClipBatch, Metric, Need, mean_metric
from sonogloss.metrics.ngrams import ORDER
from sonogloss.metrics.rouge_l import rouge_l
from sonogloss.metrics.sums import Numbers, mean

_PENALTY = 0.9  # what a fluency error costs


def _bleu_counts(clips: ClipBatch) -> Numbers:
    return bleu_counts(clips.overlap)


def _rouge_l(clips: ClipBatch) -> list[float]:
    return [rouge_l(clip.words, clip.reference_words) for clip in clips.texts]


def _spider(clips: ClipBatch) -> Numbers:
    """SPIDEr (Liu et al. 2017, section 3): the mean of CIDEr-D and SPICE."""
    return (clips.cider_d + clips.said["spice"]) / 2


def _fluent(clips: ClipBatch, values: Numbers) -> Numbers:
    """Values, a tenth of them where the caption has a fluency error (Zhou et al. 2022, section 3.3)."""
    return values * (1 - _PENALTY * clips.said["fluency_model"])


def _of_captions(value: Callable[[CaptionStatistics], float], *needs: Need, high: float = 1.0) -> Metric:
    """A metric of all captions together."""
    return Metric(needs=frozenset(["captions", *needs]), value=value, captions=True, high=high)


METRICS: dict[str, Metric] = {
    **{
        f"bleu_{order}": Metric(needs=frozenset(["references"]), numbers=_bleu_counts, value=partial(bleu, order=order))
        for order in range(1, ORDER + 1)
    },
    "rouge_l": mean_metric(_rouge_l, "references"),
    "meteor": Metric(
        needs=frozenset(["references", "meteor"]), numbers=lambda clips: clips.said["meteor"], value=meteor
    ),
    "cider_d": mean_metric(
        lambda clips: clips.cider_d,
        "references",
        frequencies=True,
        least_clips=2,  # every weight of a corpus of one clip is log 1 = 0
        high=10.0,
    ),
    "spice": mean_metric(lambda clips: clips.said["spice"], "references", "spice"),
    "spider": mean_metric(_spider, "references", "spice", frequencies=True, least_clips=2, high=5.5),
    "sbert_sim": mean_metric(lambda clips: clips.said["sentence_model"], "references", "sentence_model", low=-1.0),
    "fer": mean_metric(lambda clips: clips.said["fluency_model"], "captions", "fluency_model", higher_is_better=False),
    "fense": mean_metric(
        lambda clips: _fluent(clips, clips.said["sentence_model"]),
        "references",
        "sentence_model",
        "fluency_model",
        low=-1.0,
    ),
    "spider_fl": mean_metric(
        lambda clips: _fluent(clips, _spider(clips)),
        "references",
        "spice",
        "fluency_model",
        frequencies=True,
        least_clips=2,
        high=5.5,
    ),
    "mace": mean_metric(lambda clips: clips.said["mace"], "references", "mace", low=-1.0),
    # The cosine of a caption and its clip needs no references, but favors captions that the same CLAP retrieved or
    # chose: to be compared between runs with that CLAP only.
    "clap_sim": mean_metric(lambda clips: clips.clap_scores, "clap_scores", low=-1.0),
    "distinct_1": _of_captions(lambda captions: captions.distinct(1)),
    "distinct_2": _of_captions(lambda captions: captions.distinct(2)),
    "self_bleu_4": mean_metric(
        lambda clips: clips.captions.self_bleu(clips.ngrams),
        "captions",
        captions=True,
        least_clips=2,
        higher_is_better=False,
    ),
    "repeated_captions": mean_metric(
        lambda clips: clips.captions.repeated(clips.words), "captions", captions=True, higher_is_better=False
    ),
    "repeated_trigrams": mean_metric(lambda clips: repeats_ngram(clips.ngrams), "captions", higher_is_better=False),
    "novel_trigrams": Metric(
        needs=frozenset(["captions", "datastore"]), numbers=lambda clips: clips.said["datastore"], value=mean
    ),
    "vocab.cands": _of_captions(lambda captions: captions.vocabulary, high=float("inf")),
    "vocab.mrefs_full": _of_captions(lambda captions: captions.reference_vocabulary, "references", high=float("inf")),
    "vocab.ratio_full": _of_captions(lambda captions: captions.vocabulary_ratio, "references", high=float("inf")),
    "accuracy": Metric(needs=frozenset(["labels"]), value=lambda tags: tags.accuracy),
    "map": Metric(needs=frozenset(["labels", "all_scores"]), value=lambda tags: tags.mean_average_precision),
}
