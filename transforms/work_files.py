"""What a job has to do, as files under its output: the graph holds their folder's name, however large the archive is.

`.sonogloss-work/<job>/units-*.parquet` are listings with a row group a unit of work, `finished.jsonl` are units that
an earlier run has done, `head.json` is what the driver knows. The folder goes when the job is done.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.retries import retried
from sonogloss.sources import SourceTable
from sonogloss.sources.source_table import SCHEMA, sources_in
from sonogloss.transforms.commit_run import Rewrite, commit_run
from sonogloss.transforms.stopwatch import Stopwatch
from sonogloss.transforms.work import Part, Unit, UnitResult

WORK_FOLDER = ".sonogloss-work"
UNITS_A_FILE = 256

_UNIT = pa.field("unit", pa.string(), nullable=False)

Place = tuple[str, int]
"""Of a unit: the name of a listing in the folder, and the number of its row group."""


def new_folder(output: str) -> str:
    """The name of a folder for the files of one job."""
    return files.join(output, WORK_FOLDER, uuid.uuid4().hex[:12])


def write_work(
    output: str,
    *,
    units: Iterable[Unit],
    completed: Iterable[UnitResult],
    rewrites: Iterable[Rewrite],
    head: Mapping[str, Any],
) -> str:
    """Write what a job has to do.

    Args:
        output: the results directory.
        units: those that are pending.
        completed: results of an earlier run that stay.
        rewrites: results that are written again.
        head: arguments of :func:`~sonogloss.transforms.commit_run.commit_run`, as JSON has them.

    Returns:
        The folder.
    """
    folder = new_folder(output)
    pending = list(units)
    for start in range(0, len(pending), UNITS_A_FILE):
        with (
            files.atomic_write(files.join(folder, f"units-{start // UNITS_A_FILE:05d}.parquet")) as handle,
            pq.ParquetWriter(handle, SCHEMA.append(_UNIT), compression="zstd") as writer,
        ):
            for unit in pending[start : start + UNITS_A_FILE]:
                table = SourceTable.of(unit.sources).table
                ids = pa.array([unit.id] * table.num_rows, _UNIT.type)
                writer.write_table(table.append_column(_UNIT, ids), row_group_size=table.num_rows)
    lines: list[dict[str, Any]] = [{"units": [asdict(unit)]} for unit in completed]
    for each in rewrites:
        drop = None if each.drop is None else sorted(each.drop, key=repr)
        lines.append({"units": list(map(asdict, each.units)), "drop": drop})
    with files.atomic_write(files.join(folder, "finished.jsonl")) as handle:
        for line in lines:
            handle.write(f"{json.dumps(line)}\n".encode())
    files.write_bytes(files.join(folder, "head.json"), json.dumps(head).encode())
    return folder


def list_places(_: object, folder: str) -> Iterator[Place]:
    """Where the units are; the folder is an argument, for an element cannot hold a name that is not UTF-8."""
    for path in files.list_dir(folder, ".parquet"):
        yield from ((files.base_name(path), group) for group in range(count_groups(path)))


@retried
def count_groups(path: str) -> int:
    """How many row groups a file has."""
    with files.open_read(path) as handle:
        return int(pq.read_metadata(handle).num_row_groups)


def read_place(place: Place, folder: str) -> Unit:
    """The unit at a place."""
    name, group = place
    table = read_group(files.join(folder, name), group)
    return Unit(id=table.column("unit")[0].as_py(), sources=tuple(sources_in(table.drop_columns(["unit"]))))


@retried
def read_group(path: str, group: int) -> pa.Table:
    """One of them."""
    with files.open_read(path) as handle:
        return pq.ParquetFile(handle).read_row_group(group)


def commit_work(
    results: Sequence[UnitResult], *, folder: str, output: str, started: Stopwatch, rows: str, progress: str | None
) -> dict[str, Any]:
    """Commit these results and those that the folder names, see :func:`~sonogloss.transforms.commit_run.commit_run`."""
    head = files.read_json(files.join(folder, "head.json"))
    lines = [json.loads(line) for line in files.read_bytes(files.join(folder, "finished.jsonl")).splitlines()]
    return commit_run(
        [*results, *(_result(line["units"][0]) for line in lines if "drop" not in line)],
        output=output,
        started=started,
        rows=rows,
        rewrites=[
            Rewrite(
                units=tuple(map(_result, line["units"])),
                drop=None if line["drop"] is None else frozenset((uri, member) for uri, member in line["drop"]),
            )
            for line in lines
            if "drop" in line
        ],
        progress=progress,
        **head,
    )


def _result(content: dict[str, Any]) -> UnitResult:
    return UnitResult(**{**content, "parts": tuple(Part(**part) for part in content["parts"])})


def remove_work(output: str) -> None:
    """Remove what jobs that are over have left."""
    folder = files.join(output, WORK_FOLDER)
    for name in files.list_below(folder):
        files.remove(files.join(folder, name))
    files.remove_empty_folders(output, [WORK_FOLDER])
