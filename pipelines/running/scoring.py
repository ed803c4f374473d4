"""Captions compared with references: what evaluate, compare and report share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sonogloss.errors import OptionError
from sonogloss.metrics import METRICS, CaptionStatistics, corpus_rows
from sonogloss.metrics.evaluate import clip_values, sum_clips
from sonogloss.metrics.metric import Need
from sonogloss.metrics.selection import choose, needs_of
from sonogloss.metrics.sums import Numbers
from sonogloss.pipelines.config.evaluation import ScoringOptions
from sonogloss.pipelines.running.join_references import Joined, Row, join_references
from sonogloss.records import MetricRow
from sonogloss.transforms.score_captions import (
    ScoringPlan,
    load_scorers,
    merge_counts,
    read_counts,
    score_part,
    write_counts,
)


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """Captions that can be scored.

    Attributes:
        joined: rows beside their references.
        plan: what is computed of them.
        not_available: why metrics that were asked for cannot be computed, by name.
    """

    joined: Joined
    plan: ScoringPlan
    not_available: dict[str, str]


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


def prepare_scoring(
    read: Callable[[], Iterator[Row]], config: ScoringOptions, folder: str, *, results: str, references: str
) -> Scoring:
    """Put rows beside their references, and choose the metrics that can be computed.

    Args:
        read: reads the rows, with `caption` and a key; at least one. A caption that is missing or empty scores 0.
        config: the options.
        folder: where files of the work go.
        results: where the rows come from, for messages.
        references: the table of references.

    Raises:
        InputError: the references cannot be used, or share no key with the rows, or no metric can be computed.
    """
    plan = ScoringPlan(folder=folder, sizes=(), metrics=(), tokenizer=config.tokenizer)
    joined = join_references(
        read,
        lambda part: plan.path("rows", part),
        results=results,
        references=references,
        key=config.key,
        columns=config.references_column,
        best=config.per == "recording",
    )
    _check_tokenizer(config.tokenizer, joined)
    named = (config.sentence_model, config.fluency_model, config.datastore)
    sentence_model, fluency_model, datastore = (None if path is None else str(path) for path in named)
    available: list[Need] = ["references", "clap_scores"] if joined.clap_scores else ["references"]
    needs = frozenset(needs_of(config.metrics, available) if config.metrics else ())
    scorers, reasons = load_scorers(needs, sentence_model, fluency_model, datastore, config.tokenizer)
    known = [*available, "captions", *scorers] if config.metrics else available
    chosen, lacking = choose(config.metrics or None, known, reasons)
    names, too_few = _with_enough_clips(chosen, sum(joined.sizes))
    return Scoring(
        joined=joined,
        plan=ScoringPlan(
            folder=folder,
            sizes=joined.sizes,
            metrics=names,
            tokenizer=config.tokenizer,
            needs=needs,
            sentence_model=sentence_model,
            fluency_model=fluency_model,
            datastore=datastore,
            resamples=config.bootstrap,
            seed=config.seed,
        ),
        not_available={**lacking, **too_few},
    )


def score_rows(read: Callable[[], Iterator[Row]], config: ScoringOptions, *, results: str, references: str) -> Scores:
    """Score every row against the references of its key, in this process and in memory.

    Args:
        read: as of :func:`prepare_scoring`.
        config: the options.
        results: where the rows come from, for messages.
        references: the table of references.

    Raises:
        InputError: as of :func:`prepare_scoring`.
    """
    with tempfile.TemporaryDirectory(prefix="sonogloss-scores-") as folder:
        scoring = prepare_scoring(read, config, folder, results=results, references=references)
        plan = scoring.plan
        for part in plan.parts:
            write_counts(part, plan)
        merge_counts(plan)
        blocks = [block for part in plan.parts for block in score_part(part, plan)]
        captions = read_counts(plan).get("captions", CaptionStatistics())
    numbers = {name: np.concatenate([own[name] for _, own in blocks]) for name in blocks[0][1]}
    return Scores(
        key=scoring.joined.key,
        rows=scoring.joined.rows,
        clips=pa.concat_tables([rows for rows, _ in blocks]),
        metrics=plan.metrics,
        numbers=numbers,
        corpus=corpus_rows(
            sum_clips(numbers, np.full(plan.resamples, sum(plan.sizes)), plan.seed),
            metrics=plan.metrics,
            captions=captions,
        ),
        not_available=scoring.not_available,
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
