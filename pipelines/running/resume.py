"""Resuming: which sources an earlier run has done, which are pending, and whose rows are out of date.

Work is known by its source: name, size and version, range (:func:`~sonogloss.sources.source_key`). So a
collection that grew costs its new sources, a source that changed is done again and its old rows go, and one that is no
longer there keeps its rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from sonogloss import files
from sonogloss.errors import RETRYABLE, OutputError
from sonogloss.pipelines.running.ownership import Holdings, survey
from sonogloss.sources import Source, SourceTable, source_key
from sonogloss.sources.names import SeenNames, printable_name
from sonogloss.transforms.commit_run import RUN_FILE, Rewrite
from sonogloss.transforms.long_sources import firsts
from sonogloss.transforms.part_files import Footer, dead_letters_name, rows_name, sources_of_rows
from sonogloss.transforms.skipped_files import NOTHING_SKIPPED, SkippedList
from sonogloss.transforms.work import LARGEST_UNIT, DoneSource, Part, Unit, UnitResult, cut_units, unit_id

SMALL = 1000
"""Units with fewer rows are small ones."""

MANY = 100
"""So many small units are joined."""

Name = tuple[str, str | None]
"""Of a recording: uri and member."""


@dataclass(frozen=True, kw_only=True)
class UnitPlan:
    """What is to be done.

    Attributes:
        pending: units of work.
        completed: results of an earlier run that stay as they are.
        rewrites: results of an earlier run that are written again.
        remove: files to remove before the job starts, in this order.
        taken_over: how many of the job's sources are done.
        vanished: recordings with rows that the job does not name.
        finished: an earlier run has completed and committed everything.
    """

    pending: list[Unit]
    completed: list[UnitResult] = field(default_factory=list)
    rewrites: list[Rewrite] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    taken_over: int = 0
    vanished: list[Name] = field(default_factory=list)
    finished: bool = False


@dataclass(frozen=True, kw_only=True)
class _DoneUnit:
    result: UnitResult
    sources: Iterable[DoneSource]
    complete: bool
    retryable: Collection[Name]


def plan_units(
    output: str,
    sources: Sequence[Source],
    *,
    configuration: str,
    earlier: Collection[str] = (),
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
        earlier: digests that say the same.
        begin_anew: replace what is there instead of continuing it.
        retry: do recordings again that have a dead letter of a retryable code.
        rows: the folder of the job's rows, `captions` or `labels`.
        options: those that shape a row, by name, to say which of them were others.
        skipped: what the job leaves out.

    Raises:
        OutputError: the directory holds something else, or rows that were made with other options.
    """
    units = cut_units(sources)
    held = survey(output, kind=rows, units=(unit.id for unit in units))
    if begin_anew:
        first = [RUN_FILE] if held.run else []
        return UnitPlan(
            pending=units, remove=[*first, *held.footers, *held.broken, *held.leftovers, *held.manifests, *held.skipped]
        )
    if not {footer.configuration for footer in held.footers.values()} <= {configuration, *earlier}:
        raise OutputError(
            f"--output {output!r} holds results that were made with other options or models"
            f"{_differences(held.run, options or {})}.",
            "Name another directory, or replace them with --overwrite.",
        )
    done = _done_units(output, held, rows)
    named = {part.path for unit in done for part in unit.result.parts}
    stale = [name for name in held.footers if name not in named]
    table = SourceTable.of(sources)
    listed = SeenNames(table.names())
    _check_stale(output, {name: held.footers[name] for name in stale if name in held.committed}, listed)
    plan = _compare(table, done, listed, retry=retry)
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


def _compare(table: SourceTable, done: Sequence[_DoneUnit], listed: SeenNames, *, retry: bool) -> UnitPlan:
    """What of the work that is done still counts.

    A recording that is listed, but in another version or in other ranges than one of its units holds, is replaced there
    as a whole: so no clip can have rows from two versions. So is one that is tried again. Of an earlier format no
    versions are known, and what is done counts.
    """
    again = _to_retry(done, table) if retry else set()
    # An earlier release did long recordings in one piece.
    parts = table.take(np.flatnonzero(table.parts >= 0))
    whole = {source_key(part): source_key(replace(part, part=None)) for part in parts}
    wanted = SeenNames(chain(table.keys(), whole.values()))
    completed, rewrites = [], []
    ready, unversioned = SeenNames(), SeenNames()
    vanished: set[Name] = set()
    for unit in done:
        sources = [((source.uri, source.member), source.key) for source in unit.sources]
        drop = {
            name for name, key in sources if name in again or (name in listed and key is not None and key not in wanted)
        }
        vanished.update(name for name, _ in sources if name not in listed and name not in drop)
        for name, key in sources:
            if name not in drop:
                (unversioned if key is None else ready).add(name if key is None else key)
        if drop:
            rewrites.append(Rewrite(units=(unit.result,), drop=frozenset(drop)))
        else:
            completed.append(unit.result)
    if unversioned:
        for key, name in zip(table.keys(), table.names(), strict=True):
            if name in unversioned:
                ready.add(key)
    for part, all_of_it in whole.items():
        if all_of_it in ready:
            ready.add(part)
    first = firsts(table)
    return UnitPlan(
        pending=[_renamed(unit, again, rewrites) for unit in cut_units(table, done=ready)],
        completed=completed,
        rewrites=rewrites,
        taken_over=sum(key in ready for key, begins in zip(table.keys(), first.tolist(), strict=True) if begins),
        vanished=sorted(vanished, key=lambda name: (name[0], name[1] or "")),
    )


def _to_retry(done: Sequence[_DoneUnit], table: SourceTable) -> set[Name]:
    """Recordings with a retryable dead letter; also an archive that could not be opened and has members now."""
    failed = {name for unit in done for name in unit.retryable}
    if not failed:
        return set()
    names = ((source.uri, source.member) for unit in done for source in unit.sources)
    found = {name for name in names if printable_name(*name) in failed}
    there = {name for uri, member in table.names() for name in ((uri, member), (uri, None)) if name in found}
    return found & there


def _renamed(unit: Unit, again: set[Name], rewrites: Sequence[Rewrite]) -> Unit:
    """A unit of recordings that are tried again has a name of its own: what it replaces stays until the commit."""
    if not again or again.isdisjoint((source.uri, source.member) for source in unit.sources):
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


def _differences(run: Mapping[str, Any] | None, options: Mapping[str, Any]) -> str:
    """Which options were others, as far as an earlier run has recorded them."""
    before = run.get("configuration", {}) if run else {}
    others = [
        f"--{name.replace('_', '-')} was {'not given' if before[name] is None else before[name]}"
        for name, value in options.items()
        if value not in (None, "auto") and name in before and before[name] != value
    ]
    return f" ({', '.join(others)})" if others else ""


def _done_units(output: str, held: Holdings, folder: str) -> list[_DoneUnit]:
    """The units whose files are all there, those of the committed run first; no source is in two of them."""
    by_unit: dict[str, dict[str, Footer]] = defaultdict(dict)
    for name, footer in held.footers.items():
        by_unit[footer.unit][name] = footer
    committed = {held.footers[name].unit for name in held.committed if name in held.footers}
    found: list[_DoneUnit] = []
    seen = SeenNames()
    for unit in sorted(by_unit, key=lambda unit: (unit not in committed, unit)):
        done = _done_unit(output, unit, by_unit[unit], held.committed, folder)
        if done is None:
            continue
        sources = [(source.key, source.uri, source.member) for source in done.sources]
        if not any(source in seen for source in sources):
            for source in sources:
                seen.add(source)
            found.append(done)
        # else a run was killed between writing a unit again and committing it
    return found


def _done_unit(
    output: str,
    unit: str,
    footers: Mapping[str, Footer],
    committed: Mapping[str, Mapping[str, Any]],
    folder: str,
) -> _DoneUnit | None:
    """What is known of a unit; None when one of its files is missing or not as it was written."""
    count = next((footer.parts for footer in footers.values() if footer.parts is not None), None)
    letters = dead_letters_name(unit)
    if count is None or letters not in footers:
        return None
    names = [*(rows_name(folder, unit, number) for number in range(count)), letters]
    if set(names) != set(footers):
        return None
    parts = [Part(**files.file_entry(output, name), rows=footers[name].rows) for name in names]
    if any(committed[part.path]["sha256"] != part.sha256 for part in parts if part.path in committed):
        return None
    sources: Iterable[DoneSource] | None = footers[letters].sources
    if sources is None:
        sources = sources_of_rows(output, names)
    silent = [source.silent for source in sources]
    failed = files.read_table(files.join(output, letters), columns=["code", "uri", "member"]).to_pylist()
    rows = sum(part.rows for part in parts[:-1])
    result = UnitResult(
        unit=unit,
        parts=tuple(parts),
        sources=len(silent),
        inputs=rows + footers[letters].rows + sum(silent),
        rows=rows,
        dead_letters=footers[letters].rows,
        silent=sum(silent),
        codes=dict(Counter(letter["code"] for letter in failed)),
    )
    complete = all(footer.complete for footer in footers.values())
    retryable = {(letter["uri"], letter["member"]) for letter in failed if letter["code"] in RETRYABLE}
    return _DoneUnit(result=result, sources=sources, complete=complete, retryable=retryable)


def _check_stale(output: str, footers: Mapping[str, Footer], listed: SeenNames) -> None:
    """What is left of a damaged unit goes only when this job covers all its recordings."""
    for name, footer in footers.items():
        try:
            sources = footer.sources or sources_of_rows(output, [name])
        except (OSError, pa.ArrowException):
            continue  # these rows are lost
        for source in sources:
            if (source.uri, source.member) not in listed:
                raise OutputError(
                    f"--output {output!r} is damaged: {name!r} has rows of {source.uri!r}, which --audio lacks.",
                    "Name all recordings, or name another directory.",
                )
