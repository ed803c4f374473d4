"""evaluate: captions against references -> metrics for the corpus and for every clip; tags, see evaluate_tags."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import MissingInputError
from sonogloss.metrics import CaptionStatistics, corpus_rows
from sonogloss.pipelines.config.evaluation import EvaluateConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.evaluate_tags import evaluate_tags, holds_tags, show_corpus, show_tags, show_unmatched
from sonogloss.pipelines.running.join_references import read_results
from sonogloss.pipelines.running.metrics_record import computed_before, inputs_of, write_record
from sonogloss.pipelines.running.run_parts import parts_runner
from sonogloss.pipelines.running.scoring import scoring_stages, spread_for_scoring
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.records import METRIC_ROW_SCHEMA, table
from sonogloss.transforms.join_references import Joined, read_joined
from sonogloss.transforms.score_captions import ScoringPlan, read_counts, read_sums, read_values

UNMATCHED = ("without_references", "without_caption", "several_captions", "empty_captions")


@command(EvaluateConfig)
def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Compare captions with references.

    Every captioned clip is scored against the references of its key. Where a file was cut into several clips and the
    references know the file only, each clip is scored against all references of the file. Tags, the results of
    `classify`, are compared with true labels.

    Returns:
        The report: `corpus` (metric, value, n, low, high), `not_available`, `clips`, `key`, and what did not match: the
        first 1,000 keys of each kind, and how many there are in `counts`.

    Raises:
        InputError: an option or a file cannot be used.
    """
    for option, path in (("--results", str(config.results)), ("--references", str(config.references))):
        if not files.exists(path) and not files.is_dir(path):
            raise MissingInputError(f"{option} {path!r} is not a file.", "Check the path.")
    inputs = inputs_of(config)
    if (report := computed_before(config, inputs)) is not None:
        return report
    report = {**_evaluate(config), "done_before": False}
    write_record(config, inputs, report)
    return report


def _evaluate(config: EvaluateConfig) -> dict[str, Any]:
    results, references, output = str(config.results), str(config.references), str(config.output)
    if holds_tags(results):
        return evaluate_tags(results=results, references=references, output=output, metrics=config.metrics or None)
    with parts_runner(config, output) as (folder, run):
        join = spread_for_scoring(read_results(results), config, folder, results=results, references=references)
        run(join, *scoring_stages(config), units=join.buckets + 2 * join.ranges)
        plan, joined = ScoringPlan.read(folder), read_joined(join)
        captions = read_counts(plan).get("captions", CaptionStatistics())
        corpus = corpus_rows(read_sums(plan), metrics=plan.metrics, captions=captions, seed=plan.seed)
        _write_clips(plan, join.key, files.join(output, "metrics/clips.parquet"))
        files.write_table(files.join(output, "metrics/corpus.parquet"), table(corpus, METRIC_ROW_SCHEMA))
    return {
        "output": output,
        "key": join.key,
        "tokenizer": config.tokenizer,
        "clips": sum(plan.sizes),
        "corpus": [vars(row) for row in corpus],
        "not_available": dict(plan.not_available),
        **{name: sorted(getattr(joined, name).first) for name in UNMATCHED},
        "counts": {name: getattr(joined, name).count for name in UNMATCHED},
        "problems": _problems(joined, join.rows, config.max_unmatched),
    }


def _problems(joined: Joined, rows: int, allowed: float) -> list[str]:
    kinds = {"have no references": joined.without_references, "are empty": joined.empty_captions}
    return [
        f"{names.count:,} of {rows:,} captions {what}, more than --max-unmatched {allowed:g} allows: "
        "the metrics say little of this run"
        for what, names in kinds.items()
        if names.count > allowed * rows
    ]


def _write_clips(plan: ScoringPlan, key: str, path: str) -> None:
    """A row a scored clip, in the order of the results: its key, its id where it has one, its values."""
    values = read_values(plan)
    first = next(values)
    columns = first.column_names
    if key == "clip_id" or first["clip_id"].null_count == first.num_rows:
        columns.remove("clip_id")
    names = [key if name == "key" else name for name in columns]
    with files.atomic_write(path) as handle:
        writer = None
        for part in chain([first], values):
            rows = part.select(columns).rename_columns(names)
            writer = writer or pq.ParquetWriter(handle, rows.schema, compression="zstd")
            writer.write_table(rows)
        if writer is not None:
            writer.close()


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    if report["done_before"]:
        plain_console().print(
            "These metrics were computed from the same inputs with the same options before: nothing to do."
        )
    if "classes" in report:
        show_tags(report)
        return
    console = plain_console()
    console.print(f"{report['clips']:,} captions scored by {report['key']}, tokenizer {report['tokenizer']}")
    show_corpus(console, report)
    show_unmatched(
        console,
        report,
        without_references="captioned, but without references, so not scored",
        without_caption="with references, but not captioned",
        several_captions="with several captions, each scored against all references of its key",
        empty_captions="with an empty caption, scored 0",
    )
