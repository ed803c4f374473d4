"""Captions compared with references: what evaluate, compare and report share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from sonogloss.errors import FormatError, OptionError
from sonogloss.metrics import METRICS, CaptionStatistics, corpus_rows
from sonogloss.metrics.evaluate import clip_values, sum_clips
from sonogloss.metrics.metric import Need
from sonogloss.metrics.selection import choose, needs_of
from sonogloss.metrics.sums import Numbers
from sonogloss.pipelines.config.evaluation import ScoringOptions
from sonogloss.pipelines.running.join_references import Row, spread_rows
from sonogloss.pipelines.running.run_parts import Stage, run_here
from sonogloss.records import MetricRow
from sonogloss.transforms.join_references import Joined, JoinPlan, join_bucket, read_joined
from sonogloss.transforms.key_buckets import cut_parts
from sonogloss.transforms.score_captions import (
    ScoringPlan,
    load_scorers,
    merge_counts,
    read_counts,
    score_part,
    write_counts,
    write_scores,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Captions compared with references, in memory.

    Attributes:
        key: the column of the references that they go by.
        rows: how many rows there were, with and without references.
        clips: the scored ones: `row` (its number), `key`, `clip_id`, `caption`, `references`.
        metrics: names of those that could be computed, in the order asked for.
        numbers: by metric, what each of them adds to the corpus, [clips, numbers]; metrics of all captions have none.
        corpus: a row a metric.
        not_available: why metrics that were asked for could not be computed, by name.
    """

    key: str
    rows: int
    clips: pa.Table
    metrics: tuple[str, ...]
    numbers: dict[str, Numbers]
    corpus: list[MetricRow]
    not_available: dict[str, str]

    def by_row(self) -> dict[int, tuple[list[str], dict[str, float]]]:
        """References and metric values, by the number of the row; a metric that a clip lacks is left out."""
        values = {name: own.tolist() for name, own in clip_values(self.numbers).items()}
        lists = zip(self.clips["row"].to_pylist(), self.clips["references"].to_pylist(), strict=True)
        return {
            row: (references, {name: own[at] for name, own in values.items() if own[at] == own[at]})
            for at, (row, references) in enumerate(lists)
        }


def spread_for_scoring(
    read: Callable[[], Iterator[Row]], config: ScoringOptions, folder: str, *, results: str, references: str
) -> JoinPlan:
    """Spread rows and references over buckets, for :func:`scoring_stages`.

    Args:
        read: reads the rows, with `caption` and a key; at least one. A caption that is missing or empty scores 0.
        config: the options.
        folder: where files of the work go.
        results: where the rows come from, for messages.
        references: the table of references.

    Raises:
        InputError: results or references cannot be used.
    """
    return spread_rows(
        read,
        folder,
        results=results,
        references=references,
        key=config.key,
        columns=config.references_column,
        best=config.per == "recording",
    )


def scoring_stages(config: ScoringOptions) -> tuple[Stage, Stage, Stage]:
    """Join the buckets and choose the metrics, count n-grams of the parts, and score them."""
    return (
        Stage(work=join_bucket, gather=partial(choose_metrics, config=config)),
        Stage(work=write_counts, gather=merge_counts),
        Stage(work=write_scores),
    )


def choose_metrics(join: JoinPlan, config: ScoringOptions) -> range:
    """Choose the metrics that can be computed of the joined rows, cut these into parts, and write the plan.

    Raises:
        InputError: results and references share no key, or no metric can be computed.
    """
    joined = read_joined(join)
    if not joined.kept.any():
        other = next(iter(joined.without_caption.first), "nothing")
        raise FormatError(
            f"--references {join.references!r} and --results {join.results!r} have no {join.key} in common "
            f"({other!r} against {join.first!r}).",
            "Check that both name the same clips, or name the key column of the references with --key.",
        )
    _check_tokenizer(config.tokenizer, joined)
    named = (config.sentence_model, config.fluency_model, config.datastore)
    sentence_model, fluency_model, datastore = (None if path is None else str(path) for path in named)
    available: list[Need] = ["references", "clap_scores"] if joined.clap_scores else ["references"]
    needs = frozenset(needs_of(config.metrics, available) if config.metrics else ())
    scorers, reasons = load_scorers(needs, sentence_model, fluency_model, datastore, config.tokenizer)
    known = [*available, "captions", *scorers] if config.metrics else available
    chosen, lacking = choose(config.metrics or None, known, reasons)
    names, too_few = _with_enough_clips(chosen, int(joined.kept.sum()))
    plan = ScoringPlan(
        folder=join.folder,
        buckets=join.buckets,
        cuts=tuple(cut_parts(joined.kept)),
        metrics=names,
        not_available={**lacking, **too_few},
        tokenizer=config.tokenizer,
        needs=needs,
        sentence_model=sentence_model,
        fluency_model=fluency_model,
        datastore=datastore,
        resamples=config.bootstrap,
        seed=config.seed,
    )
    plan.write()
    return plan.parts


def score_rows(read: Callable[[], Iterator[Row]], config: ScoringOptions, *, results: str, references: str) -> Scores:
    """Score every row against the references of its key, in this process and in memory.

    Args:
        read: as of :func:`spread_for_scoring`.
        config: the options.
        results: where the rows come from, for messages.
        references: the table of references.

    Raises:
        InputError: as of :func:`spread_for_scoring` and :func:`choose_metrics`.
    """
    with tempfile.TemporaryDirectory(prefix="sonogloss-scores-") as folder:
        join = spread_for_scoring(read, config, folder, results=results, references=references)
        run_here(join, *scoring_stages(config)[:2])
        plan = ScoringPlan.read(folder)
        blocks = [block for part in plan.parts for block in score_part(part, plan)]
        captions = read_counts(plan).get("captions", CaptionStatistics())
    numbers = {name: np.concatenate([own[name] for _, own in blocks]) for name in blocks[0][1]}
    return Scores(
        key=join.key,
        rows=join.rows,
        clips=pa.concat_tables([rows for rows, _ in blocks]),
        metrics=plan.metrics,
        numbers=numbers,
        corpus=corpus_rows(
            sum_clips(numbers, np.full(plan.resamples, sum(plan.sizes)), plan.seed),
            metrics=plan.metrics,
            captions=captions,
            seed=plan.seed,
        ),
        not_available=dict(plan.not_available),
    )


def _with_enough_clips(names: Sequence[str], clips: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """The metrics that say something of so many clips, and why the others do not."""
    too_few = {
        name: f"it says nothing of fewer than {METRICS[name].least_clips} clips"
        for name in names
        if clips < METRICS[name].least_clips
    }
    if len(too_few) == len(names):
        name, why = next(iter(too_few.items()))
        raise OptionError(f"The metric {name} cannot be computed: {why}.", "Give more clips, or ask for other metrics.")
    return tuple(name for name in names if name not in too_few), too_few


def _check_tokenizer(tokenizer: str, joined: Joined) -> None:
    if tokenizer == "ptb" and joined.unsplit is not None:
        raise OptionError(
            f"The tokenizer 'ptb' cannot cut {joined.unsplit[:40]!r}, which has no blanks between its words.",
            "Choose --tokenizer simple, or cut the words and choose whitespace.",
        )
