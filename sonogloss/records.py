"""What everybody shares: the records that go through the jobs, and their Parquet schemas.

Records are frozen, keyword-only and without behavior. The schema of a record that is written to disk comes from its
fields, and :func:`table` turns rows of one kind into a table of that schema. What is known of a clip is a
:class:`ClipInfo`; rows hold one, and its fields are columns of theirs.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# Python's numbers where a column is narrower than Arrow's int64 and float64.
Int32 = Annotated[int, pa.int32()]
Float32 = Annotated[float, pa.float32()]

_AT_THE_END = {"at_the_end": True}  # a clip's column that comes after the row's own ones
_ON_REQUEST = {"on_request": True}  # a column that only some runs write
_LATER = {"later": True}  # a column that the first release did not write; it comes after all others


@dataclass(frozen=True, kw_only=True)
class CaptionLine:
    """One caption of a source file.

    `id` is a stable 63-bit digest of the text (see :func:`caption_id`); `extra` holds the file's other columns.
    """

    id: int
    text: str
    source: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClipInfo:
    """What is known of one window of one recording; every field is a column of the rows of clips.

    `duration_s`, `sample_rate` and `channels` describe the recording as it was found; `start_s` and `end_s` lie on its
    time axis. `flags` are remarks on the sound, `audio_sha256` is the digest of the recording's bytes.
    """

    clip_id: str
    uri: str
    member: str | None
    start_s: float
    end_s: float
    duration_s: float
    sample_rate: Int32
    channels: Int32
    flags: tuple[str, ...] = field(default=(), metadata=_AT_THE_END)
    audio_sha256: str = field(metadata=_AT_THE_END)
    source_id: str | None = field(default=None, metadata=_LATER)
    extra: str | None = field(default=None, metadata=_LATER)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip(ClipInfo):
    """A clip with its sound: `samples` is float32 mono in [-1, 1] at the CLAP's own rate, not padded.

    `source_range` is the part of the recording that the clip's source stands for, in seconds; None is an open end.
    """

    samples: FloatArray
    source_range: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True, kw_only=True)
class Context:
    """A caption that a datastore returned for a clip; `score` is the cosine in [-1, 1]."""

    id: int
    text: str
    score: Float32
    source: str


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """A label and how well it fits a clip: a cosine in [-1, 1]."""

    label: str
    score: Float32


@dataclass(frozen=True, kw_only=True)
class CaptionRow:
    """One captioned clip, as it is written to `captions/part-*.parquet`.

    `keywords` are the labels that the captioner's prompt named, best first; None where it names none.
    """

    clip: ClipInfo
    caption: str
    clap_score: Float32
    contexts: tuple[Context, ...]
    method: str
    keywords: tuple[LabelScore, ...] | None = field(default=None, metadata=_ON_REQUEST)
    embedding: FloatArray | None = field(default=None, metadata=_ON_REQUEST)


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """One tagged clip, as it is written to `labels/part-*.parquet`; `labels` are the best ones, best first.

    `scores`, on request, are those of all labels in the order of the run's `labels`.
    """

    clip: ClipInfo
    labels: tuple[LabelScore, ...]
    scores: FloatArray | None = field(default=None, metadata=_ON_REQUEST)


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One input that failed: what, where, why. `clip_id` is None when the source could not even be cut.

    `retryable` says whether the same input may succeed another time. `start_s` to `end_s` is the range of the source
    that failed, where it was one; `source_id` and `extra` are as in :class:`ClipInfo`. So a table of dead letters is a
    listing of the inputs to run again.
    """

    clip_id: str | None
    uri: str
    member: str | None
    stage: str
    code: str
    message: str
    byte_offset: int | None = None
    retryable: bool = field(default=False, metadata=_LATER)
    start_s: float | None = field(default=None, metadata=_LATER)
    end_s: float | None = field(default=None, metadata=_LATER)
    source_id: str | None = field(default=None, metadata=_LATER)
    extra: str | None = field(default=None, metadata=_LATER)


@dataclass(frozen=True, kw_only=True)
class SkippedFile:
    """Something that was left out although nothing is wrong with it, as `skipped/part-*.parquet` lists it."""

    uri: str
    member: str | None
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One corpus-level metric; `value` is a fraction (CIDEr-D may exceed 1), `n` the number of clips it rests on.

    `low` and `high` are the ends of its 95 % interval, where one was computed.
    """

    metric: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None


def _columns(record: type, place: str | None = None) -> list[pa.Field]:
    """The columns that a record's fields give, not null unless the field may be None.

    Args:
        record: the dataclass.
        place: `at_the_end` or `later` for those that are marked so; the others by default, without those on request.
    """
    hints = get_type_hints(record, include_extras=True)
    columns = []
    for item in dataclasses.fields(record):
        hint = hints[item.name]
        if hint is not ClipInfo and set(item.metadata) == ({place} if place else set()):
            columns.append(pa.field(item.name, _arrow_type(hint), nullable=NoneType in get_args(hint)))
    return columns


def _arrow_type(hint: Any) -> pa.DataType:
    if get_origin(hint) is Annotated:
        return get_args(hint)[1]
    if get_origin(hint) in (UnionType, Union):
        return _arrow_type(next(part for part in get_args(hint) if part is not NoneType))
    if get_origin(hint) is tuple:
        return pa.list_(_arrow_type(get_args(hint)[0]))
    if dataclasses.is_dataclass(hint):
        return pa.struct([(column.name, column.type) for column in _columns(hint)])  # type: ignore[arg-type]
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[hint]


def schema_of(record: type) -> pa.Schema:
    """The schema of a record that is a row of its own: a column a field, not null unless the field may be None."""
    return pa.schema([*_columns(record), *_columns(record, "later")])


def _clip_row_schema(record: type) -> pa.Schema:
    return pa.schema([*_columns(ClipInfo), *_columns(record), *_columns(ClipInfo, "at_the_end")])


# What results of every release have, in this order; columns on request and later ones follow.
CAPTION_ROW_SCHEMA = _clip_row_schema(CaptionRow)
LABEL_ROW_SCHEMA = _clip_row_schema(LabelRow)
FIRST_DEAD_LETTER_SCHEMA = pa.schema(_columns(DeadLetter))

DEAD_LETTER_SCHEMA = schema_of(DeadLetter)
SKIPPED_SCHEMA = schema_of(SkippedFile)
METRIC_ROW_SCHEMA = schema_of(MetricRow)
CARRIED_SCHEMA = pa.schema(_columns(ClipInfo, "later"))
"""What rows carry from listings, tables and sidecars: the last columns of every row of a clip."""


def caption_row_schema(embedding_dim: int | None = None, *, keywords: bool = False) -> pa.Schema:
    """The schema of caption rows, on request with `keywords`, and a fixed-size `embedding` when a width is given."""
    columns = list(CAPTION_ROW_SCHEMA)
    if keywords:
        columns.append(pa.field("keywords", pa.list_(_arrow_type(LabelScore)), nullable=False))
    if embedding_dim is not None:
        columns.append(pa.field("embedding", pa.list_(pa.float32(), embedding_dim), nullable=False))
    return pa.schema([*columns, *CARRIED_SCHEMA])


def label_row_schema(labels: int | None = None) -> pa.Schema:
    """The schema of tag rows, with a fixed-size column `scores` when the number of labels is given."""
    columns = list(LABEL_ROW_SCHEMA)
    if labels is not None:
        columns.append(pa.field("scores", pa.list_(pa.float32(), labels), nullable=False))
    return pa.schema([*columns, *CARRIED_SCHEMA])


def table(rows: Iterable[CaptionRow | LabelRow | DeadLetter | SkippedFile | MetricRow], schema: pa.Schema) -> pa.Table:
    """Rows of one kind as a table of the given schema; columns the schema does not name are left out."""
    cells = [vars(row) | (vars(row.clip) if isinstance(row, CaptionRow | LabelRow) else {}) for row in rows]
    return pa.Table.from_pylist([{name: _plain(row[name]) for name in schema.names} for row in cells], schema=schema)


def _plain(value: Any) -> Any:
    """Records inside a record become dicts and arrays become lists: what pyarrow takes."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(item) for name, item in vars(value).items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value


def caption_id(text: str) -> int:
    """The id of a caption: the first 63 bits of the sha256 of its text, so that it is the same wherever it was read."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def clip_id(uri: str, member: str | None, start_s: float, end_s: float) -> str:
    """The id of a clip: 32 hex digits digested from where it lies, never from its place in a listing or its content."""
    name = "\x00".join([uri, member or "", f"{start_s:.6f}", f"{end_s:.6f}"])
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
