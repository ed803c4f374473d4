"""From captions and references to metric rows: pure, and in pieces that merge.

The pieces, for whoever gathers a corpus on many workers: document frequencies of all references first (they merge),
then :func:`score_clip` for each clip (it needs nothing but them), then :class:`CorpusStatistics` of the clips (they
merge exactly, in any order) and :func:`corpus_rows`. :func:`evaluate` does just that in one go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sonogloss.errors import InputError, OptionError
from sonogloss.metrics.bleu import BleuCounts, bleu, bleu_counts
from sonogloss.metrics.cider_d import DocumentFrequencies, cider_d, document_frequencies
from sonogloss.metrics.mean import Mean
from sonogloss.metrics.rouge_l import rouge_l
from sonogloss.metrics.tokenize import Tokens, tokenize
from sonogloss.records import MetricRow

BLEU_METRICS = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
REFERENCE_METRICS = (*BLEU_METRICS, "rouge_l", "cider_d")
METRICS = (*REFERENCE_METRICS, "clap_sim")


@dataclass(frozen=True, kw_only=True)
class CorpusStatistics:
    """What scored clips add to the corpus; `CorpusStatistics()` adds nothing.

    Attributes:
        bleu: summed n-gram counts.
        means: sums by metric for those whose corpus value is the mean of the clips'.
    """

    bleu: BleuCounts = field(default_factory=BleuCounts)
    means: Mapping[str, Mean] = field(default_factory=dict)

    def merge(self, other: CorpusStatistics) -> CorpusStatistics:
        """Both together; associative and commutative, exactly."""
        names = {**self.means, **other.means}
        return CorpusStatistics(
            bleu=self.bleu.merge(other.bleu),
            means={name: self.means.get(name, Mean()).merge(other.means.get(name, Mean())) for name in names},
        )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of :func:`evaluate`.

    Attributes:
        corpus: one row a metric, in the order asked for.
        clips: metric values by key; the keys that have both a caption and references, in the captions' order.
        without_references: keys that were captioned but have no references; they are not in `clips`.
        without_caption: keys that have references but were not captioned.
    """

    corpus: list[MetricRow]
    clips: dict[str, dict[str, float]]
    without_references: list[str]
    without_caption: list[str]


def check_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics asked for, each once.

    Raises:
        OptionError: one is unknown, or none is asked for.
    """
    if unknown := [name for name in metrics if name not in METRICS]:
        raise OptionError(f"There is no metric {unknown[0]!r} here.", f"Choose from {', '.join(METRICS)}.")
    if not metrics:
        raise OptionError("No metric is asked for.", f"Choose from {', '.join(METRICS)}.")
    return tuple(dict.fromkeys(metrics))


def score_clip(
    candidate: Tokens,
    references: Sequence[Tokens],
    *,
    metrics: Sequence[str],
    frequencies: DocumentFrequencies,
    clap_score: float | None = None,
) -> tuple[dict[str, float], CorpusStatistics]:
    """One clip's values, and what it adds to the corpus.

    Args:
        candidate: words of the caption.
        references: words of each reference; at least one.
        metrics: names out of `METRICS`.
        frequencies: document frequencies of the whole corpus, for cider_d.
        clap_score: cosine of caption and clip, for clap_sim; without it this clip has no clap_sim.
    """
    counts = bleu_counts(candidate, references)
    bleu_values = bleu(counts)
    values: dict[str, float] = {}
    for metric in metrics:
        if metric in BLEU_METRICS:
            values[metric] = bleu_values[metric]
        elif metric == "rouge_l":
            values[metric] = rouge_l(candidate, references)
        elif metric == "cider_d":
            values[metric] = cider_d(candidate, references, frequencies)
        elif clap_score is not None:
            values[metric] = clap_score
    means = {name: Mean.of([value]) for name, value in values.items() if name not in BLEU_METRICS}
    return values, CorpusStatistics(bleu=counts, means=means)


def corpus_rows(statistics: CorpusStatistics, *, metrics: Sequence[str], clips: int) -> list[MetricRow]:
    """The corpus's metric rows of merged statistics over so many clips; a metric that no clip has is left out."""
    whole = bleu(statistics.bleu)
    rows = []
    for metric in metrics:
        if metric in BLEU_METRICS:
            rows.append(MetricRow(metric=metric, value=whole[metric], n=clips))
        elif metric in statistics.means:
            mean = statistics.means[metric]
            rows.append(MetricRow(metric=metric, value=mean.value, n=mean.n))
    return rows


def evaluate(
    candidates: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str] = REFERENCE_METRICS,
    tokenizer: str = "simple",
    clap_scores: Mapping[str, float] | None = None,
) -> Evaluation:
    """Compare captions with references.

    Args:
        candidates: one caption by key.
        references: any number of references by key.
        metrics: names out of `METRICS`.
        tokenizer: see :func:`sonogloss.metrics.tokenize.tokenize`.
        clap_scores: cosine of caption and clip by key, for clap_sim.

    Raises:
        OptionError: an unknown metric or tokeniser, or clap_sim without any scores.
        InputError: no key has both a caption and a reference.

    Example:
        >>> evaluate({"a": "rain falls"}, {"a": ["rain falls"]}, metrics=["rouge_l"]).corpus
        [MetricRow(metric='rouge_l', value=1.0, n=1)]
    """
    metrics = check_metrics(metrics)
    if "clap_sim" in metrics and not clap_scores:
        raise OptionError(
            "clap_sim needs the CLAP scores of the captions.", "Evaluate a results directory, or leave it out."
        )
    keys = [key for key in candidates if references.get(key)]
    if not keys:
        raise InputError("No clip has both a caption and references.", "Check that both sides use the same keys.")
    cut = iter(tokenize([text for key in keys for text in (candidates[key], *references[key])], tokenizer))
    words = {key: (next(cut), [next(cut) for _ in references[key]]) for key in keys}
    frequencies = document_frequencies([r for _, r in words.values()] if "cider_d" in metrics else [])
    clips, whole = {}, CorpusStatistics()
    for key, (candidate, refs) in words.items():
        score = (clap_scores or {}).get(key)
        clips[key], own = score_clip(candidate, refs, metrics=metrics, frequencies=frequencies, clap_score=score)
        whole = whole.merge(own)
    return Evaluation(
        corpus=corpus_rows(whole, metrics=metrics, clips=len(keys)),
        clips=clips,
        without_references=[key for key in candidates if not references.get(key)],
        without_caption=[key for key in references if key not in candidates],
    )
