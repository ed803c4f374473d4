"""From captions and references to metric rows: pure, and in pieces that merge.

The pieces, for whoever gathers a corpus on many workers: document frequencies of all references first (they merge),
then :func:`score_clip` for each clip (it needs nothing but them), then :class:`CorpusStatistics` of the clips (they
merge exactly, in any order) and :func:`corpus_rows`. :func:`evaluate` does just that in one go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sonogloss.errors import InputError
from sonogloss.metrics.cider_d import DocumentFrequencies, document_frequencies
from sonogloss.metrics.diversity import CaptionStatistics
from sonogloss.metrics.metric import ClipTexts, Need, ScoredClip, Scorer
from sonogloss.metrics.registry import METRICS
from sonogloss.metrics.selection import REFERENCE_METRICS, check_metrics
from sonogloss.metrics.tokenize import Tokens, tokenize
from sonogloss.records import MetricRow

_NO_CAPTIONS = CaptionStatistics()


@dataclass(frozen=True, kw_only=True)
class CorpusStatistics:
    """What scored clips add to the corpus; `CorpusStatistics()` adds nothing.

    Attributes:
        by_metric: the merged statistic, and the number of clips that gave one.
    """

    by_metric: Mapping[str, tuple[Any, int]] = field(default_factory=dict)

    def merge(self, other: CorpusStatistics) -> CorpusStatistics:
        """Both together; associative and commutative, exactly."""
        merged = {**self.by_metric, **other.by_metric}
        for name in self.by_metric.keys() & other.by_metric.keys():
            (one, count), (two, further) = self.by_metric[name], other.by_metric[name]
            merged[name] = one.merge(two), count + further
        return CorpusStatistics(by_metric=merged)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of :func:`evaluate`.

    Attributes:
        corpus: one row a metric, in the order asked for.
        clips: metric values by key; the keys that have both a caption and references, in the captions' order.
        statistics: what each of them adds to the corpus, by key.
        without_references: keys that were captioned but have no references; they are not in `clips`.
        without_caption: keys that have references but were not captioned.
    """

    corpus: list[MetricRow]
    clips: dict[str, dict[str, float]]
    statistics: dict[str, CorpusStatistics]
    without_references: list[str]
    without_caption: list[str]


def score_clip(
    candidate: Tokens,
    references: Sequence[Tokens],
    *,
    metrics: Sequence[str],
    frequencies: DocumentFrequencies,
    captions: CaptionStatistics = _NO_CAPTIONS,
    clap_score: float | None = None,
    said: Mapping[Need, Any] | None = None,
) -> tuple[dict[str, float], CorpusStatistics]:
    """One clip's values, and what it adds to the corpus.

    Args:
        candidate: words of the caption.
        references: words of each reference; at least one.
        metrics: names out of :data:`~sonogloss.metrics.registry.METRICS`.
        frequencies: document frequencies of the whole corpus, for cider_d.
        captions: all captions of the corpus, for those that compare a caption with the others.
        clap_score: cosine of caption and clip, for clap_sim; without it this clip has no clap_sim.
        said: what programs and models of others say of this clip, by need.
    """
    clip = ScoredClip(
        candidate=candidate,
        references=references,
        frequencies=frequencies,
        captions=captions,
        clap_score=clap_score,
        said=said or {},
    )
    found: dict[Any, Any] = {}  # by function: BLEU's four metrics share one
    for function in (METRICS[name].statistic for name in metrics):
        if function is not None and function not in found:
            found[function] = function(clip)
    statistics = {name: found.get(METRICS[name].statistic) for name in metrics}
    present = {name: statistic for name, statistic in statistics.items() if statistic is not None}
    values = {name: METRICS[name].value(statistic) for name, statistic in present.items()}
    return values, CorpusStatistics(by_metric={name: (statistic, 1) for name, statistic in present.items()})


def corpus_rows(
    statistics: CorpusStatistics, *, metrics: Sequence[str], captions: CaptionStatistics = _NO_CAPTIONS
) -> list[MetricRow]:
    """The corpus's metric rows of merged statistics; a metric that no clip has is left out.

    Args:
        statistics: of all clips.
        metrics: names, in the order of the rows.
        captions: all captions of the corpus, for metrics of them together.
    """
    rows = []
    for name in metrics:
        metric = METRICS[name]
        if metric.statistic is None and captions.clips:
            rows.append(MetricRow(metric=name, value=float(metric.value(captions)), n=captions.clips))
        elif name in statistics.by_metric:
            statistic, count = statistics.by_metric[name]
            rows.append(MetricRow(metric=name, value=metric.value(statistic), n=count))
    return rows


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
        [MetricRow(metric='rouge_l', value=1.0, n=1)]
    """
    available: set[Need] = {"captions", "references", *(scorers or {})}
    metrics = check_metrics(metrics, {*available, "clap_scores"} if clap_scores else available)
    keys = [key for key in candidates if references.get(key)]
    if not keys:
        raise InputError("No clip has both a caption and references.", "Check that both sides use the same keys.")
    cut = iter(tokenize([text for key in keys for text in (candidates[key], *references[key])], tokenizer))
    words = {key: (next(cut), [next(cut) for _ in references[key]]) for key in keys}
    frequencies = document_frequencies(
        [r for _, r in words.values()] if any(METRICS[name].frequencies for name in metrics) else []
    )
    captions = _captions(words.values()) if any(METRICS[name].captions for name in metrics) else _NO_CAPTIONS
    texts = [
        ClipTexts(caption=candidates[key], references=references[key], words=caption, reference_words=refs)
        for key, (caption, refs) in words.items()
    ]
    said = _ask(scorers or {}, metrics, texts)
    clips, statistics, whole = {}, {}, CorpusStatistics()
    for number, (key, (candidate, refs)) in enumerate(words.items()):
        clips[key], statistics[key] = score_clip(
            candidate,
            refs,
            metrics=metrics,
            frequencies=frequencies,
            captions=captions,
            clap_score=(clap_scores or {}).get(key),
            said={need: answers[number] for need, answers in said.items()},
        )
        whole = whole.merge(statistics[key])
    return Evaluation(
        corpus=corpus_rows(whole, metrics=metrics, captions=captions),
        clips=clips,
        statistics=statistics,
        without_references=[key for key in candidates if not references.get(key)],
        without_caption=[key for key in references if key not in candidates],
    )


def _captions(words: Collection[tuple[Tokens, Sequence[Tokens]]]) -> CaptionStatistics:
    return CaptionStatistics.of([caption for caption, _ in words], [references for _, references in words])


def _ask(
    scorers: Mapping[Need, Scorer], metrics: Sequence[str], texts: Sequence[ClipTexts]
) -> dict[Need, Sequence[Any]]:
    """What the programs and models that the metrics need say of each clip."""
    needed = {need for name in metrics for need in METRICS[name].needs}
    return {need: scorer(texts) for need, scorer in scorers.items() if need in needed}
