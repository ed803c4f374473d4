"""The words everybody shares: the records that walk through the jobs, and their Parquet schemas.

Records are frozen, keyword-only and without behaviour. A record that is written to disk has its pyarrow schema beside
it; :func:`table` turns rows of one kind into a table of that schema.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class CaptionLine:
    """One caption of a text dump.

    `id` is a stable 63-bit digest of the text (see :func:`caption_id`); `extra` holds the dump's other columns.
    """

    id: int
    text: str
    source: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """One window of one recording, decoded.

    `samples` is float32 mono in [-1, 1] at the CLAP's own rate and not padded; `duration_s`, `sample_rate` and
    `channels` describe the source as it was found; `start_s` and `end_s` lie on its time axis. `audio_sha256` is the
    digest of the source's bytes.
    """

    clip_id: str
    uri: str
    member: str | None
    start_s: float
    end_s: float
    duration_s: float
    sample_rate: int
    channels: int
    samples: FloatArray
    audio_sha256: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Context:
    """A caption that a datastore returned for a clip; `score` is the cosine in [-1, 1]."""

    id: int
    text: str
    score: float
    source: str


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """A label and how well it fits a clip: a cosine in [-1, 1]."""

    label: str
    score: float


@dataclass(frozen=True, kw_only=True)
class CaptionRow:
    """One captioned clip, as it is written to `captions/part-*.parquet`.

    `keywords` are the labels that the captioner's prompt named, best first; None where it names none.
    """

    clip_id: str
    uri: str
    member: str | None
    start_s: float
    end_s: float
    duration_s: float
    sample_rate: int
    channels: int
    caption: str
    clap_score: float
    contexts: tuple[Context, ...]
    method: str
    flags: tuple[str, ...]
    audio_sha256: str
    keywords: tuple[LabelScore, ...] | None = None
    embedding: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """One tagged clip, as it is written to `labels/part-*.parquet`; `labels` are the best ones, best first.

    `scores`, on request, are those of all labels in the order of the run's `labels`.
    """

    clip_id: str
    uri: str
    member: str | None
    start_s: float
    end_s: float
    duration_s: float
    sample_rate: int
    channels: int
    labels: tuple[LabelScore, ...]
    flags: tuple[str, ...]
    audio_sha256: str
    scores: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One input that failed: what, where, why. `clip_id` is None when the source could not even be cut."""

    clip_id: str | None
    uri: str
    member: str | None
    stage: str
    code: str
    message: str
    byte_offset: int | None = None


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One corpus-level metric; `value` is a fraction (CIDEr-D may exceed 1), `n` the number of clips it rests on."""

    metric: str
    value: float
    n: int


CONTEXT_TYPE = pa.struct([("id", pa.int64()), ("text", pa.string()), ("score", pa.float32()), ("source", pa.string())])

LABEL_SCORE_TYPE = pa.struct([("label", pa.string()), ("score", pa.float32())])

_CLIP_FIELDS = [
    pa.field("clip_id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("member", pa.string()),
    pa.field("start_s", pa.float64(), nullable=False),
    pa.field("end_s", pa.float64(), nullable=False),
    pa.field("duration_s", pa.float64(), nullable=False),
    pa.field("sample_rate", pa.int32(), nullable=False),
    pa.field("channels", pa.int32(), nullable=False),
]
_SOURCE_FIELDS = [
    pa.field("flags", pa.list_(pa.string()), nullable=False),
    pa.field("audio_sha256", pa.string(), nullable=False),
]

CAPTION_ROW_SCHEMA = pa.schema(
    [
        *_CLIP_FIELDS,
        pa.field("caption", pa.string(), nullable=False),
        pa.field("clap_score", pa.float32(), nullable=False),
        pa.field("contexts", pa.list_(CONTEXT_TYPE), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        *_SOURCE_FIELDS,
    ]
)

LABEL_ROW_SCHEMA = pa.schema(
    [*_CLIP_FIELDS, pa.field("labels", pa.list_(LABEL_SCORE_TYPE), nullable=False), *_SOURCE_FIELDS]
)

DEAD_LETTER_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string()),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("member", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("byte_offset", pa.int64()),
    ]
)

METRIC_ROW_SCHEMA = pa.schema(
    [
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
    ]
)


def caption_row_schema(embedding_dim: int | None = None, *, keywords: bool = False) -> pa.Schema:
    """The schema of caption rows, on request with `keywords`, and a fixed-size `embedding` when a width is given."""
    schema = CAPTION_ROW_SCHEMA
    if keywords:
        schema = schema.append(pa.field("keywords", pa.list_(LABEL_SCORE_TYPE), nullable=False))
    if embedding_dim is None:
        return schema
    return schema.append(pa.field("embedding", pa.list_(pa.float32(), embedding_dim), nullable=False))


def label_row_schema(labels: int | None = None) -> pa.Schema:
    """The schema of tag rows, with a fixed-size column `scores` when the number of labels is given."""
    if labels is None:
        return LABEL_ROW_SCHEMA
    return LABEL_ROW_SCHEMA.append(pa.field("scores", pa.list_(pa.float32(), labels), nullable=False))


def table(rows: Iterable[CaptionRow | LabelRow | DeadLetter | MetricRow], schema: pa.Schema) -> pa.Table:
    """Rows of one kind as a table of the given schema; columns the schema does not name are left out."""
    dicts = [{name: _plain(getattr(row, name)) for name in schema.names} for row in rows]
    return pa.Table.from_pylist(dicts, schema=schema)


def _plain(value: Any) -> Any:
    """Records inside a record become dicts and arrays become lists: what pyarrow takes."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
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
