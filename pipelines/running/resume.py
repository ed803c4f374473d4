"""Resuming: which units of work an earlier run completed, and which are pending.

The footers of part files name the unit of work and the configuration they belong to, and the last file of a unit is
marked. So a job that was killed continues unit by unit, and sources that were added since cost only the units they fall
into.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import OutputError, StoreFormatError
from sonogloss.transforms.commit_run import FORMAT, RUN_FILE
from sonogloss.transforms.work import Part, Unit, UnitResult
from sonogloss.transforms.write_rows import CONFIGURATION_KEY, PARTS_KEY, UNIT_KEY, dead_letters_name, rows_name

FOLDERS = ("captions", "labels", "dead_letters")


@dataclass(frozen=True, kw_only=True)
class UnitPlan:
    """Pending units, results of completed ones, and files to remove before the job starts.

    `finished` says that an earlier run completed and committed all units.
    """

    pending: list[Unit]
    completed: list[UnitResult]
    remove: list[str]
    finished: bool


@dataclass
class _Found:
    """The files of one unit, by name, with their footers' rows, and the number of files of rows it should have."""

    rows: dict[str, int] = field(default_factory=dict)
    parts: int | None = None


def plan_units(
    output: str,
    units: Sequence[Unit],
    *,
    configuration: str,
    begin_anew: bool,
    rows: str = "captions",
    options: Mapping[str, Any] | None = None,
) -> UnitPlan:
    """Compare what a results directory holds with what a job should leave there. Nothing is changed.

    Args:
        output: the results directory; it need not exist.
        units: all units of the job.
        configuration: digest of the options that shape a row.
        begin_anew: replace what is there instead of continuing it.
        rows: the folder of the job's rows, `captions` or `labels`.
        options: those that shape a row, by name, to say which of them were others.

    Raises:
        OutputError: the directory holds something else, or rows that were made with other options or from sources that
            this job does not have.
    """
    run = _read_run(output)
    names = [
        f"{folder}/{files.base_name(path)}" for folder in FOLDERS for path in files.list_dir(files.join(output, folder))
    ]
    partial = [name for name in names if ".parquet.tmp-" in name]
    if begin_anew:
        ours = [name for name in names if files.base_name(name).startswith("part-")]
        return UnitPlan(pending=list(units), completed=[], remove=ours + ([RUN_FILE] if run else []), finished=False)
    parts = [name for name in names if name.endswith(".parquet")]
    found, broken, foreign = _read_footers(output, parts, configuration)
    if foreign:
        raise OutputError(
            f"--output {output!r} holds results that were made with other options or models"
            f"{_differences(run, options or {})}.",
            "Name another directory, or replace them with --overwrite.",
        )
    committed = {part["path"]: part for part in run["parts"]} if run else {}
    completed = [result for unit in units if (result := _result_of(output, unit, found, committed, rows)) is not None]
    done = {result.unit for result in completed}
    pending = [unit for unit in units if unit.id not in done]
    stale = [name for unit, files_found in found.items() if unit not in done for name in files_found.rows]
    _check_stale(output, stale, {uri for unit in units for uri in unit.uris})
    remove = sorted({*partial, *broken, *stale})
    finished = (
        run is not None
        and not pending
        and not remove
        and set(committed) == {part.path for result in completed for part in result.parts}
    )
    if run is not None and not finished:
        remove.append(RUN_FILE)
    return UnitPlan(pending=pending, completed=completed, remove=remove, finished=finished)


def _read_run(output: str) -> dict[str, Any] | None:
    path = files.join(output, RUN_FILE)
    if not files.exists(path):
        return None
    run = files.read_json(path, error=StoreFormatError)
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise OutputError(f"--output {output!r} holds a {RUN_FILE} that is not ours.", "Name another directory.")
    return run


def _differences(run: Mapping[str, Any] | None, options: Mapping[str, Any]) -> str:
    """Which options were others, as far as an earlier run has recorded them."""
    before = run.get("configuration", {}) if run else {}
    others = [
        f"--{name.replace('_', '-')} was {before[name]}"
        for name, value in options.items()
        if value is not None and name in before and before[name] != value
    ]
    return f" ({', '.join(others)})" if others else ""


def _read_footers(
    output: str, names: Sequence[str], configuration: str
) -> tuple[dict[str, _Found], list[str], list[str]]:
    """Read the footers: files by unit, those that are broken, and those of another configuration."""
    found: dict[str, _Found] = {}
    broken, foreign = [], []
    for name in names:
        try:
            with files.open_read(files.join(output, name)) as handle:
                footer = pq.read_metadata(handle)
        except (OSError, pa.ArrowException):
            broken.append(name)
            continue
        metadata = footer.metadata or {}
        if metadata.get(CONFIGURATION_KEY) != configuration.encode():
            foreign.append(name)
            continue
        unit = found.setdefault(metadata[UNIT_KEY].decode(), _Found())
        unit.rows[name] = footer.num_rows
        if PARTS_KEY in metadata:
            unit.parts = int(metadata[PARTS_KEY])
    return found, broken, foreign


def _result_of(
    output: str, unit: Unit, found: dict[str, _Found], committed: dict[str, dict[str, Any]], folder: str
) -> UnitResult | None:
    """The result of a unit whose files are all there; None when it must be done again."""
    there = found.get(unit.id)
    if there is None or there.parts is None:
        return None
    letters = dead_letters_name(unit.id)
    names = [*(rows_name(folder, unit.id, number) for number in range(there.parts)), letters]
    if set(names) != set(there.rows):
        return None
    parts = [Part(**files.file_entry(output, name), rows=there.rows[name]) for name in names]
    if any(committed[part.path]["sha256"] != part.sha256 for part in parts if part.path in committed):
        return None
    codes = Counter(files.read_table(files.join(output, letters), columns=["code"]).column("code").to_pylist())
    rows = sum(part.rows for part in parts[:-1])
    return UnitResult(
        unit=unit.id,
        parts=tuple(parts),
        inputs=rows + there.rows[letters],
        rows=rows,
        dead_letters=there.rows[letters],
        codes=dict(codes),
    )


def _check_stale(output: str, names: Sequence[str], uris: set[str]) -> None:
    """Files of other units go only when this job covers all their sources."""
    for name in names:
        sources = files.read_table(files.join(output, name), columns=["uri"]).column("uri")
        for uri in pc.unique(sources).to_pylist():
            if uri not in uris:
                raise OutputError(
                    f"--output {output!r} holds rows of {uri!r}, which --audio does not name.",
                    "Name another directory, name all sources, or replace them with --overwrite.",
                )
