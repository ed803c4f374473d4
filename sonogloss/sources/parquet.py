"""Parquet with recordings in it: the bytes in Hugging Face's `audio` struct (`bytes`, `path`), or in a binary column.

A listing reads the footer and the small columns, in batches of a row group; the bytes are read when they are opened,
row by row. Rows have no checksum, so their version is the file's. A row is called by its path or its name where it
has one, with its number behind it if that was taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sonogloss.errors import ClipError, Code
from sonogloss.sources.carried import carried
from sonogloss.sources.handles import Opened, Window
from sonogloss.sources.names import SeenNames, id_text, looks_like_audio
from sonogloss.sources.places import Entry, look, open_file
from sonogloss.sources.source import SkipCode, Skipped, Source, SourceLimits

ENDINGS = (".parquet", ".pq")

_MAGIC = b"PAR1"
_NAMES = ("path", "file_name", "filename", "file", "uri", "__key__", "key", "name", "id")
_LARGEST_MEAN = 1024  # bytes a row of a column that is carried along; of lists of numbers, a quarter
_BATCH = 1024
_TRIED_ROWS = 8  # of a binary column, to see whether it holds audio


def recognizes(head: bytes, handle: Opened) -> bool:
    """Parquet with audio, or without a column `uri` that would make it a listing."""
    if not head.startswith(_MAGIC):
        return False
    try:
        table = ParquetTable(handle)
        return "uri" not in table.columns or table.audio() is not None
    except ClipError:
        return True


def list_members(entry: Entry, limits: SourceLimits) -> Iterator[Source | Skipped]:
    """Every row, in order."""
    try:
        with _table(entry.uri) as table:
            audio = table.audio()
            if audio is None:
                reason = f"A table without audio (columns: {', '.join(table.columns)[:200]})."
                yield Skipped(uri=entry.uri, code=SkipCode.NOT_AUDIO, reason=reason)
                return
            yield from _rows(entry, table, audio, limits)
    except ClipError as error:
        yield Skipped(uri=entry.uri, code=error.code, reason=error.message, byte_offset=error.byte_offset)


def open_members(
    uri: str, sources: Sequence[Source], limits: SourceLimits
) -> Iterator[tuple[Source, Opened | ClipError]]:
    """Handles on rows, in the order of the table where they are in one row group."""
    with ExitStack() as stack:
        try:
            table = stack.enter_context(_table(uri))
            audio = table.audio()
            places = _places(uri, sources, limits)
            if audio is None:
                raise ClipError(Code.READ_ERROR, "The table has no column of audio.")
        except ClipError as error:
            yield from ((source, error) for source in sources)
            return
        placed = [(source.place or places.get(source.member or ""), source) for source in sources]
        for place, source in placed:
            if place is None:
                yield source, ClipError(Code.READ_ERROR, "The table has no such row.")
        found = [(place, source) for place, source in placed if place is not None]
        for group, members in groupby(found, key=lambda pair: pair[0][0]):
            yield from _open_rows(table, audio, group, [(place[1], source) for place, source in members], limits)


@dataclass(frozen=True)
class Audio:
    """The column that holds recordings: its name, the leaf with the bytes, and the leaf with the paths if any."""

    column: str
    bytes: str
    path: str | None


class ParquetTable:
    """A Parquet file that is read in pieces.

    Raises:
        ClipError: ARCHIVE_CORRUPT or READ_ERROR, here and in all methods.
    """

    def __init__(self, handle: Opened) -> None:
        self._handle = handle
        with self._errors():
            self.file = pq.ParquetFile(handle, pre_buffer=False, buffer_size=1 << 20)
            self.schema: pa.Schema = self.file.schema_arrow
            self.columns: list[str] = list(self.schema.names)
        self.groups: int = self.file.num_row_groups

    def audio(self) -> Audio | None:
        """The column of recordings: the one called `audio`, else the first with audio in its first rows."""
        candidates = [found for field in self.schema if (found := _audio_column(field)) is not None]
        named = next((found for found in candidates if found.column == "audio"), None)
        return named or next((found for found in candidates if self._holds_audio(found)), None)

    def rows_of(self, group: int) -> int:
        """How many rows a row group has."""
        return int(self.file.metadata.row_group(group).num_rows)

    def small_columns(self, skip: str | None = None) -> list[str]:
        """The columns that are small enough to be carried along: no bytes, no long lists."""
        sizes = dict.fromkeys(self.columns, 0)
        with self._errors():
            for group in range(self.groups):
                chunks = self.file.metadata.row_group(group)
                for number in range(chunks.num_columns):
                    column = chunks.column(number).path_in_schema.partition(".")[0]
                    sizes[column] = sizes.get(column, 0) + chunks.column(number).total_uncompressed_size
        rows = max(1, self.file.metadata.num_rows)
        return [
            field.name
            for field in self.schema
            if field.name != skip
            and "." not in field.name
            and sizes[field.name] <= _largest_mean(field.type) * rows + 4096
        ]

    def size_of(self, group: int, leaf: str) -> tuple[int, int]:
        """Packed and unpacked bytes of a leaf column in a row group."""
        with self._errors():
            chunks = self.file.metadata.row_group(group)
            for column in map(chunks.column, range(chunks.num_columns)):
                if column.path_in_schema == leaf:
                    return column.total_compressed_size, column.total_uncompressed_size
        return 0, 0

    def batches(self, group: int, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Some columns of a row group, so many rows at a time."""
        with self._errors():
            yield from self.file.iter_batches(batch_size=rows, row_groups=[group], columns=columns, use_threads=False)

    def cells(self, group: int, columns: list[str]) -> Iterator[dict[str, Any]]:
        """The rows of a row group, with some columns."""
        if not columns:
            yield from ({} for _ in range(self.rows_of(group)))
            return
        for batch in self.batches(group, columns, _BATCH):
            with self._errors():
                rows = batch.to_pylist()
            yield from rows

    def recordings(self, group: int, audio: Audio) -> Iterator[pa.Buffer | None]:
        """The bytes of each row of a row group."""
        for batch in self.batches(group, [audio.bytes], 1):
            scalar = batch.column(0)[0]
            if audio.bytes != audio.column:
                scalar = scalar["bytes"] if scalar.is_valid else None
            if isinstance(scalar, pa.DictionaryScalar):
                scalar = scalar.value
            yield scalar.as_buffer() if scalar is not None and scalar.is_valid else None

    def _holds_audio(self, audio: Audio) -> bool:
        if self.groups == 0:
            return False
        for _, data in zip(range(_TRIED_ROWS), self.recordings(0, audio), strict=False):
            if data is not None:
                return looks_like_audio(data.slice(0, min(data.size, 512)).to_pybytes())
        return False

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, KeyError, IndexError) as error:
            self._handle.check()
            lines = str(error).splitlines() or [type(error).__name__]
            raise ClipError(
                Code.ARCHIVE_CORRUPT, f"The Parquet file is cut off or damaged ({lines[0][:300]})."
            ) from error


@contextmanager
def _table(uri: str) -> Iterator[ParquetTable]:
    with open_file(uri) as handle:
        yield ParquetTable(handle)


def _audio_column(field: pa.Field) -> Audio | None:
    kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
    if "." in field.name:  # pyarrow could not tell it from a leaf of a struct
        return None
    if _is_binary(kind):
        return Audio(field.name, field.name, None)
    if pa.types.is_struct(kind) and (at := kind.get_field_index("bytes")) >= 0 and _is_binary(kind.field(at).type):
        path = kind.get_field_index("path")
        has_path = path >= 0 and _is_text(kind.field(path).type)
        return Audio(field.name, f"{field.name}.bytes", f"{field.name}.path" if has_path else None)
    return None


def _is_binary(kind: pa.DataType) -> bool:
    """Bytes, however a writer lays them out: Polars writes views, R and pandas dictionaries."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _largest_mean(kind: pa.DataType) -> int:
    """How many bytes a row a column of this type may have to be carried along."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if _is_binary(kind) or pa.types.is_map(kind) or pa.types.is_union(kind):
        return -(1 << 40)
    if pa.types.is_struct(kind):
        return min((_largest_mean(kind.field(number).type) for number in range(kind.num_fields)), default=0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _largest_mean(kind.value_type)
        return inner // 4 if inner > 0 and pa.types.is_primitive(kind.value_type) else inner
    return _LARGEST_MEAN


def _rows(entry: Entry, table: ParquetTable, audio: Audio, limits: SourceLimits) -> Iterator[Source | Skipped]:
    small = table.small_columns(skip=audio.column)
    columns = small + ([audio.path] if audio.path else [])
    left_out = [name for name in table.columns if name not in (*small, audio.column)]
    seen = SeenNames()
    number = 0
    for group in range(table.groups):
        packed, unpacked = table.size_of(group, audio.bytes)
        if limits.too_dense(packed, unpacked):
            reason = f"{packed:,} bytes unpack to {unpacked:,}, a ratio over the limit; row group {group} is not read."
            yield Skipped(uri=entry.uri, code=Code.LIMIT, reason=reason)
            number += table.rows_of(group)
            continue
        mean = unpacked // max(1, table.rows_of(group))
        for index, row in enumerate(table.cells(group, columns)):
            if number >= limits.max_members:
                raise ClipError(Code.LIMIT, f"The table has more than {limits.max_members:,} rows, the limit.")
            struct = row.pop(audio.column, None) if audio.path else None
            name = _name(row, struct, number)
            if not seen.add(name):
                name = f"{name}#{number}"
                seen.add(name)
            yield Source(
                uri=entry.uri,
                member=name,
                id=id_text(row.get("id")),
                bytes=mean,
                version=entry.version,
                extra=carried(
                    {key: value for key, value in row.items() if key != "id"}, limits.max_extra_bytes, left_out
                ),
                container="parquet",
                place=(group, index),
            )
            number += 1


def _name(row: Mapping[str, Any], struct: Mapping[str, Any] | None, number: int) -> str:
    """What a row is called."""
    for value in ((struct or {}).get("path"), *(row.get(key) for key in _NAMES)):
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value):
            return str(value)
    return f"row-{number:08d}"


def _open_rows(
    table: ParquetTable, audio: Audio, group: int, wanted: list[tuple[int, Source]], limits: SourceLimits
) -> Iterator[tuple[Source, Opened | ClipError]]:
    """Some rows of one row group, which is read on to the last of them."""
    waiting = sorted(wanted, key=lambda pair: pair[0], reverse=True)
    problem = ClipError(Code.READ_ERROR, "The table has no such row.")
    recordings = enumerate(table.recordings(group, audio)) if group < table.groups else iter(())
    while waiting:
        try:
            index, data = next(recordings)
        except StopIteration:
            break
        except ClipError as error:
            problem = error
            break
        while waiting and waiting[-1][0] == index:
            _, source = waiting.pop()
            if data is None:
                yield source, ClipError(Code.EMPTY, "The row has no bytes.")
            elif data.size > limits.max_member_bytes:
                sentence = f"The row has {data.size:,} bytes; the limit is {limits.max_member_bytes:,}."
                yield source, ClipError(Code.LIMIT, sentence)
            else:
                with Opened(Window(pa.BufferReader(data), 0, data.size)) as opened:
                    yield source, opened
    yield from ((source, problem) for _, source in reversed(waiting))


def _places(uri: str, sources: Sequence[Source], limits: SourceLimits) -> dict[str, tuple[int, ...]]:
    """The places of rows that do not say where they are, by name."""
    wanted = {source.member for source in sources if source.place is None}
    entry = look(uri) if wanted else None
    if entry is None:
        return {}
    listed = (found for found in list_members(entry, limits) if isinstance(found, Source))
    return {found.member: found.place for found in listed if found.member in wanted and found.member and found.place}
