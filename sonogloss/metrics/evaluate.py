"""From captions and references to metric rows: pure, and in pieces that merge.

The pieces, for whoever gathers a corpus block by block: document frequencies of all references first, and statistics of
all captions where a metric asks for them (both merge); then :func:`score_clips` of each block, which needs nothing but
these; then the :class:`CorpusSums` of the blocks (they merge) and :func:`corpus_rows`. :func:`evaluate` does just that
with one block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sonogloss.errors import InputError
from sonogloss.metrics.bootstrap import FEW_CLIPS, Interval, bootstrap_interval, interval, resample
from sonogloss.metrics.cider_d import DocumentFrequencies, document_frequencies
from sonogloss.metrics.diversity import CaptionStatistics
from sonogloss.metrics.metric import ClipBatch, ClipTexts, Metric, Need, Scorer
from sonogloss.metrics.ngrams import Integers
from sonogloss.metrics.registry import METRICS
from sonogloss.metrics.selection import REFERENCE_METRICS, check_metrics
from sonogloss.metrics.sums import Numbers
from sonogloss.metrics.tokenize import tokenize
from sonogloss.records import MetricRow

_NO_CAPTIONS = CaptionStatistics()


@dataclass(frozen=True, kw_only=True, eq=False)
class CorpusSum:
    """What clips add to one metric of a corpus.

    Attributes:
        total: the sum of their rows, [numbers].
        clips: how many have the metric.
        resampled: the same sum in resampled corpora, [resamples, numbers].
        rows: of the clips, where they are few: intervals need more than sums then. Else none of them.
    """

    total: Numbers
    clips: int
    resampled: Numbers
    rows: Numbers

    def merge(self, other: CorpusSum) -> CorpusSum:
        """Both together; associative, and commutative but for rounding and the order of rows."""
        few = len(self.rows) * len(other.rows) > 0 and len(self.rows) + len(other.rows) <= FEW_CLIPS
        return CorpusSum(
            total=self.total + other.total,
            clips=self.clips + other.clips,
            resampled=self.resampled + other.resampled,
            rows=np.concatenate([self.rows, other.rows]) if few else self.rows[:0],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """The result of :func:`evaluate`.

    Attributes:
        corpus: one row a metric, in the order asked for.
        keys: those that have both a caption and references, in the captions' order.
        numbers: by metric, what each of them adds to the corpus, [keys, numbers].
        without_references: keys that were captioned but have no references; they are not in `keys`.
        without_caption: keys that have references but were not captioned.
    """

    corpus: list[MetricRow]
    keys: list[str]
    numbers: Mapping[str, Numbers]
    without_references: list[str]
    without_caption: list[str]

    @property
    def clips(self) -> dict[str, dict[str, float]]:
        """Metric values by key; a metric that a clip lacks is left out."""
        values = {name: value.tolist() for name, value in clip_values(self.numbers).items()}
        return {
            key: {name: column[place] for name, column in values.items() if column[place] == column[place]}
            for place, key in enumerate(self.keys)
        }


def needs_frequencies(metrics: Sequence[str]) -> bool:
    """Does one of these metrics need the document frequencies of the corpus?"""
    return any(METRICS[name].frequencies for name in metrics)


def needs_captions(metrics: Sequence[str]) -> bool:
    """Does one of these metrics need all captions of the corpus?"""
    return any(METRICS[name].captions for name in metrics)


def clip_texts(captions: Sequence[str], references: Sequence[Sequence[str]], tokenizer: str) -> list[ClipTexts]:
    """Clips with their words.

    Args:
        captions: of each clip.
        references: of each clip; at least one.
        tokenizer: see :func:`sonogloss.metrics.tokenize.tokenize`.
    """
    distinct = list(dict.fromkeys([*captions, *(text for texts in references for text in texts)]))
    words = dict(zip(distinct, tokenize(distinct, tokenizer), strict=True))
    return [
        ClipTexts(
            caption=caption, references=texts, words=words[caption], reference_words=[words[text] for text in texts]
        )
        for caption, texts in zip(captions, references, strict=True)
    ]


def score_clips(
    texts: Sequence[ClipTexts],
    *,
    metrics: Sequence[str],
    frequencies: DocumentFrequencies,
    captions: CaptionStatistics = _NO_CAPTIONS,
    clap_scores: Numbers | None = None,
    scorers: Mapping[Need, Scorer] | None = None,
) -> dict[str, Numbers]:
    """What each clip adds to the corpus, by metric, [clips, numbers]; metrics of all captions together have none.

    Args:
        texts: of each clip.
        metrics: names out of :data:`~sonogloss.metrics.registry.METRICS`.
        frequencies: document frequencies of the whole corpus, for cider_d.
        captions: all captions of the corpus, for metrics that compare a caption with the others.
        clap_scores: cosine of caption and clip, for clap_sim, [clips]; not a number where there is none.
        scorers: programs and models of others, as :func:`sonogloss.metrics.scorers.find_scorers` gives them.
    """
    needed = {need for name in metrics for need in METRICS[name].needs}
    batch = ClipBatch(
        texts=texts,
        frequencies=frequencies,
        captions=captions,
        clap_scores=clap_scores,
        said={need: scorer(texts) for need, scorer in (scorers or {}).items() if need in needed},
    )
    functions = {name: METRICS[name].numbers for name in metrics}
    # BLEU's four metrics share a function.
    found = {function: function(batch) for function in functions.values() if function is not None}
    return {name: found[function] for name, function in functions.items() if function is not None}


def sum_clips(
    numbers: Mapping[str, Numbers], draws: Integers | None = None, seed: int | Sequence[int] = 0
) -> dict[str, CorpusSum]:
    """What clips add to the corpus, by metric.

    Args:
        numbers: rows of clips, as :func:`score_clips` gives them.
        draws: how many of these clips each resampled corpus has, [resamples]; without it there are none.
        seed: of the draws.
    """
    if not numbers:
        return {}
    distinct = {id(rows): rows for rows in numbers.values()}  # BLEU's four share one
    ends = np.cumsum([0, *(rows.shape[1] for rows in distinct.values())])
    columns = {key: slice(*cut) for key, cut in zip(distinct, pairwise(ends.tolist()), strict=True)}
    known = np.nan_to_num(np.hstack(list(distinct.values())))
    resampled = resample(known, np.empty(0, np.int64) if draws is None else draws, seed)
    return {
        name: CorpusSum(
            total=known[:, columns[id(rows)]].sum(axis=0),
            clips=int((~np.isnan(rows[:, 0])).sum()),
            resampled=resampled[:, columns[id(rows)]],
            rows=known[: len(known) if len(known) <= FEW_CLIPS else 0, columns[id(rows)]],
        )
        for name, rows in numbers.items()
    }


def clip_values(numbers: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """The values of clips by metric, [clips]; not a number where a clip lacks the metric."""
    return {name: METRICS[name].value(rows) for name, rows in numbers.items()}


def corpus_rows(
    sums: Mapping[str, CorpusSum], *, metrics: Sequence[str], captions: CaptionStatistics = _NO_CAPTIONS, seed: int = 0
) -> list[MetricRow]:
    """The corpus's metric rows, with intervals where corpora were resampled; a metric that no clip has is left out.

    Args:
        sums: of all clips, by metric.
        metrics: names, in the order of the rows.
        captions: all captions of the corpus, for metrics of them together.
        seed: of the resampling of few clips.
    """
    rows = []
    for name in metrics:
        metric = METRICS[name]
        if metric.numbers is None and captions.clips:
            rows.append(MetricRow(metric=name, value=float(metric.value(captions)), n=captions.clips))
        elif name in sums and sums[name].clips:
            found = sums[name]
            # Resampled, a corpus of one clip is itself: its interval would be a point that nothing vouches for.
            resampled = len(found.resampled) and found.clips > 1
            ends = vars(_interval(found, metric, seed)) if resampled else {}
            rows.append(MetricRow(metric=name, value=float(metric.value(found.total)), n=found.clips, **ends))
    return rows


def _interval(found: CorpusSum, metric: Metric, seed: int) -> Interval:
    if not len(found.rows):
        return interval(metric.value(found.resampled))
    bounds = (metric.low, metric.high)
    return bootstrap_interval(found.rows, metric.value, resamples=len(found.resampled), seed=seed, bounds=bounds)


def evaluate(
    candidates: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str] = REFERENCE_METRICS,
    tokenizer: str = "simple",
    clap_scores: Mapping[str, float] | None = None,
    scorers: Mapping[Need, Scorer] | None = None,
) -> Evaluation:
    """Compare captions with references.

    Args:
        candidates: one caption by key.
        references: any number of references by key.
        metrics: names out of :data:`~sonogloss.metrics.registry.METRICS`.
        tokenizer: see :func:`sonogloss.metrics.tokenize.tokenize`.
        clap_scores: cosine of caption and clip by key, for clap_sim.
        scorers: programs and models of others, as :func:`sonogloss.metrics.scorers.find_scorers` gives them.

    Raises:
        OptionError: an unknown metric or tokenizer, or a metric that lacks what it needs.
        InputError: no key has both a caption and a reference.

    Example:
        >>> evaluate({"a": "rain falls"}, {"a": ["rain falls"]}, metrics=["rouge_l"]).corpus
        [MetricRow(metric='rouge_l', value=1.0, n=1, low=None, high=None)]
    """
    available: set[Need] = {"captions", "references", *(scorers or {})}
    metrics = check_metrics(metrics, {*available, "clap_scores"} if clap_scores else available)
    keys = [key for key in candidates if references.get(key)]
    if not keys:
        raise InputError("No clip has both a caption and references.", "Check that both sides use the same keys.")
    texts = clip_texts([candidates[key] for key in keys], [references[key] for key in keys], tokenizer)
    words = [clip.reference_words for clip in texts]
    captions = CaptionStatistics.of([clip.words for clip in texts], words) if needs_captions(metrics) else _NO_CAPTIONS
    numbers = score_clips(
        texts,
        metrics=metrics,
        frequencies=document_frequencies(words) if needs_frequencies(metrics) else DocumentFrequencies(),
        captions=captions,
        clap_scores=np.array([(clap_scores or {}).get(key, np.nan) for key in keys]),
        scorers=scorers,
    )
    return Evaluation(
        corpus=corpus_rows(sum_clips(numbers), metrics=metrics, captions=captions),
        keys=keys,
        numbers=numbers,
        without_references=[key for key in candidates if not references.get(key)],
        without_caption=[key for key in references if key not in candidates],
    )
