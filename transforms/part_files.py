"""The part files of a results directory: their names, and what their footers say.

A unit's files are `dead_letters/part-<unit>.parquet`, whose footer lists the unit's sources, and
`<kind>/part-<unit>-<n>.parquet` (the kind of rows is `captions` or `labels`), of which the highest `n` is written last
and says so in its footer. A killed job leaves whole units and beginnings of units, and the footers tell them apart.
They also prove which job wrote a file: nothing else may be replaced or removed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss import files
from sonogloss.errors import RETRYABLE, OutputError
from sonogloss.records import CARRIED_SCHEMA, DEAD_LETTER_SCHEMA, DeadLetter, table
from sonogloss.retries import retried
from sonogloss.sources.names import printable_name
from sonogloss.transforms.work import DoneSource, Part, UnitResult, sum_counts, unit_id

KINDS = ("captions", "labels")
DEAD_LETTERS = "dead_letters"
ROWS_A_PART = 20_000
DATASTORE = "datastore"
"""The kind in the dead letters of build-datastore, which have no unit."""

CONFIGURATION_KEY = b"sonogloss.configuration"
UNIT_KEY = b"sonogloss.unit"
KIND_KEY = b"sonogloss.kind"
PARTS_KEY = b"sonogloss.parts"  # in a unit's last file of rows only: how many of them the unit has
SOURCES_KEY = b"sonogloss.sources"  # in a unit's dead letters only: [key, uri, member (, silent windows)] of sources

_LAST_COLUMN = DEAD_LETTER_SCHEMA.names[-1]
assert CARRIED_SCHEMA.names[-1] == _LAST_COLUMN
_KEYS = ("clip_id", "uri", "member", "start_s")  # which recordings a file of rows or of dead letters is about

_NAME = re.compile(r"part-([0-9a-f]{16})(-\d{3,})?\.parquet(\.tmp-[0-9a-f]{8})?")


@dataclass(frozen=True, kw_only=True)
class Footer:
    """What a part file says of itself. `kind` is None where an earlier format did not note it.

    `complete` is false where a release that knew fewer columns wrote the file.
    """

    configuration: str
    unit: str
    kind: str | None
    parts: int | None = None
    rows: int = 0
    complete: bool = True


def rows_name(folder: str, unit: str, number: int) -> str:
    """Name of one of a unit's files of rows below the results directory."""
    return f"{folder}/part-{unit}-{number:03d}.parquet"


def dead_letters_name(unit: str) -> str:
    """Name of a unit's dead letters file below the results directory."""
    return f"{DEAD_LETTERS}/part-{unit}.parquet"


def unit_in_name(path: str) -> str | None:
    """The unit that a file's name names; None when no part file of ours is called so."""
    match = _NAME.fullmatch(files.base_name(path))
    return match[1] if match else None


def is_half_written(path: str) -> bool:
    """Is this the temporary name of a part file of ours?"""
    match = _NAME.fullmatch(files.base_name(path))
    return match is not None and match[3] is not None


@retried
def read_footer(path: str) -> Footer | None:
    """The footer of a part file; None when the file is a Parquet file of somebody else.

    Raises:
        OSError, ArrowException: it is no Parquet file, or a damaged one.
    """
    # The schema is asked of the file: that of its metadata holds on to them, and they to it, and a footer is large.
    with files.open_read(path) as handle, pq.ParquetFile(handle) as file:
        found, columns = file.metadata, file.schema_arrow.names
    said = found.metadata or {}
    if not said.keys() >= {CONFIGURATION_KEY, UNIT_KEY}:
        return None
    return Footer(
        configuration=said[CONFIGURATION_KEY].decode(),
        unit=said[UNIT_KEY].decode(),
        kind=said[KIND_KEY].decode() if KIND_KEY in said else None,
        parts=int(said[PARTS_KEY]) if PARTS_KEY in said else None,
        rows=found.num_rows,
        complete=_LAST_COLUMN in columns,
    )


def write_rows_part(output: str, footer: Footer, content: pa.Table, *, number: int, last: bool) -> Part:
    """Write one of a unit's files of rows; the last one is written last of all files of the unit."""
    extra = {PARTS_KEY: str(number + 1).encode()} if last else {}
    return _write(output, rows_name(str(footer.kind), footer.unit, number), footer, content, extra)


def write_dead_letters(
    output: str, footer: Footer, letters: Sequence[DeadLetter] | pa.Table, sources: Sequence[DoneSource]
) -> Part:
    """Write a unit's file of dead letters, with the list of its sources."""
    content = letters if isinstance(letters, pa.Table) else table(letters, DEAD_LETTER_SCHEMA)
    return _write(output, dead_letters_name(footer.unit), footer, content, {SOURCES_KEY: _encode(sources)})


def _write(output: str, name: str, footer: Footer, content: pa.Table, extra: Mapping[bytes, bytes]) -> Part:
    metadata = {
        CONFIGURATION_KEY: footer.configuration.encode(),
        UNIT_KEY: footer.unit.encode(),
        KIND_KEY: str(footer.kind).encode(),
        **extra,
    }
    path = files.join(output, name)
    content = content.replace_schema_metadata(metadata)
    try:
        written = files.write_table(path, content, new=True)
    except FileExistsError:
        return _adopt(output, name, content)
    return Part(path=name, bytes=written.size, sha256=written.sha256, rows=content.num_rows)


def _adopt(output: str, name: str, content: pa.Table) -> Part:
    """The file that another attempt at the same unit has left, which may be committed: it is never written over.

    Scores may differ in their last digit on another device; the recordings may not, for then the files of the two
    attempts would not add up.

    Raises:
        OutputError: the file holds other recordings.
    """
    path = files.join(output, name)
    there = files.read_table(path)
    keys = [column for column in _KEYS if column in content.column_names]
    if there.schema.metadata != content.schema.metadata or not there.select(keys).equals(content.select(keys)):
        raise OutputError(
            f"{name!r} was written by another attempt, with other recordings.", "Run the same command again."
        )
    return Part(**files.file_entry(output, name), rows=there.num_rows)


def _encode(sources: Sequence[DoneSource]) -> bytes:
    lines = [[source.key, source.uri, source.member, *([source.silent] if source.silent else [])] for source in sources]
    return json.dumps(lines).encode()


def write_again(
    output: str,
    units: Sequence[UnitResult],
    drop: Collection[tuple[str, str | None]],
    *,
    configuration: str,
    kind: str,
    rows_a_part: int = ROWS_A_PART,
) -> UnitResult | None:
    """Write units again as one, under another name, without the rows of some recordings; their files stay.

    Args:
        output: the results directory.
        units: what is on disk.
        drop: uri and member of the recordings whose rows go.
        configuration: digest of the options that shape a row.
        kind: the folder of the units' rows.
        rows_a_part: rows after which a file is closed and the next begun.

    Returns:
        What was written; None where no recording stays.
    """
    sources = [
        each
        for unit in units
        for each in sources_of(output, [part.path for part in unit.parts])
        if (each.uri, each.member) not in drop
    ]
    if not sources:
        return None
    names = [*(unit.unit for unit in units), *(source.key or source.uri for source in sources)]
    footer = Footer(configuration=configuration, unit=unit_id(names), kind=kind)
    dead = pa.concat_tables([_read(output, unit.parts[-1], DEAD_LETTER_SCHEMA, drop) for unit in units])
    letters = write_dead_letters(output, footer, dead, sources)
    tables = (_read(output, part, CARRIED_SCHEMA, drop) for unit in units for part in unit.parts[:-1])
    parts = [
        write_rows_part(output, footer, content, number=number, last=last)
        for number, (content, last) in enumerate(_in_parts(tables, rows_a_part))
    ]
    count = sum(part.rows for part in parts)
    silent = sum(source.silent for source in sources)
    return UnitResult(
        unit=footer.unit,
        parts=(*parts, letters),
        sources=len(sources),
        inputs=count + letters.rows + silent,
        rows=count,
        dead_letters=letters.rows,
        silent=silent,
        codes=dict(Counter(dead.column("code").to_pylist())),
        seconds=sum_counts(unit.seconds for unit in units),
    )


def sources_of(output: str, names: Sequence[str]) -> list[DoneSource]:
    """The sources of a unit, or of some of its files; format 1 noted them in its rows only."""
    return noted_sources(_metadata(files.join(output, names[-1]))) or sources_of_rows(output, names)


@retried
def _metadata(path: str) -> Mapping[bytes, bytes]:
    with files.open_read(path) as handle:
        return pq.read_metadata(handle).metadata or {}


def noted_sources(footer: Mapping[bytes, bytes]) -> list[DoneSource]:
    """The sources that the footer of a unit's dead letters lists; none where it lists none."""
    return [
        DoneSource(key=key, uri=uri, member=member, silent=silent[0] if silent else 0)
        for key, uri, member, *silent in json.loads(footer.get(SOURCES_KEY, b"[]"))
    ]


def sources_of_rows(output: str, names: Iterable[str]) -> list[DoneSource]:
    """The recordings that these files have rows of, each once."""
    found: dict[tuple[str, str | None], DoneSource] = {}
    for name in names:
        for row in files.read_table(files.join(output, name), columns=["uri", "member"]).to_pylist():
            found[row["uri"], row["member"]] = DoneSource(key=None, uri=row["uri"], member=row["member"])
    return list(found.values())


def _in_parts(tables: Iterable[pa.Table], rows: int) -> Iterator[tuple[pa.Table, bool]]:
    """The rows of tables in pieces of so many, and whether a piece is the last one; there is always one."""
    tables = iter(tables)
    held = next(tables)
    for content in tables:
        held = pa.concat_tables([held, content])
        while held.num_rows > rows:
            yield held.slice(0, rows), False
            held = held.slice(rows)
    yield held, True


def _read(output: str, part: Part, later: pa.Schema, drop: Collection[tuple[str, str | None]]) -> pa.Table:
    """The rows of a part without those of some recordings, with the columns that came later."""
    content = files.read_table(files.join(output, part.path)).replace_schema_metadata()
    for column in later:
        if column.name in content.column_names:
            continue
        if column.name == "retryable":
            values = pa.array([code in RETRYABLE for code in content.column("code").to_pylist()], column.type)
        else:
            values = pa.nulls(content.num_rows, column.type)
        content = content.append_column(column, values)
    names = zip(content.column("uri").to_pylist(), content.column("member").to_pylist(), strict=True)
    dropped = {printable_name(*name) for name in drop}  # as rows have them
    return content.filter(pa.array([name not in dropped for name in names], pa.bool_()))
