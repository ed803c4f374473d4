"""compare: several runs against the same references -> intervals, differences, the clips that differ most."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from rich.table import Table

from sonogloss import files
from sonogloss.errors import FormatError, OptionError, OutputError
from sonogloss.metrics import METRICS
from sonogloss.metrics.bootstrap import Difference, bootstrap_interval, compare
from sonogloss.metrics.sums import Numbers
from sonogloss.pipelines.config.evaluation import CompareConfig
from sonogloss.pipelines.config.parser import command
from sonogloss.pipelines.running.join_references import read_results
from sonogloss.pipelines.running.scoring import Scores, score_rows
from sonogloss.pipelines.running.terminal import plain_console

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
    runs = _read(config)
    shared = [clip for clip in runs[0].places if all(clip in run.places for run in runs[1:])]
    if not shared:
        raise FormatError("The runs share no clip with references.", "Check that all captioned the same recordings.")
    metrics = [name for name in runs[0].scores.numbers if all(run.has(name, shared) for run in runs)]
    lacking = _lacking(runs, metrics)
    matrices = [{metric: run.matrix(metric, shared) for metric in metrics} for run in runs]
    if config.output is not None:
        files.write_table(str(config.output), _by_clip(shared, runs, matrices))
    options = {"resamples": config.bootstrap, "seed": config.seed}
    return {
        "runs": [
            {"name": run.name, "values": {name: _value(name, numbers, **options) for name, numbers in found.items()}}
            for run, found in zip(runs, matrices, strict=True)
        ],
        "differences": [
            {"name": run.name, "metric": name}
            | _flat(name, compare(matrices[0][name], numbers, METRICS[name].value, bounds=_bounds(name), **options))
            for run, found in zip(runs[1:], matrices[1:], strict=True)
            for name, numbers in found.items()
        ],
        "clips": len(shared),
        "not_compared": {run.name: run.scores.rows - len(shared) for run in runs if run.scores.rows > len(shared)},
        "not_available": lacking,
        "most": _most(shared, runs, matrices),
        "problems": [],
    }


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One run: its scores, and the place of each clip by what it is called in every run."""

    name: str
    scores: Scores
    places: dict[str, int]

    def has(self, metric: str, clips: Sequence[str]) -> bool:
        """Do all of these clips have this metric?"""
        return metric in self.scores.numbers and not np.isnan(self.matrix(metric, clips)).any()

    def matrix(self, metric: str, clips: Sequence[str]) -> Numbers:
        """What these clips add to the corpus, in this order."""
        return self.scores.numbers[metric][[self.places[clip] for clip in clips]]

    def about(self, clip: str, column: str) -> str:
        """What is known of a clip."""
        return str(self.scores.clips[column][self.places[clip]].as_py())


def _read(config: CompareConfig) -> list[_Run]:
    names = [str(path) for path in config.results]
    if len(names) < 2:
        raise OptionError("There is one run to compare.", "Name two or more.")
    if len(set(names)) < len(names):
        raise OptionError("A run is named twice.", "Name each once.")
    if not config.bootstrap:
        raise OptionError("--bootstrap 0 leaves no intervals and no test.", "Give 1 or more, or use evaluate.")
    if config.output is not None and files.exists(str(config.output)):
        raise OutputError(f"--output {str(config.output)!r} exists.", "Name another file.")
    references = str(config.references)
    plain = replace(config, bootstrap=0)  # intervals are those of the clips that all runs share
    found = {name: score_rows(read_results(name), plain, results=name, references=references) for name in names}
    by_id = config.per == "clip" and all(scores.clips["clip_id"].null_count == 0 for scores in found.values())
    return [_Run(name=name, scores=scores, places=_places(scores, by_id=by_id)) for name, scores in found.items()]


def _lacking(runs: Sequence[_Run], metrics: Sequence[str]) -> dict[str, str]:
    """Why metrics that were asked for are not compared, by name."""
    found = dict(runs[0].scores.not_available)
    for name in runs[0].scores.metrics:
        if name not in metrics:
            whole = METRICS[name].numbers is None
            found[name] = "it has no values of clips: see evaluate" if whole else "not every clip of every run has it"
    if not metrics:
        name, why = next(iter(found.items()))
        raise OptionError(f"The metric {name} cannot be compared: {why}.", "Ask for other metrics.")
    return found


def _value(metric: str, numbers: Numbers, *, resamples: int, seed: int) -> dict[str, float]:
    value = METRICS[metric].value
    interval = bootstrap_interval(numbers, value, resamples=resamples, seed=seed, bounds=_bounds(metric))
    return {"value": float(value(numbers.sum(axis=0))), **asdict(interval)}


def _bounds(metric: str) -> tuple[float, float]:
    return METRICS[metric].low, METRICS[metric].high


def _places(scores: Scores, *, by_id: bool) -> dict[str, int]:
    """A scored row goes by its clip_id, or by its key and how often that came before."""
    if by_id:
        return {name: place for place, name in enumerate(scores.clips["clip_id"].to_pylist())}
    seen: Counter[str] = Counter()
    found = {}
    for place, key in enumerate(scores.clips["key"].to_pylist()):
        found[f"{key} ({seen[key] + 1})" if seen[key] else key] = place
        seen[key] += 1
    return found


def _flat(metric: str, difference: Difference) -> dict[str, Any]:
    values = asdict(difference)
    if not METRICS[metric].higher_is_better:
        values |= {"wins": difference.losses, "losses": difference.wins}
    return {**values.pop("interval"), **values}


def _by_clip(shared: Sequence[str], runs: Sequence[_Run], matrices: Sequence[dict[str, Numbers]]) -> pa.Table:
    columns: dict[str, Any] = {"clip": list(shared)}
    for run, found in zip(runs, matrices, strict=True):
        for metric, numbers in found.items():
            columns[f"{metric} {run.name}"] = METRICS[metric].value(numbers)
    return pa.table(columns)


def _most(shared: Sequence[str], runs: Sequence[_Run], matrices: Sequence[dict[str, Numbers]]) -> list[dict[str, Any]]:
    """The clips on which the second run gains and loses most against the first, by one metric."""
    if not matrices[0]:
        return []
    metric = "cider_d" if "cider_d" in matrices[0] else next(iter(matrices[0]))
    first, second = (METRICS[metric].value(found[metric]) for found in matrices[:2])
    gains = second - first
    order = np.argsort(-gains, kind="stable")
    return [
        {
            "clip": shared[at],
            "key": runs[0].about(shared[at], "key"),
            "metric": metric,
            "difference": float(gains[at]),
            "captions": [run.about(shared[at], "caption") for run in runs[:2]],
        }
        for at in dict.fromkeys([*order[:MOST], *order[-MOST:]])
        if gains[at] != 0
    ]


def _cell(value: dict[str, float], sign: str = "") -> str:
    return f"{value['value']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"


def show(report: dict[str, Any]) -> None:
    """Print the report for a person."""
    console = plain_console()
    first, *others = report["runs"]
    console.print(f"{report['clips']:,} clips that all runs captioned; 95 % intervals")
    console.print(f"A: {first['name']}")
    for letter, run in zip(string.ascii_uppercase[1:], others, strict=False):
        console.print(f"{letter}: {run['name']}")
        table = Table("metric", "A", letter, f"{letter} - A", "p", "wins", "losses", "ties")
        for row in report["differences"]:
            if row["name"] == run["name"]:
                values = (one["values"][row["metric"]] for one in (first, run))
                cells = [*map(_cell, values), _cell(row, "+"), f"{row['p']:.4f}"]
                table.add_row(row["metric"], *cells, *(f"{row[n]:,}" for n in ("wins", "losses", "ties")))
        console.print(table)
    if report["most"]:
        console.print("The clips that differ most, with the caption of A above that of the other run:", soft_wrap=True)
    for row in report["most"]:
        for line in (f"{row['difference']:+.3f} {row['metric']}  {row['key']}", *row["captions"]):
            console.print(line)
    for name, count in report["not_compared"].items():
        console.print(f"{count:,} captions of {name} are not in all runs, or have no references")
    for name, why in report["not_available"].items():
        console.print(f"{name} is not available: {why}", soft_wrap=True)
