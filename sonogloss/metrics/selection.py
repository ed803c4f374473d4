"""Which metrics are computed: names and groups against what is known of the clips."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sonogloss.errors import InputError, OptionError, unknown
from sonogloss.metrics.metric import Need
from sonogloss.metrics.registry import METRICS

_BLEU = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")

GROUPS: dict[str, tuple[str, ...]] = {
    # What the DCASE challenge of automated audio captioning ranks and reports since 2023.
    "dcase": ("meteor", "cider_d", "spice", "spider", "fer", "spider_fl", "sbert_sim", "fense", "vocab.cands"),
    "aac": (*_BLEU, "rouge_l", "meteor", "cider_d", "spice", "spider"),
    "bleu": _BLEU,
    "all": tuple(METRICS),
}
"""Names for several metrics at once; what cannot be computed of a group is left out with a reason."""

# What a metric that lacks its need is answered with.
_NEEDS: dict[Need, tuple[str, str]] = {
    "captions": ("captions", "Evaluate captions, or leave it out."),
    "references": ("reference captions", "Evaluate captions, or leave it out."),
    "clap_scores": ("the CLAP scores of the captions", "Evaluate a results directory, or leave it out."),
    "meteor": ("the program METEOR", "Run evaluate, or leave it out."),
    "spice": ("the program SPICE", "Run evaluate, or leave it out."),
    "sentence_model": ("a sentence model", "Name one with --sentence-model, or leave it out."),
    "fluency_model": ("a detector of fluency errors", "Name one with --fluency-model, or leave it out."),
    "datastore": ("the datastore that the captions rest on", "Name it with --datastore, or leave it out."),
    "mace": ("Microsoft's CLAP of 2023 (msclap), which cannot be read", "Leave it out."),
    "labels": ("labels", "Evaluate what classify wrote, or leave it out."),
    "all_scores": ("the scores of all labels, which this run did not keep", "Run classify with --all-scores."),
}


def metrics_with(available: Collection[Need]) -> tuple[str, ...]:
    """The metrics that need no more than this."""
    return tuple(name for name, metric in METRICS.items() if metric.needs <= set(available))


REFERENCE_METRICS = metrics_with({"references"})


def check_metrics(metrics: str | Sequence[str] | None, available: Collection[Need]) -> tuple[str, ...]:
    """The metrics asked for, each once; where None are, all that can be had.

    Args:
        metrics: names out of :data:`METRICS` and :data:`GROUPS`, as a list or separated by commas.
        available: what is known of the clips.

    Raises:
        OptionError: one is unknown or needs something else, or the list is empty.
    """
    return choose(metrics, available)[0]


def choose(
    metrics: str | Sequence[str] | None, available: Collection[Need], reasons: Mapping[Need, InputError] | None = None
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The metrics asked for, and why others of the groups asked for cannot be computed.

    Args:
        metrics: as in :func:`check_metrics`.
        available: what is known of the clips.
        reasons: why something is not, where there is more to say than that it is not.

    Raises:
        InputError: a metric asked for by its name is unknown or needs something else, or nothing can be computed.
    """
    if metrics is None:
        return metrics_with(available), {}
    names: list[str] = []
    lacking: dict[str, InputError] = {}
    for name, alone in _asked(metrics, available).items():
        error = _lack(name, available, reasons or {})
        if error is None:
            names.append(name)
        elif alone:
            raise error
        else:
            lacking[name] = error
    if not names:
        raise next(iter(lacking.values()))
    return tuple(names), {name: str(error) for name, error in lacking.items()}


def needs_of(metrics: str | Sequence[str], available: Collection[Need]) -> set[Need]:
    """All that the metrics and groups asked for need, had or not.

    Raises:
        OptionError: one is unknown, or the list is empty.
    """
    return {need for name in _asked(metrics, available) for need in METRICS[name].needs}


def _asked(metrics: str | Sequence[str], available: Collection[Need]) -> dict[str, bool]:
    """Each metric asked for, and whether it was by its own name.

    A group of metrics of captions and tags stands for those of what is evaluated.
    """
    entries = [metrics] if isinstance(metrics, str) else metrics
    words = dict.fromkeys(word.strip() for entry in entries for word in entry.split(",") if word.strip())
    if not words:
        raise OptionError("No metric is asked for.", f"Choose from {', '.join(metrics_with(available))}.")
    asked: dict[str, bool] = {}
    for word in words:
        if word not in METRICS and word not in GROUPS:
            raise unknown("metric", word, [*metrics_with(available), *GROUPS])
        for name in GROUPS.get(word, (word,)):
            if name == word or ("labels" in METRICS[name].needs) == ("labels" in available):
                asked[name] = asked.get(name, False) or word not in GROUPS
    if not asked:
        raise OptionError(f"The group {word} has no metrics of tags.", "Choose accuracy or map.")
    return asked


def _lack(name: str, available: Collection[Need], reasons: Mapping[Need, InputError]) -> InputError | None:
    missing = METRICS[name].needs - set(available)
    for need, (words, remedy) in _NEEDS.items():
        if need in missing:
            return reasons.get(need) or OptionError(f"The metric {name} needs {words}.", remedy)
    return None
