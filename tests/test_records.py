import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.records import (
    CAPTION_ROW_SCHEMA,
    DEAD_LETTER_SCHEMA,
    LABEL_ROW_SCHEMA,
    METRIC_ROW_SCHEMA,
    SKIPPED_SCHEMA,
    CaptionRow,
    Clip,
    ClipInfo,
    Context,
    DeadLetter,
    LabelRow,
    LabelScore,
    MetricRow,
    caption_id,
    caption_row_schema,
    clip_id,
    label_row_schema,
    table,
)

CLIP = {
    "clip_id": "0" * 32,
    "uri": "gs://bucket/a.wav",
    "member": None,
    "start_s": 0.0,
    "end_s": 10.0,
    "duration_s": 25.0,
    "sample_rate": 44_100,
    "channels": 2,
    "flags": ("SHORT",),
    "audio_sha256": "f" * 64,
}


def row(**changes: object) -> CaptionRow:
    values: dict[str, object] = {
        "clip": ClipInfo(**CLIP),  # type: ignore[arg-type]
        "caption": "a dog barks",
        "clap_score": 0.5,
        "contexts": (Context(id=7, text="a dog", score=0.25, source="mine"),),
        "method": "drcap",
        "embedding": np.ones(4, np.float32),
    }
    return CaptionRow(**(values | changes))  # type: ignore[arg-type]


def test_rows_fill_their_schema() -> None:
    plain = table([row()], CAPTION_ROW_SCHEMA)
    assert plain.schema == CAPTION_ROW_SCHEMA
    assert plain.to_pylist()[0]["contexts"] == [{"id": 7, "text": "a dog", "score": 0.25, "source": "mine"}]
    assert plain.to_pylist()[0]["flags"] == ["SHORT"]
    wide = table([row()], caption_row_schema(4))
    assert wide.to_pylist()[0]["embedding"] == [1.0, 1.0, 1.0, 1.0]
    named = table([row(keywords=(LabelScore(label="dog", score=0.5),))], caption_row_schema(4, keywords=True))
    assert named.schema.names == [*CAPTION_ROW_SCHEMA.names, "keywords", "embedding", "source_id", "extra"]
    assert named.to_pylist()[0]["keywords"] == [{"label": "dog", "score": 0.5}]
    assert table([], CAPTION_ROW_SCHEMA).num_rows == 0
    letter = DeadLetter(clip_id=None, uri="a", member="b", stage="read_audio", code="EMPTY", message="No bytes.")
    assert table([letter], DEAD_LETTER_SCHEMA).to_pylist()[0]["byte_offset"] is None
    assert table([MetricRow(metric="cider_d", value=1.5, n=2)], METRIC_ROW_SCHEMA).num_rows == 1


# The columns on disk, as docs/formats.md has them. Readers of earlier and later releases rely on every word.
CLIP_COLUMNS = """\
clip_id: string not null
uri: string not null
member: string
start_s: double not null
end_s: double not null
duration_s: double not null
sample_rate: int32 not null
channels: int32 not null
"""
SOURCE_COLUMNS = """\
flags: list<item: string> not null
audio_sha256: string not null"""
CARRIED_COLUMNS = "source_id: string\nextra: string"
SCHEMAS = {
    "captions": (
        CAPTION_ROW_SCHEMA,
        CLIP_COLUMNS
        + """\
caption: string not null
clap_score: float not null
contexts: list<item: struct<id: int64, text: string, score: float, source: string>> not null
method: string not null
"""
        + SOURCE_COLUMNS,
    ),
    "captions with keywords and embedding": (
        caption_row_schema(512, keywords=True),
        CLIP_COLUMNS
        + """\
caption: string not null
clap_score: float not null
contexts: list<item: struct<id: int64, text: string, score: float, source: string>> not null
method: string not null
"""
        + SOURCE_COLUMNS
        + """
keywords: list<item: struct<label: string, score: float>> not null
embedding: fixed_size_list<item: float>[512] not null
"""
        + CARRIED_COLUMNS,
    ),
    "labels": (
        LABEL_ROW_SCHEMA,
        CLIP_COLUMNS + "labels: list<item: struct<label: string, score: float>> not null\n" + SOURCE_COLUMNS,
    ),
    "labels with all scores": (
        label_row_schema(50),
        CLIP_COLUMNS
        + "labels: list<item: struct<label: string, score: float>> not null\n"
        + SOURCE_COLUMNS
        + "\nscores: fixed_size_list<item: float>[50] not null\n"
        + CARRIED_COLUMNS,
    ),
    "dead letters": (
        DEAD_LETTER_SCHEMA,
        """\
clip_id: string
uri: string not null
member: string
stage: string not null
code: string not null
message: string not null
byte_offset: int64
retryable: bool not null
start_s: double
end_s: double
source_id: string
extra: string""",
    ),
    "skipped files": (
        SKIPPED_SCHEMA,
        """\
uri: string not null
member: string
code: string not null
reason: string not null""",
    ),
    "metrics": (
        METRIC_ROW_SCHEMA,
        """\
metric: string not null
value: double not null
n: int64 not null
low: double
high: double""",
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_columns_on_disk_never_change(name: str) -> None:
    schema, text = SCHEMAS[name]
    assert [str(column) for column in schema] == [f"pyarrow.Field<{line}>" for line in text.splitlines()]
    assert schema.metadata is None


def test_every_field_of_a_clip_is_a_column_of_its_rows() -> None:
    names = {item.name for item in dataclasses.fields(ClipInfo)}
    assert names <= set(caption_row_schema().names)
    assert names <= set(label_row_schema().names)
    assert names | {"samples", "source_range"} == {item.name for item in dataclasses.fields(Clip)}


def test_a_clip_with_its_sound_is_written_without_it() -> None:
    clip = Clip(**CLIP, samples=np.ones(4, np.float32))  # type: ignore[arg-type]
    label = LabelScore(label="dog", score=0.5)
    written = table(
        [LabelRow(clip=clip, labels=(label,), scores=np.array([0.5, 0.25], np.float32))], label_row_schema(2)
    )
    (found,) = written.to_pylist()
    carried = {"source_id": None, "extra": None}
    labels = {"labels": [{"label": "dog", "score": 0.5}], "scores": [0.5, 0.25]}
    assert found == CLIP | {"flags": ["SHORT"]} | labels | carried
    assert table([row(clip=clip)], CAPTION_ROW_SCHEMA).equals(table([row()], CAPTION_ROW_SCHEMA))


floats = st.floats(width=32, allow_nan=False)
contexts = st.lists(
    st.builds(Context, id=st.integers(0, 2**63 - 1), text=st.text(), score=floats, source=st.text()), max_size=3
).map(tuple)


@settings(deadline=None)
@given(
    caption=st.text(),
    contexts=contexts,
    flags=st.lists(st.text(max_size=5), max_size=3),
    member=st.none() | st.text(),
    score=floats,
    start=st.floats(0, 1e9),
)
def test_rows_come_back_as_they_were_written(
    caption: str, contexts: tuple[Context, ...], flags: list[str], member: str | None, score: float, start: float
) -> None:
    clip = ClipInfo(**(CLIP | {"flags": tuple(flags), "member": member, "start_s": start}))  # type: ignore[arg-type]
    written = row(clip=clip, caption=caption, contexts=contexts, clap_score=score)
    target = pa.BufferOutputStream()
    pq.write_table(table([written, written], caption_row_schema()), target)
    for found in pq.read_table(pa.BufferReader(target.getvalue())).to_pylist():
        assert found == dataclasses.asdict(clip) | {
            "flags": flags,
            "caption": caption,
            "clap_score": score,
            "contexts": [dataclasses.asdict(context) for context in contexts],
            "method": "drcap",
        }


@pytest.mark.parametrize("name", ["caption", "clap_score", "method"])
def test_a_row_that_lacks_a_value_is_not_written(name: str) -> None:
    """Only writing finds it, so that a column is never null by accident of a step."""
    with pytest.raises(pa.ArrowInvalid, match=f"'{name}' is declared non-nullable"):
        pq.write_table(table([row(**{name: None})], CAPTION_ROW_SCHEMA), pa.BufferOutputStream())


@given(st.text(), st.none() | st.text(), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_clip_id_is_stable_and_tells_clips_apart(uri: str, member: str | None, start: float, end: float) -> None:
    found = clip_id(uri, member, start, end)
    assert found == clip_id(uri, member, start, end)
    assert len(found) == 32
    assert found != clip_id(uri + "x", member, start, end)
    assert found != clip_id(uri, (member or "") + "x", start, end)
    assert found != clip_id(uri, member, start + 1, end)


def test_names_that_are_no_text_have_an_id() -> None:
    assert len(clip_id("caf\udce9.wav", None, 0, 1)) == 32  # a file name in another encoding, as Python spells it


@given(st.text(), st.text())
def test_a_caption_id_fits_int64_and_follows_the_text(one: str, two: str) -> None:
    assert 0 <= caption_id(one) < 2**63
    assert (caption_id(one) == caption_id(two)) == (one == two)
