"""list_files: ranges of files that have to be opened, archives above all -> the recordings in them.

What a range holds lies in a file of its own, in the order of its files, so it does not matter which worker looked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.sources import Skipped, Source, SourceLimits, SourceTable
from sonogloss.sources.find import Unopened, look_inside
from sonogloss.sources.places import Entry, Kind
from sonogloss.sources.source_table import SCHEMA, sources_in
from sonogloss.transforms.progress_file import note
from sonogloss.transforms.work import cut_runs
from sonogloss.transforms.work_files import count_groups, read_group

RANGE_FILES = 256
RANGE_BYTES = 4 << 30
_UNOPENED = "unopened"  # in the place of a container's name


@dataclass(frozen=True, kw_only=True)
class ListingPlan:
    """What is looked into: so many ranges of files, named in files of `folder`."""

    folder: str
    count: int
    limits: SourceLimits

    @property
    def parts(self) -> range:
        """The number of each range."""
        return range(self.count)

    def path(self, what: str, number: int) -> str:
        """Of the names of a range's files (`unopened`), of what was found in them (`found`), or of its `counts`."""
        return files.join(self.folder, f"{what}-{number:06d}")


def as_row(found: Source | Skipped | Unopened) -> Source:
    """What was found as a row of a table of sources."""
    if isinstance(found, Unopened):
        entry, extra = found.entry, {"name": found.entry.name, "named": found.named}
        return Source(uri=entry.uri, bytes=entry.bytes, version=entry.version, container=_UNOPENED, extra=extra)
    return Source(uri=found.uri, member=found.member, refused=found) if isinstance(found, Skipped) else found


def from_row(row: Source) -> Source | Skipped | Unopened:
    """What :func:`as_row` made a row of."""
    if row.container != _UNOPENED:
        return row.refused or row
    name, named = row.extra["name"], row.extra["named"]
    return Unopened(Entry(uri=row.uri, name=name, kind=Kind.FILE, bytes=row.bytes, version=row.version), named)


def plan_listing(folder: str, unopened: SourceTable, limits: SourceLimits) -> ListingPlan:
    """Write the ranges of some files, as rows have them."""
    ranges = list(cut_runs(unopened.sizes(), RANGE_FILES, RANGE_BYTES))
    plan = ListingPlan(folder=folder, count=len(ranges), limits=limits)
    for number, (start, stop) in enumerate(ranges):
        files.write_table(plan.path("unopened", number), unopened[start:stop].table)
    return plan


def list_range(number: int, plan: ListingPlan, progress: str | None = None) -> int:
    """Look into the files of a range, and write what they stand for."""
    counts: list[int] = []

    def found() -> Iterator[Source]:
        for row in sources_in(files.read_table(plan.path("unopened", number))):
            file = from_row(row)
            assert isinstance(file, Unopened)
            counts.append(0)
            for each in look_inside(file, plan.limits):
                counts[-1] += 1
                yield as_row(each)
            note(progress, done=counts[-1])

    table = SourceTable.of(found())
    with (
        files.atomic_write(plan.path("found", number)) as handle,
        pq.ParquetWriter(handle, SCHEMA, compression="zstd") as writer,
    ):
        for rows in table.stretches(*SCHEMA.names):
            writer.write_table(rows)
    files.write_json(plan.path("counts", number), counts)
    note(progress, done=0, units=1)
    return number


def read_found(plan: ListingPlan) -> Iterator[Iterator[Source | Skipped]]:
    """What each file stands for, in their order; all of it is to be taken before the next."""
    for number in plan.parts:
        path = plan.path("found", number)
        rows = (row for group in range(count_groups(path)) for row in sources_in(read_group(path, group)))
        for count in files.read_json(plan.path("counts", number)):
            yield (row.refused or row for row in islice(rows, count))
