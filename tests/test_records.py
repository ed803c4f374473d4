import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.records import (
    CAPTION_ROW_SCHEMA,
    DEAD_LETTER_SCHEMA,
    METRIC_ROW_SCHEMA,
    CaptionRow,
    ClipInfo,
    Context,
    DeadLetter,
    LabelScore,
    MetricRow,
    caption_id,
    caption_row_schema,
    clip_id,
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
    assert named.schema.names == [*CAPTION_ROW_SCHEMA.names, "keywords", "embedding"]
    assert named.to_pylist()[0]["keywords"] == [{"label": "dog", "score": 0.5}]
    assert table([], CAPTION_ROW_SCHEMA).num_rows == 0
    letter = DeadLetter(clip_id=None, uri="a", member="b", stage="read_audio", code="EMPTY", message="No bytes.")
    assert table([letter], DEAD_LETTER_SCHEMA).to_pylist()[0]["byte_offset"] is None
    assert table([MetricRow(metric="cider_d", value=1.5, n=2)], METRIC_ROW_SCHEMA).num_rows == 1


def test_the_columns_are_the_documented_ones() -> None:
    assert CAPTION_ROW_SCHEMA.names == [
        "clip_id",
        "uri",
        "member",
        "start_s",
        "end_s",
        "duration_s",
        "sample_rate",
        "channels",
        "caption",
        "clap_score",
        "contexts",
        "method",
        "flags",
        "audio_sha256",
    ]
    assert DEAD_LETTER_SCHEMA.names == ["clip_id", "uri", "member", "stage", "code", "message", "byte_offset"]
    assert METRIC_ROW_SCHEMA.names == ["metric", "value", "n"]


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
