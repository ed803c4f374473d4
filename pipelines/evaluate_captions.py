"""evaluate: captions against references -> metrics for the corpus and for every clip; tags, see evaluate_tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sonogloss import files
from sonogloss import metrics as metrics_room
from sonogloss.errors import FormatError, MissingInputError, StoreFormatError
from sonogloss.metrics.registry import Need
from sonogloss.pipelines.config.evaluation import EvaluateConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.evaluate_tags import KEYS, evaluate_tags, holds_tags, show_corpus, show_tags, show_unmatched
from sonogloss.pipelines.running.metrics_record import computed_before, inputs_of, write_record
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.records import METRIC_ROW_SCHEMA, MetricRow, table
from sonogloss.tables import cell_values, read_table
from sonogloss.transforms.commit_run import FORMAT, RUN_FILE, read_parts


@command(EvaluateConfig)
def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Compare captions with references.

    Every captioned clip is scored against the references of its key. Where a file was cut into several clips and the
    references know the file only, each clip is scored against all references of the file. Tags, the results of
    `classify`, are compared with true labels.

    Returns:
        The report: `corpus` (metric, value, n), `clips`, `key`, and what did not match.

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


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Captions compared with references.

    Attributes:
        key: the column that both sides share.
        keys: the key of every row.
        known: the references by key.
        metrics: names, in the order asked for.
        corpus: one row a metric.
        clips: metric values by the number of the row; only rows with references.
    """

    key: str
    keys: list[str]
    known: Mapping[str, list[str]]
    metrics: tuple[str, ...]
    corpus: list[MetricRow]
    clips: Mapping[int, dict[str, float]]


def score_rows(
    rows: Sequence[Mapping[str, Any]],
    *,
    results: str,
    references: str,
    metrics: str | Sequence[str] | None = None,
    tokenizer: str = "simple",
) -> Scores:
    """Score every row against the references of its key.

    Args:
        rows: with `caption` and a key; at least one.
        results: where they come from, for messages.
        references: the table of references.
        metrics: names; all that can be computed where None are given.
        tokenizer: how captions are cut into words.

    Raises:
        InputError: the references cannot be used, or share no key with the rows.
    """
    key, known = read_references(references, available=set(rows[0]))
    scored = any(row.get("clap_score") is not None for row in rows)
    available: list[Need] = ["references", "clap_scores"] if scored else ["references"]
    names = metrics_room.check_metrics(metrics or None, available)
    keys = [_key(row, key) for row in rows]
    matched = [number for number, name in enumerate(keys) if name in known]
    if not matched:
        raise FormatError(
            f"--references {references!r} and --results {results!r} have no {key} in common "
            f"({next(iter(known))!r} against {keys[0]!r}).",
            "Check that both name the same clips.",
        )
    evaluation = metrics_room.evaluate(
        {str(number): str(rows[number]["caption"]) for number in matched},
        {str(number): known[keys[number]] for number in matched},
        metrics=names,
        tokenizer=tokenizer,
        clap_scores={
            str(number): float(rows[number]["clap_score"])
            for number in matched
            if rows[number].get("clap_score") is not None
        },
    )
    if key == "file_name":
        _check_names([str(rows[number].get("uri", keys[number])) for number in matched], "--results", results)
    clips = {number: evaluation.clips[str(number)] for number in matched}
    return Scores(key=key, keys=keys, known=known, metrics=names, corpus=evaluation.corpus, clips=clips)


def _evaluate(config: EvaluateConfig) -> dict[str, Any]:
    results, references, output = str(config.results), str(config.references), str(config.output)
    if holds_tags(results):
        return evaluate_tags(results=results, references=references, output=output, metrics=config.metrics or None)
    rows = read_results(results)
    scores = score_rows(
        rows, results=results, references=references, metrics=config.metrics, tokenizer=config.tokenizer
    )
    key, keys = scores.key, scores.keys
    clips = [
        {
            key: keys[number],
            **({"clip_id": rows[number]["clip_id"]} if key != "clip_id" and "clip_id" in rows[number] else {}),
            **{name: values.get(name) for name in scores.metrics},
        }
        for number, values in scores.clips.items()
    ]
    files.write_table(files.join(output, "metrics/clips.parquet"), _clips_table(clips, scores.metrics))
    files.write_table(files.join(output, "metrics/corpus.parquet"), table(scores.corpus, METRIC_ROW_SCHEMA))
    repeated = [name for name, count in Counter(keys[number] for number in scores.clips).items() if count > 1]
    return {
        "output": output,
        "key": key,
        "tokenizer": config.tokenizer,
        "clips": len(clips),
        "corpus": [vars(row) for row in scores.corpus],
        "without_references": sorted({name for name in keys if name not in scores.known}),
        "without_caption": sorted(set(scores.known) - set(keys)),
        "several_captions": sorted(repeated),
        "problems": [],
    }


def read_results(path: str) -> list[dict[str, Any]]:
    """Captions with their keys, from a results directory or any table with `caption`.

    Raises:
        InputError: it is neither.
    """
    if not files.is_dir(path):
        predictions = read_table(path, option="--results")
        predictions.require("caption")
        return [row for _, row in predictions.rows]
    run_path = files.join(path, RUN_FILE)
    if not files.exists(run_path):
        raise StoreFormatError(
            f"--results {path!r} has no {RUN_FILE}.", "Let `sonogloss caption` finish, or name a results directory."
        )
    run = files.read_json(run_path, error=StoreFormatError)
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise StoreFormatError(f"--results {path!r} does not hold captions.", "Name what `sonogloss caption` wrote.")
    parts = [part["path"] for part in read_parts(path, run, "captions")]
    columns = ["clip_id", "uri", "caption", "clap_score"]
    rows = [row for part in parts for row in files.read_table(files.join(path, part), columns=columns).to_pylist()]
    if not rows:
        raise StoreFormatError(f"--results {path!r} holds no captions.", "Look into its dead_letters.")
    return sorted(rows, key=lambda row: row["uri"])


def read_references(path: str, *, available: set[str]) -> tuple[str, dict[str, list[str]]]:
    """References by key, and which key column they go by.

    Args:
        path: the table.
        available: the columns of the results: a key must be known on both sides.

    Raises:
        FormatError: there is no such key, or no references.
    """
    references = read_table(path, option="--references")
    if "uri" in available:
        available = available | {"file_name"}
    key = references.find(name for name in KEYS if name in available)
    if key is None:
        raise FormatError(
            f"{references.name} (columns: {', '.join(references.columns)}) has no key column that the results have.",
            f"Give one of {', '.join(KEYS)}.",
        )
    references.require("references", "reference")
    known: dict[str, list[str]] = {}
    for place, row in references.rows:
        texts = cell_values(row, "references", "reference")
        if row.get(key) is None or not all(isinstance(text, str) for text in texts):
            raise references.wrong(place, f"no {key}, or references that are not text")
        known.setdefault(_key(row, key), []).extend(text for text in texts if text.strip())
    if key == "file_name":
        _check_names([str(row["file_name"]) for _, row in references.rows], "--references", path)
    return key, {name: texts for name, texts in known.items() if texts}


def _check_names(names: Sequence[str], option: str, path: str) -> None:
    """File names are compared without their folders: two files of one name cannot be told apart."""
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(files.base_name(name), name)
        if first != name:
            raise FormatError(
                f"{option} {path!r} names two files {files.base_name(name)!r}: {first!r} and {name!r}.",
                "Use the key uri or clip_id.",
            )


def _key(row: Mapping[str, Any], key: str) -> str:
    if key == "file_name":
        return files.base_name(str(row.get("file_name", row.get("uri"))))
    return str(row[key])


def _clips_table(clips: list[dict[str, Any]], names: Sequence[str]) -> pa.Table:
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
    )
