"""evaluate, for tags: labels of a classify job against true labels -> accuracy, mAP and a table of classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from sonogloss import files
from sonogloss.errors import FormatError, StoreFormatError
from sonogloss.metrics import METRICS, RankedClips, TagCounts, TagStatistics
from sonogloss.metrics.selection import choose
from sonogloss.pipelines.running.terminal import plain_console
from sonogloss.records import METRIC_ROW_SCHEMA, MetricRow, table
from sonogloss.tables import cell_values, read_table
from sonogloss.transforms.commit_run import RUN_FILE, read_parts, read_run
from sonogloss.transforms.part_files import KINDS

_, LABELS = KINDS
KEYS = ("clip_id", "uri", "file_name")
_NAMED = 10  # how many unmatched keys are named; the report counts all

_CLASSES_SCHEMA = pa.schema(
    [
        pa.field("label", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("accuracy", pa.float64()),
        pa.field("precision", pa.float64()),
        pa.field("average_precision", pa.float64()),
        pa.field("confused_with", pa.string()),
        pa.field("confused", pa.int64(), nullable=False),
    ]
)


def holds_tags(results: str) -> bool:
    """Is this a results directory of `classify`?"""
    run = read_run(results) if files.is_dir(results) else None
    return run is not None and LABELS in run.get("counts", {})


def evaluate_tags(*, results: str, references: str, output: str, metrics: str | Sequence[str] | None) -> dict[str, Any]:
    """Compare tags with true labels.

    Labels are compared as words: case and underscores do not count. A clip whose true labels are none of the run's is
    not scored, and named.

    Args:
        results: a results directory of `classify`.
        references: a table with a key column (`clip_id`, `uri`, `file_name` or `filename`) and `label` (or `class`), or
            `labels`, a list.
        output: `metrics/corpus.parquet`, `metrics/clips.parquet` and `metrics/classes.parquet` go below it.
        metrics: names of metrics that need labels; None gives accuracy, and mAP where the run kept all scores.

    Returns:
        The report: `corpus`, `not_available`, `classes`, `clips`, `key`, and what did not match.

    Raises:
        InputError: a file cannot be used.
    """
    run = _read_labelled_run(results)
    names = {_words(label): label for label in run["labels"]}
    all_scores = bool(run.get("configuration", {}).get("all_scores"))
    chosen, lacking = choose(metrics, {"labels", "all_scores"} if all_scores else {"labels"})
    rows = _read_tags(results, run)
    key, known = read_true_labels(references)
    keys = [files.base_name(row["uri"]) if key == "file_name" else str(row[key]) for row in rows]
    truth = {
        name: {names[_words(label)] for label in labels if _words(label) in names} for name, labels in known.items()
    }
    scored = [(row, truth[name]) for row, name in zip(rows, keys, strict=True) if truth.get(name)]
    if not scored:
        raise FormatError(
            f"--references {references!r} and --results {results!r} have no {key} with a known label in common.",
            "Check that both name the same clips, and the labels of the run.",
        )
    statistics, clips = _gather(scored, run["labels"], all_scores=all_scores)
    counts = statistics.counts
    corpus = [MetricRow(metric=name, value=METRICS[name].value(statistics), n=counts.clips) for name in chosen]
    classes = [_class_row(label, counts, statistics.ranked[label]) for label in run["labels"]]
    tables = {
        "corpus": table(corpus, METRIC_ROW_SCHEMA),
        "clips": pa.Table.from_pylist(clips),
        "classes": pa.Table.from_pylist(classes, schema=_CLASSES_SCHEMA),
    }
    for name, content in tables.items():
        files.write_table(files.join(output, f"metrics/{name}.parquet"), content)
    return {
        "output": output,
        "key": key,
        "clips": len(clips),
        "corpus": [vars(row) for row in corpus],
        "not_available": lacking,
        "classes": classes,
        "unknown_labels": sorted(
            {label for labels in known.values() for label in labels if _words(label) not in names}
        ),
        "without_references": sorted({name for name in keys if not truth.get(name)}),
        "without_tags": sorted(set(known) - set(keys)),
        "problems": [],
    }


def _read_labelled_run(results: str) -> dict[str, Any]:
    run = read_run(results)
    if run is None or not isinstance(run.get("labels"), list) or not all(isinstance(x, str) for x in run["labels"]):
        path = files.join(results, RUN_FILE)
        raise StoreFormatError(f"{path!r} names no labels.", "Restore the file, or run `sonogloss classify` again.")
    return run


def _read_tags(results: str, run: dict[str, Any]) -> list[dict[str, Any]]:
    parts = [part["path"] for part in read_parts(results, run, LABELS)]
    rows = [row for part in parts for row in files.read_table(files.join(results, part)).to_pylist()]
    return sorted(rows, key=lambda row: (row["uri"], row["start_s"]))


def _gather(
    scored: Sequence[tuple[dict[str, Any], set[str]]], labels: Sequence[str], *, all_scores: bool
) -> tuple[TagStatistics, list[dict[str, Any]]]:
    """What rows with their true labels add up to, and a row of `clips.parquet` for each."""
    counts, clips = TagCounts(), []
    for row, true in scored:
        best = row["labels"][0]["label"] if row["labels"] else None
        counts = counts.merge(TagCounts.of(best, true))
        clips.append({"clip_id": row["clip_id"], "uri": row["uri"], "label": best, "accuracy": float(best in true)})
    ranked = dict.fromkeys(labels, RankedClips())
    if all_scores:
        ranked = {
            label: RankedClips(
                scores=tuple(row["scores"][column] for row, _ in scored),
                true=tuple(label in true for _, true in scored),
            )
            for column, label in enumerate(labels)
        }
    return TagStatistics(counts=counts, ranked=ranked), clips


def read_true_labels(path: str) -> tuple[str, dict[str, list[str]]]:
    """True labels by key, and which key column they go by.

    Raises:
        FormatError: there is no such key, or no labels.
    """
    references = read_table(path, option="--references")
    column = references.require(*KEYS, "filename")
    key = "file_name" if column == "filename" else column
    one = references.require("label", "class", "labels")
    known: dict[str, list[str]] = {}
    for place, row in references.rows:
        labels = cell_values(row, "labels", one)
        if row.get(column) is None or not all(isinstance(label, str | int) for label in labels):
            raise references.wrong(place, f"no {column}, or labels that are not text")
        name = files.base_name(str(row[column])) if key == "file_name" else str(row[column])
        known.setdefault(name, []).extend(str(label) for label in labels if str(label).strip())
    return key, known


def _words(label: str) -> str:
    return " ".join(unicodedata.normalize("NFC", str(label)).replace("_", " ").lower().split())


def _class_row(label: str, counts: TagCounts, ranked: RankedClips) -> dict[str, Any]:
    confusion = counts.confusion(label)
    return {
        "label": label,
        "n": counts.true.get(label, 0),
        "accuracy": counts.recall(label),
        "precision": counts.precision(label),
        "average_precision": ranked.average_precision,
        "confused_with": confusion[0] if confusion else None,
        "confused": confusion[1] if confusion else 0,
    }


def show_tags(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = plain_console()
    console.print(f"{report['clips']:,} tagged clips scored by {report['key']}")
    show_corpus(console, report)
    classes = Table("label", "n", "accuracy", "precision", "AP", "most often taken for")
    for row in report["classes"]:
        if row["n"]:
            shares = [row[name] for name in ("accuracy", "precision", "average_precision")]
            words = f"{row['confused_with']} ({row['confused']})" if row["confused_with"] else ""
            classes.add_row(row["label"], f"{row['n']:,}", *("" if s is None else f"{s:.3f}" for s in shares), words)
    console.print(classes)
    show_unmatched(
        console,
        report,
        unknown_labels="true labels that the run did not have",
        without_references="tagged, but without a known true label, so not scored",
        without_tags="with labels, but not tagged",
    )


def show_corpus(console: Console, report: dict[str, Any]) -> None:
    """Print the metrics of the corpus."""
    corpus = Table("metric", "value", "95 % interval", "n", title=files.join(report["output"], "metrics"))
    for row in report["corpus"]:
        interval = "" if row["low"] is None else f"{row['low']:.4f} to {row['high']:.4f}"
        corpus.add_row(row["metric"], f"{row['value']:.4f}", interval, f"{row['n']:,}")
    by_reason: dict[str, list[str]] = {}
    for name, why in report.get("not_available", {}).items():
        corpus.add_row(name, "not available", "", "")
        by_reason.setdefault(why, []).append(name)
    console.print(corpus)
    for why, names in by_reason.items():
        console.print(f"{', '.join(names)} not available: {why}", soft_wrap=True)


def show_unmatched(console: Console, report: dict[str, Any], **words: str) -> None:
    """Print how many keys of each of these lists of a report there are, in these words, and name the first."""
    for key, what in words.items():
        if count := report.get("counts", {}).get(key, len(report[key])):
            named = ", ".join(report[key][:_NAMED]) + (" ..." if len(report[key]) > _NAMED else "")
            console.print(f"{count:,} {what}: {named}")
