"""Captions compared with references: what evaluate, compare and report share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sonogloss import files
from sonogloss.errors import FormatError, OptionError, StoreFormatError
from sonogloss.metrics import METRICS, Evaluation, evaluate
from sonogloss.metrics.bootstrap import Numbers, Value, bootstrap_interval
from sonogloss.metrics.metric import Need
from sonogloss.metrics.scorers import find_scorers
from sonogloss.metrics.selection import choose, needs_of
from sonogloss.metrics.tokenize import holds_words_without_blanks
from sonogloss.pipelines.running.references import KEYS, References, check_names, read_references
from sonogloss.records import MetricRow
from sonogloss.tables import Table, read_table
from sonogloss.transforms.commit_run import RUN_FILE, read_parts, read_run

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Captions compared with references.

    Attributes:
        references: the references, and the key of every row.
        metrics: names of the metrics that could be computed, in the order asked for.
        not_available: why others could not, by name.
        evaluation: by the number of the row; only rows with references are in it.
        empty: numbers of the scored rows whose caption is empty; they score 0.
    """

    references: References
    metrics: tuple[str, ...]
    not_available: Mapping[str, str]
    evaluation: Evaluation
    empty: tuple[int, ...]

    @property
    def clips(self) -> dict[int, dict[str, float]]:
        """Metric values by the number of the row."""
        return {int(number): values for number, values in self.evaluation.clips.items()}

    def numbers(self, metric: str) -> tuple[list[int], Numbers]:
        """The rows that have this metric, and their statistics [n, numbers]."""
        found = {
            int(number): own.by_metric[metric][0].numbers
            for number, own in self.evaluation.statistics.items()
            if metric in own.by_metric
        }
        return list(found), np.array(list(found.values()), np.float64)

    def corpus(self, *, resamples: int, seed: int) -> list[MetricRow]:
        """The metric rows, with their intervals."""
        rows = []
        for row in self.evaluation.corpus:
            if resamples and METRICS[row.metric].value_of_numbers is not None:
                _, numbers = self.numbers(row.metric)
                interval = bootstrap_interval(numbers, value_of(row.metric), resamples=resamples, seed=seed)
                row = replace(row, low=interval.low, high=interval.high)
            rows.append(row)
        return rows


def value_of(metric: str) -> Value:
    """From a sum of the statistics of clips to the value of a metric."""
    function = METRICS[metric].value_of_numbers
    assert function is not None, f"{metric} has no statistics that add up"
    return lambda numbers: function(numbers.tolist())


def score_rows(
    rows: Sequence[Row],
    *,
    results: str,
    references: str,
    key: str | None = None,
    columns: Sequence[str] = (),
    metrics: str | Sequence[str] | None = None,
    tokenizer: str = "simple",
    sentence_model: str | None = None,
    fluency_model: str | None = None,
) -> Scores:
    """Score every row against the references of its key.

    A caption that is missing or empty scores 0.

    Args:
        rows: with `caption` and a key; at least one.
        results: where they come from, for messages.
        references: the table of references.
        key: the key column of the references, where its name does not say so.
        columns: the text columns of the references, likewise.
        metrics: names; those that need no program and no model of others where none are given.
        tokenizer: how captions are cut into words.
        sentence_model: directory or `hf:owner/name`, for sbert_sim and fense.
        fluency_model: checkpoint, for fer, fense and spider_fl.

    Raises:
        InputError: the references cannot be used, or share no key with the rows.
    """
    found = read_references(references, rows, key=key, columns=columns)
    matched = _match(found, rows, results=results, references=references)
    captions = {number: _caption(rows[number]) for number in matched}
    clap_scores = {
        str(number): float(rows[number]["clap_score"])
        for number in matched
        if rows[number].get("clap_score") is not None
    }
    _check_tokenizer(tokenizer, captions, found)
    available: list[Need] = ["references", "clap_scores"] if clap_scores else ["references"]
    needed = needs_of(metrics, available) if metrics else set()
    scorers, reasons = find_scorers(needed, sentence_model=sentence_model, fluency_model=fluency_model)
    chosen, lacking = choose(metrics or None, [*available, "captions", *scorers] if metrics else available, reasons)
    names, too_few = _with_enough_clips(chosen, len(matched))
    evaluation = evaluate(
        {str(number): captions[number] for number in matched},
        {str(number): found.known[found.keys[number]] for number in matched},
        metrics=names,
        tokenizer=tokenizer,
        scorers=scorers,
        clap_scores=clap_scores,
    )
    return Scores(
        references=found,
        metrics=names,
        not_available={**lacking, **too_few},
        evaluation=evaluation,
        empty=tuple(number for number, caption in captions.items() if not caption.strip()),
    )


def _match(found: References, rows: Sequence[Row], *, results: str, references: str) -> list[int]:
    """The numbers of the rows that have references."""
    matched = [number for number, name in enumerate(found.keys) if name in found.known]
    if not matched:
        raise FormatError(
            f"--references {references!r} and --results {results!r} have no {found.key} in common "
            f"({next(iter(found.known), 'nothing')!r} against {found.keys[0]!r}).",
            "Check that both name the same clips, or name the key column of the references with --key.",
        )
    if found.key == "file_name":
        names_of_rows = [str(rows[number].get("uri", found.keys[number])) for number in matched]
        check_names(names_of_rows, "--results", results)
    return matched


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


def _checked(predictions: Table, place: str, row: Row) -> dict[str, Any]:
    """A row with a caption, or with null where a tool wrote none, and with a key where others have one."""
    if not isinstance(row.get("caption"), str | None):
        raise predictions.wrong(place, "the caption is not text")
    keys = [key for key in KEYS if key in predictions.columns]
    if keys and all(row.get(key) in (None, "") for key in keys):
        raise predictions.wrong(place, f"it has no {' or '.join(keys)}")
    return {**row, "caption": row.get("caption")}


def _caption(row: Row) -> str:
    """The text; nothing where a tool wrote null."""
    return row["caption"] or ""


def _check_tokenizer(tokenizer: str, captions: Mapping[int, str], references: References) -> None:
    if tokenizer != "ptb":
        return
    texts = [*captions.values(), *(text for name in references.known.values() for text in name)]
    if (text := next(filter(holds_words_without_blanks, texts), None)) is not None:
        raise OptionError(
            f"The tokenizer 'ptb' cannot cut {text[:40]!r}, which has no blanks between its words.",
            "Choose --tokenizer simple, or cut the words and choose whitespace.",
        )


def read_results(path: str) -> list[dict[str, Any]]:
    """Captions with their keys, from a results directory or any table with `caption`.

    Raises:
        InputError: it is neither.
    """
    if not files.is_dir(path):
        predictions = read_table(path, option="--results")
        predictions.require("caption")
        return [_checked(predictions, place, row) for place, row in predictions.rows]
    run = read_run(path)
    if run is None:
        raise StoreFormatError(
            f"--results {path!r} has no {RUN_FILE}.", "Let `sonogloss caption` finish, or name a results directory."
        )
    parts = [part["path"] for part in read_parts(path, run, "captions")]
    columns = ["clip_id", "uri", "caption", "clap_score"]
    rows = [row for part in parts for row in files.read_table(files.join(path, part), columns=columns).to_pylist()]
    if not rows:
        raise StoreFormatError(f"--results {path!r} holds no captions.", "Look into its dead_letters.")
    return sorted(rows, key=lambda row: row["uri"])
