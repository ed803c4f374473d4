"""The record beside metrics: which inputs and options they were computed from, so that none are replaced by mistake."""

from __future__ import annotations

from typing import Any

from sonogloss import __version__, files
from sonogloss.errors import FormatError, OutputError
from sonogloss.pipelines.config.evaluation import EvaluateConfig
from sonogloss.pipelines.config.fields import settings_of
from sonogloss.transforms.commit_run import RUN_FILE

METRICS_FILE = "metrics/metrics.json"
FORMAT = "sonogloss-metrics"
FORMAT_VERSION = 1
_TABLES = ("metrics/clips.parquet", "metrics/corpus.parquet", "metrics/classes.parquet")


def inputs_of(config: EvaluateConfig) -> dict[str, Any]:
    """The options of an evaluation, with the sha256 of what it reads."""
    results = str(config.results)
    paths = {
        "results": files.join(results, RUN_FILE) if files.is_dir(results) else results,
        "references": str(config.references),
    }
    digests = {f"{name}_sha256": files.digest(path) if files.exists(path) else None for name, path in paths.items()}
    return {**config.as_json(), **digests}


def computed_before(config: EvaluateConfig, inputs: dict[str, Any]) -> dict[str, Any] | None:
    """The report of metrics that the same inputs and options gave; None when there are none or they are to be replaced.

    Raises:
        OutputError: the output holds metrics of other inputs or options, or files of somebody else.
    """
    output = str(config.output)
    path = files.join(output, METRICS_FILE)
    record = files.read_json(path, error=FormatError) if files.exists(path) else {}
    ours = isinstance(record, dict) and record.get("format") == FORMAT
    there = [name for name in (METRICS_FILE, *_TABLES) if files.exists(files.join(output, name))]
    if there and not ours:
        raise OutputError(
            f"--output {output!r} holds files that we cannot tell to be metrics of ours: {', '.join(there)}.",
            "Move them away, or name another directory.",
        )
    if config.overwrite or not there:
        return None
    # A record of an earlier release lacks options that came later; those stood at their defaults.
    if {**_defaults(config), **record.get("inputs", {})} == inputs:
        report: dict[str, Any] = record["report"]
        return {**report, "done_before": True}
    raise OutputError(
        f"--output {output!r} holds metrics of other inputs or options.",
        "Name another directory, or replace them with --overwrite.",
    )


def _defaults(config: EvaluateConfig) -> dict[str, Any]:
    found = {setting.name: setting.default for setting in settings_of(type(config)) if not setting.required}
    recorded = {name: value for name, value in found.items() if name in config.as_json()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in recorded.items()}


def write_record(config: EvaluateConfig, inputs: dict[str, Any], report: dict[str, Any]) -> None:
    """Write the record, last."""
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created_by": f"sonogloss {__version__}",
        "inputs": inputs,
        "report": report,
    }
    files.write_json(files.join(str(config.output), METRICS_FILE), content)
