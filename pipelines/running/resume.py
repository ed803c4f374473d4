"""Resuming: which sources an earlier run has done, which are pending, and whose rows are out of date.

Work is known by its source: name, size and version, range (:func:`~sonogloss.sources.source_key`). So a
collection that grew costs its new sources, a source that changed is done again and its old rows go, and one that is no
longer there keeps its rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import RETRYABLE, OutputError
from sonogloss.in_parallel import in_parallel
from sonogloss.pipelines.running.done_sources import Comparison, Name, compare
from sonogloss.pipelines.running.ownership import Holdings, survey
from sonogloss.sources import Source, SourceTable
from sonogloss.sources.names import printable_name
from sonogloss.transforms.commit_run import RUN_FILE, Rewrite
from sonogloss.transforms.long_sources import count_recordings
from sonogloss.transforms.part_files import dead_letters_name, noted_sources, rows_name, sources_of, sources_of_rows
from sonogloss.transforms.skipped_files import NOTHING_SKIPPED, SkippedList
from sonogloss.transforms.work import LARGEST_UNIT, DoneSource, Part, Unit, UnitResult, cut_units, unit_id

SMALL = 1000
"""Units with fewer rows are small ones."""

MANY = 100
"""So many small units are joined."""


@dataclass(frozen=True, kw_only=True)
class UnitPlan:
    """What is to be done.

    Attributes:
        pending: units of work.
        completed: results of an earlier run that stay as they are.
        rewrites: results of an earlier run that are written again.
        remove: files to remove before the job starts, in this order.
        taken_over: how many of the job's sources are done.
        vanished: how many recordings have rows and are not named by the job.
        first_vanished: the first of them by name.
        finished: an earlier run has completed and committed everything.
    """

    pending: list[Unit]
    completed: list[UnitResult] = field(default_factory=list)
    rewrites: list[Rewrite] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    taken_over: int = 0
    vanished: int = 0
    first_vanished: list[Name] = field(default_factory=list)
    finished: bool = False


@dataclass(frozen=True, kw_only=True)
class _DoneUnit:
    result: UnitResult
    sources: Sequence[DoneSource]
    complete: bool
    retryable: Collection[Name]
    drop: frozenset[Name] | None = frozenset()


def plan_units(
    output: str,
    sources: Sequence[Source],
    *,
    configuration: str,
    earlier: Callable[[], Collection[str]] = tuple,
    begin_anew: bool,
    retry: bool = False,
    rows: str = "captions",
    options: Mapping[str, Any] | None = None,
    skipped: SkippedList = NOTHING_SKIPPED,
) -> UnitPlan:
    """Compare what a results directory holds with what a job should leave there. Nothing is changed.

    Args:
        output: the results directory; it need not exist.
        sources: all sources of the job.
        configuration: digest of the options that shape a row.
        earlier: gives digests that say the same; asked where there are others.
        begin_anew: replace what is there instead of continuing it.
        retry: do recordings again that have a dead letter of a retryable code.
        rows: the folder of the job's rows, `captions` or `labels`.
        options: those that shape a row, by name, to say which of them were others.
        skipped: what the job leaves out.

    Raises:
        OutputError: the directory holds something else, or rows that were made with other options.
    """
    table = SourceTable.of(sources).in_order()
    held = survey(output, kind=rows, units=lambda: (unit.id for unit in cut_units(table)))
    if begin_anew:
        first = [RUN_FILE] if held.run else []
        return UnitPlan(
            pending=list(cut_units(table)),
            remove=[*first, *held.footers, *held.broken, *held.leftovers, *held.manifests, *held.skipped],
        )
    _refuse_other_options(output, held, configuration, earlier, options or {})
    done, listed = _compare(table, _done_units(output, held, rows), retry=retry)
    named = {part.path for unit in done for part in unit.result.parts}
    stale = [name for name in held.footers if name not in named]
    _check_stale(output, [name for name in stale if name in held.committed], table)
    rewrites = [Rewrite(units=(unit.result,), drop=unit.drop) for unit in done if unit.drop != frozenset()]
    plan = UnitPlan(
        pending=[_renamed(unit, listed.again, rewrites) for unit in cut_units(table, done=listed.done)],
        completed=[unit.result for unit in done if unit.drop == frozenset()],
        rewrites=rewrites,
        taken_over=count_recordings(table, listed.done),
        vanished=listed.vanished,
        first_vanished=listed.first_vanished,
    )
    remove = sorted({*held.leftovers, *held.broken, *stale})
    as_committed = held.run is not None and set(held.committed) == named and _same_skipped(held.run, held, skipped)
    if as_committed and not (plan.pending or plan.rewrites or remove):
        return replace(plan, finished=True)
    return replace(_tidied(plan, done), remove=remove)


def _same_skipped(run: Mapping[str, Any], held: Holdings, skipped: SkippedList) -> bool:
    """Does a finished run say what is left out now? An earlier release listed nothing; what it counted will do."""
    if held.skipped:
        return set(held.skipped) == {skipped.name}
    counted = {code: count for code, count in run.get("skipped_codes", skipped.counts).items() if code != "SILENT"}
    return counted == skipped.counts


def _compare(table: SourceTable, units: Iterable[_DoneUnit], *, retry: bool) -> tuple[list[_DoneUnit], Comparison]:
    """The units that count, without their sources, and what of the listing they have done."""
    found: list[_DoneUnit] = []

    def noted() -> Iterator[tuple[Sequence[DoneSource], Collection[Name]]]:
        for unit in units:
            found.append(replace(unit, sources=(), retryable=()))
            yield unit.sources, unit.retryable

    listed = compare(table, noted(), retry=retry)
    done = [
        replace(unit, drop=None if number in listed.emptied else frozenset(listed.dropped.get(number, ())))
        for number, unit in enumerate(found)
        if number not in listed.repeated
    ]
    return done, listed


def _renamed(unit: Unit, again: npt.NDArray[np.bool_], rewrites: Sequence[Rewrite]) -> Unit:
    """A unit of recordings that are tried again has a name of its own: what it replaces stays until the commit."""
    if not (rewrites and again[SourceTable.of(unit.sources).rows].any()):
        return unit
    replaced = sorted(result.unit for rewrite in rewrites for result in rewrite.units)
    return replace(unit, id=unit_id([unit.id, *replaced]))


def _tidied(plan: UnitPlan, done: Sequence[_DoneUnit]) -> UnitPlan:
    """The plan of a job that writes anyway: what it takes over gets the columns of today, and small units join.

    All parts of a run so have the same columns, and a collection that grows every day does not end as a thousand files
    of a few rows. A row is written again once for every factor of :data:`MANY`, until its unit is no longer small.
    """
    units = {unit.result.unit: unit for unit in done}
    completed = [units[result.unit] for result in plan.completed]
    small = [unit for unit in completed if unit.result.inputs < SMALL and unit.result.sources < LARGEST_UNIT]
    groups = [[unit] for unit in completed if not unit.complete]
    if len(small) >= MANY:
        groups = [*_grouped(small), *([unit] for unit in completed if not unit.complete and unit not in small)]
    again = {unit.result.unit for group in groups for unit in group}
    joined = [Rewrite(units=tuple(unit.result for unit in group)) for group in groups]
    kept = [result for result in plan.completed if result.unit not in again]
    return replace(plan, completed=kept, rewrites=[*plan.rewrites, *joined])


def _grouped(units: Iterable[_DoneUnit]) -> Iterator[list[_DoneUnit]]:
    """Small units in groups that are no longer small."""
    group: list[_DoneUnit] = []
    for unit in units:
        group.append(unit)
        if (
            sum(each.result.inputs for each in group) >= SMALL
            or sum(each.result.sources for each in group) >= LARGEST_UNIT
        ):
            yield group
            group = []
    if len(group) > 1 or not all(unit.complete for unit in group):
        yield group


def _refuse_other_options(
    output: str,
    held: Holdings,
    configuration: str,
    earlier: Callable[[], Collection[str]],
    options: Mapping[str, Any],
) -> None:
    found = {footer.configuration for footer in held.footers.values()}
    if not (found <= {configuration} or found <= {configuration, *earlier()}):
        raise OutputError(
            f"--output {output!r} holds results that were made with other options or models"
            f"{_differences(held.run, options)}.",
            "Name another directory, or replace them with --overwrite.",
        )


def _differences(run: Mapping[str, Any] | None, options: Mapping[str, Any]) -> str:
    """Which options were others, as far as an earlier run has recorded them."""
    before = run.get("configuration", {}) if run else {}
    others = [
        f"--{name.replace('_', '-')} was {'not given' if before[name] is None else before[name]}"
        for name, value in options.items()
        if value not in (None, "auto") and name in before and before[name] != value
    ]
    return f" ({', '.join(others)})" if others else ""


def _done_units(output: str, held: Holdings, folder: str) -> Iterator[_DoneUnit]:
    """The units whose files are all there, those of the committed run first."""
    by_unit: dict[str, list[str]] = defaultdict(list)
    for name, footer in held.footers.items():
        by_unit[footer.unit].append(name)
    committed = {held.footers[name].unit for name in held.committed if name in held.footers}
    order = sorted(by_unit, key=lambda unit: (unit not in committed, unit))
    look = partial(_done_unit, output, held, folder, by_unit)
    for unit in in_parallel(look, order, place=output):
        if unit is not None:
            yield unit


def _done_unit(
    output: str, held: Holdings, folder: str, by_unit: Mapping[str, Sequence[str]], unit: str
) -> _DoneUnit | None:
    """What is known of a unit; None when one of its files is missing or not as it was written."""
    footers = {name: held.footers[name] for name in by_unit[unit]}
    count = next((footer.parts for footer in footers.values() if footer.parts is not None), None)
    letters = dead_letters_name(unit)
    if count is None or letters not in footers:
        return None
    rows = [rows_name(folder, unit, number) for number in range(count)]
    if {*rows, letters} != set(footers):
        return None
    content = files.read_bytes(files.join(output, letters))
    parts = [Part(**files.file_entry(output, name), rows=footers[name].rows) for name in rows]
    digest = hashlib.sha256(content).hexdigest()
    parts.append(Part(path=letters, bytes=len(content), sha256=digest, rows=footers[letters].rows))
    if any(held.committed[part.path]["sha256"] != part.sha256 for part in parts if part.path in held.committed):
        return None
    failures = pq.read_table(pa.BufferReader(content), columns=["code", "uri", "member"])
    sources = noted_sources(failures.schema.metadata) or sources_of_rows(output, [*rows, letters])
    failed = failures.to_pylist()
    silent = sum(source.silent for source in sources)
    rows_count = sum(part.rows for part in parts[:-1])
    result = UnitResult(
        unit=unit,
        parts=tuple(parts),
        sources=len(sources),
        inputs=rows_count + len(failed) + silent,
        rows=rows_count,
        dead_letters=len(failed),
        silent=silent,
        codes=dict(Counter(letter["code"] for letter in failed)),
    )
    return _DoneUnit(
        result=result,
        sources=sources,
        complete=all(footer.complete for footer in footers.values()),
        retryable={(letter["uri"], letter["member"]) for letter in failed if letter["code"] in RETRYABLE},
    )


def _check_stale(output: str, names: Iterable[str], table: SourceTable) -> None:
    """What is left of a damaged unit goes only when this job covers all its recordings."""
    lacking: dict[Name, str] = {}
    for name in names:
        with suppress(OSError, pa.ArrowException):  # these rows are lost
            lacking |= {printable_name(source.uri, source.member): name for source in sources_of(output, [name])}
    for recording in table.names() if lacking else ():
        lacking.pop(printable_name(*recording), None)
    for (uri, _), name in lacking.items():
        raise OutputError(
            f"--output {output!r} is damaged: {name!r} has rows of {uri!r}, which --audio lacks.",
            "Name all recordings, or name another directory.",
        )
