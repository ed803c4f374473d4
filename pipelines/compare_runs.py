"""compare: several runs against the same references -> intervals, paired differences, the clips that differ most."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sonogloss import files
from sonogloss.errors import FormatError, OptionError, OutputError
from sonogloss.metrics.bootstrap import bootstrap_interval, compare
from sonogloss.pipelines.config.evaluation import CompareConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.running.scoring import Scores, read_results, score_rows, value_of

MOST = 5  # clips that are shown in either direction


@command(CompareConfig)
def compare_runs(config: CompareConfig) -> dict[str, Any]:
    """Compare runs over the same clips.

    Clips that all runs captioned and that have references are compared; the others are counted. Every run is compared
    with the first one.

    Returns:
        The report: `runs` (name and values with intervals), `differences` from the first run, `clips` compared,
        `not_compared`, and `most` (the clips that differ most by the first metric).

    Raises:
        InputError: an option or a file cannot be used, or the runs share no clip.
    """
    names = [str(path) for path in config.results]
    if len(names) < 2:
        raise OptionError("There is one run to compare.", "Name two or more.")
    if len(set(names)) < len(names):
        raise OptionError("A run is named twice.", "Name each once.")
    if config.output is not None and files.exists(str(config.output)):
        raise OutputError(f"--output {str(config.output)!r} exists.", "Name another file.")
    loaded = [read_results(name) for name in names]
    scores = [
        score_rows(
            rows,
            results=name,
            references=str(config.references),
            key=config.key,
            columns=config.references_column,
            metrics=config.metrics,
            tokenizer=config.tokenizer,
        )
        for name, rows in zip(names, loaded, strict=True)
    ]
    identities = [_identities(one, rows) for one, rows in zip(scores, loaded, strict=True)]
    shared = [name for name in identities[0] if all(name in others for others in identities[1:])]
    if not shared:
        raise FormatError(
            "The runs share no clip that has references.", "Check that all captioned the same recordings."
        )
    metrics = [name for name in scores[0].metrics if all(name in other.metrics for other in scores[1:])]
    matrices = [
        {metric: _matrix(one, metric, [rows[name] for name in shared]) for metric in metrics}
        for one, rows in zip(scores, identities, strict=True)
    ]
    metrics = [metric for metric in metrics if all(one[metric] is not None for one in matrices)]
    options = {"resamples": config.bootstrap, "seed": config.seed}
    runs = [
        {
            "name": name,
            "values": {
                metric: {
                    "value": value_of(metric)(found[metric].sum(axis=0)),
                    **asdict(bootstrap_interval(found[metric], value_of(metric), **options)),
                }
                for metric in metrics
            },
        }
        for name, found in zip(names, matrices, strict=True)
    ]
    differences = [
        {"name": name, "metric": metric}
        | _flat(compare(matrices[0][metric], found[metric], value_of(metric), **options))
        for name, found in zip(names[1:], matrices[1:], strict=True)
        for metric in metrics
    ]
    by_clip = _by_clip(shared, metrics, matrices, names)
    if config.output is not None:
        files.write_table(str(config.output), by_clip)
    return {
        "runs": runs,
        "differences": differences,
        "clips": len(shared),
        "not_compared": {
            name: len(rows) - len(shared) for name, rows in zip(names, loaded, strict=True) if len(rows) > len(shared)
        },
        "not_available": dict(scores[0].not_available),
        "most": _most(shared, metrics, matrices, identities, loaded),
        "problems": [],
    }


def _identities(scores: Scores, rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """What a scored row is called in every run, with its number: its clip_id, or the key where it has none."""
    return {str(rows[number].get("clip_id", scores.references.keys[number])): number for number in scores.clips}


def _matrix(scores: Scores, metric: str, numbers: Sequence[int]) -> Any:
    """The statistics of these rows, in this order; None when one lacks the metric."""
    found, matrix = scores.numbers(metric)
    at = {number: place for place, number in enumerate(found)}
    if any(number not in at for number in numbers):
        return None
    return matrix[[at[number] for number in numbers]]


def _flat(difference: Any) -> dict[str, Any]:
    values = asdict(difference)
    return {**values.pop("interval"), **values}


def _by_clip(
    shared: Sequence[str], metrics: Sequence[str], matrices: Sequence[dict[str, Any]], names: Sequence[str]
) -> pa.Table:
    columns: dict[str, Any] = {"clip": list(shared)}
    for name, found in zip(names, matrices, strict=True):
        for metric in metrics:
            columns[f"{metric} {name}"] = [value_of(metric)(row) for row in found[metric]]
    return pa.table(columns)


def _most(
    shared: Sequence[str],
    metrics: Sequence[str],
    matrices: Sequence[dict[str, Any]],
    identities: Sequence[dict[str, int]],
    loaded: Sequence[Sequence[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """The clips on which the second run gains and loses most against the first, by one metric."""
    if not metrics:
        return []
    metric = "cider_d" if "cider_d" in metrics else metrics[0]
    first, second = ([value_of(metric)(row) for row in found[metric]] for found in matrices[:2])
    gains = np.subtract(second, first)
    order = np.argsort(-gains, kind="stable")
    chosen = [number for number in dict.fromkeys([*order[:MOST], *order[-MOST:]]) if gains[number] != 0]
    return [
        {
            "clip": shared[number],
            "metric": metric,
            "difference": float(gains[number]),
            "captions": [
                rows[at[shared[number]]]["caption"] for rows, at in zip(loaded[:2], identities[:2], strict=True)
            ],
        }
        for number in chosen
    ]


def _cell(value: dict[str, float], sign: str = "") -> str:
    return f"{value['value']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = Console()
    first, *others = report["runs"]
    console.print(f"{report['clips']:,} clips that all runs captioned; 95 % intervals")
    console.print(f"A: {first['name']}", markup=False)
    for letter, run in zip(string.ascii_uppercase[1:], others, strict=False):
        console.print(f"{letter}: {run['name']}", markup=False)
        table = Table("metric", "A", letter, f"{letter} - A", "p", "wins", "losses", "ties")
        for row in report["differences"]:
            if row["name"] == run["name"]:
                values = (one["values"][row["metric"]] for one in (first, run))
                cells = [*map(_cell, values), _cell(row, "+"), f"{row['p']:.4f}"]
                table.add_row(row["metric"], *map(Text, cells), *(f"{row[n]:,}" for n in ("wins", "losses", "ties")))
        console.print(table)
    for row in report["most"]:
        before, after = row["captions"]
        console.print(f"{row['difference']:+.3f} {row['metric']}  {row['clip']}\n  {before}\n  {after}", markup=False)
    for name, count in report["not_compared"].items():
        console.print(f"{count:,} captions of {name} are not in all runs, or have no references", markup=False)
    for name, why in report["not_available"].items():
        console.print(f"{name} is not available: {why}", markup=False)
