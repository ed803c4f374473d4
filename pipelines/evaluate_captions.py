"""evaluate: captions against references -> metrics for the corpus and for every clip; tags, see evaluate_tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from sonogloss import files
from sonogloss.errors import MissingInputError
from sonogloss.metrics import METRICS
from sonogloss.pipelines.config.evaluation import EvaluateConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.evaluate_tags import evaluate_tags, holds_tags, show_corpus, show_tags, show_unmatched
from sonogloss.pipelines.running.metrics_record import computed_before, inputs_of, write_record
from sonogloss.pipelines.running.scoring import Scores, read_results, score_rows
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.records import METRIC_ROW_SCHEMA, table


@command(EvaluateConfig)
def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Compare captions with references.

    Every captioned clip is scored against the references of its key. Where a file was cut into several clips and the
    references know the file only, each clip is scored against all references of the file. Tags, the results of
    `classify`, are compared with true labels.

    Returns:
        The report: `corpus` (metric, value, n, low, high), `not_available`, `clips`, `key`, and what did not match.

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
    rows = read_results(results)
    scores = score_rows(
        rows,
        results=results,
        references=references,
        key=config.key,
        columns=config.references_column,
        metrics=config.metrics,
        tokenizer=config.tokenizer,
        sentence_model=None if config.sentence_model is None else str(config.sentence_model),
        fluency_model=None if config.fluency_model is None else str(config.fluency_model),
    )
    corpus = scores.corpus(resamples=config.bootstrap, seed=config.seed)
    clips = _clips(scores, rows)
    files.write_table(files.join(output, "metrics/clips.parquet"), clips)
    files.write_table(files.join(output, "metrics/corpus.parquet"), table(corpus, METRIC_ROW_SCHEMA))
    keys, known = scores.references.keys, scores.references.known
    without = sum(name not in known for name in keys)
    repeated = [name for name, count in Counter(keys[number] for number in scores.clips).items() if count > 1]
    return {
        "output": output,
        "key": scores.references.key,
        "tokenizer": config.tokenizer,
        "clips": clips.num_rows,
        "corpus": [vars(row) for row in corpus],
        "not_available": dict(scores.not_available),
        "without_references": sorted({name for name in keys if name not in known}),
        "without_caption": sorted(set(known) - set(keys)),
        "several_captions": sorted(repeated),
        "empty_captions": sorted({keys[number] for number in scores.empty}),
        "problems": _problems(without, len(keys), config.max_unmatched),
    }


def _problems(without: int, captions: int, allowed: float) -> list[str]:
    if without <= allowed * captions:
        return []
    what = f"{without:,} of {captions:,} captions have no references, more than --max-unmatched {allowed:g} allows"
    return [f"{what}: the metrics say little of this run"]


def _clips(scores: Scores, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """A row a scored clip: its key, its id where it has one, its values."""
    key, keys = scores.references.key, scores.references.keys
    names = [name for name in scores.metrics if METRICS[name].statistic is not None]
    clips = [
        {
            key: keys[number],
            **({"clip_id": rows[number]["clip_id"]} if key != "clip_id" and "clip_id" in rows[number] else {}),
            **{name: values.get(name) for name in names},
        }
        for number, values in scores.clips.items()
    ]
    schema = pa.schema([(name, pa.float64() if name in names else pa.string()) for name in clips[0]])
    return pa.Table.from_pylist(clips, schema=schema)


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
