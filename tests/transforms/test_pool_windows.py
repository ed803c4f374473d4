from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.records import Clip, Context, DeadLetter, FloatArray, clip_id
from sonogloss.sources import Source
from sonogloss.transforms.pool_windows import PoolWindows, WindowPool, measure_loudness
from sonogloss.transforms.work import Batch, DoneSource, Window

DIM = 3


def window(
    source: Source, number: int, *, member: str | None = None, flags: tuple[str, ...] = (), duration_s: float = 100.0
) -> Window:
    start = (source.start_s or 0.0) + 10.0 * number
    clip = Clip(
        clip_id=clip_id(source.uri, member, start, start + 10.0),
        uri=source.uri,
        member=member,
        start_s=start,
        end_s=start + 10.0,
        duration_s=duration_s,
        sample_rate=32000,
        channels=1,
        samples=np.zeros(0, np.float32),
        audio_sha256="0" * 64,
        flags=flags,
    )
    return Window(source=source, clip=clip)


def unit(
    windows: Sequence[Window], vectors: FloatArray, cuts: Sequence[int] = (), failed: Sequence[int] = ()
) -> list[Batch]:
    """The windows of a unit in batches that end at `cuts`; those at `failed` could not be embedded."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(windows)}), len(windows)]
    batches = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        some = windows[start:stop]
        kept = [row for row in range(start, stop) if row not in failed and windows[row].clip is not None]
        dead = [
            DeadLetter(
                clip_id=None if each.clip is None else each.clip.clip_id,
                uri=each.source.uri,
                member=None,
                stage="s",
                code="MODEL_FAILED",
                message=f"window {row} failed",
            )
            for row, each in enumerate(some, start)
            if row not in kept
        ]
        batches.append(
            Batch(
                unit="u",
                number=number,
                last=stop == len(windows),
                inputs=len(some),
                sources=(DoneSource(key=str(number), uri="x"),),
                bytes=10,
                windows=tuple(some),
                clips=tuple(windows[row].clip for row in kept),  # type: ignore[misc]  # those without a clip are not kept
                dead=tuple(dead),
                embeddings=vectors[kept],
                seconds={"embed_audio": 1.0},
            )
        )
    return batches


def pool(batches: Sequence[Batch], batch_size: int = 32) -> list[Batch]:
    gatherer = WindowPool(batch_size)
    return [pooled for batch in batches for pooled in gatherer.add(batch)]


def units_of(vectors: FloatArray) -> FloatArray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 42), max_size=6),
    batch_size=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_a_recording_is_the_mean_of_its_windows_wherever_batches_end(
    lengths: list[int], cuts: list[int], batch_size: int, seed: int
) -> None:
    sources = [Source(uri=f"/{number}.wav") for number in range(len(lengths))]
    windows = [
        window(source, number) for source, length in zip(sources, lengths, strict=True) for number in range(length)
    ]
    vectors = units_of(np.random.default_rng(seed).standard_normal((len(windows), DIM)))
    batches = pool(unit(windows, vectors, cuts), batch_size)
    assert [batch.number for batch in batches] == list(range(len(batches)))
    assert [batch.last for batch in batches] == [False] * (len(batches) - 1) + [True]
    assert all(batch.inputs == len(batch.clips) <= batch_size for batch in batches)
    clips = [clip for batch in batches for clip in batch.clips]
    assert [(clip.uri, clip.start_s, clip.end_s) for clip in clips] == [(source.uri, 0.0, 100.0) for source in sources]
    found = np.concatenate([batch.embeddings for batch in batches if len(batch.clips)])
    edges = np.cumsum([0, *lengths])
    means = [vectors[start:stop].mean(axis=0, dtype=np.float64) for start, stop in pairwise(edges)]
    np.testing.assert_allclose(found, units_of(np.stack(means)), atol=1e-6)
    whole = np.concatenate([batch.embeddings for batch in pool(unit(windows, vectors)) if len(batch.clips)])
    assert np.array_equal(found, whole)
    assert sum(batch.bytes for batch in batches) == 10 * (len({c for c in cuts if 0 < c < len(windows)}) + 1)


def test_loud_windows_count_by_their_root_mean_square() -> None:
    source = Source(uri="/a.wav")
    windows = [window(source, 0), window(source, 1)]
    vectors = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    [batch] = unit(windows, vectors)
    loud = replace(batch.clips[0], samples=np.array([0.3, -0.3], np.float32))
    soft = replace(batch.clips[1], samples=np.array([0.0, 0.1, 0.0, -0.1], np.float32))
    batch = measure_loudness(replace(batch, clips=(loud, soft)))
    np.testing.assert_allclose(batch.loudness, [0.3, 0.1 / np.sqrt(2)], rtol=1e-6)
    [pooled] = pool([batch])
    np.testing.assert_allclose(pooled.embeddings, units_of(np.array([[0.3, 0.1 / np.sqrt(2), 0]])), atol=1e-6)
    silent = tuple(replace(clip, samples=np.zeros(5, np.float32)) for clip in batch.clips)
    [pooled] = pool([measure_loudness(replace(batch, clips=silent))])
    np.testing.assert_allclose(pooled.embeddings, [[0.5**0.5, 0.5**0.5, 0]], atol=1e-6)


def test_embeddings_for_reranking_are_pooled_too() -> None:
    source = Source(uri="/a.wav")
    vectors = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    [batch] = unit([window(source, 0), window(source, 1)], vectors)
    [pooled] = pool([replace(batch, rerank_embeddings=np.array([[0, 1], [0, 1]], np.float32))])
    np.testing.assert_allclose(pooled.rerank_embeddings, [[0, 1]])


@given(
    captions=st.lists(st.sampled_from("abcde"), min_size=1, max_size=9),
    failed=st.sets(st.integers(0, 8)),
    cuts=st.lists(st.integers(0, 8), max_size=4),
    seed=st.integers(0, 99),
)
def test_of_captions_the_one_nearest_to_the_mean_stays(
    captions: list[str], failed: set[int], cuts: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    count = len(captions)
    vectors, texts = (units_of(rng.standard_normal((count, DIM))) for _ in range(2))
    texts = np.stack([texts[captions.index(caption)] for caption in captions])  # equal captions are embedded alike
    if seed % 3 == 0:
        texts[:] = texts[0]  # all fit equally well
    windows = [window(Source(uri="/a.wav"), number) for number in range(count)]
    contexts = [(Context(id=number, text="", score=0.0, source=""),) for number in range(count)]
    batches = []
    for batch in unit(windows, vectors, cuts, sorted(failed & set(range(count)))):
        kept = [round(clip.start_s / 10) for clip in batch.clips]
        said = {"captions": captions, "contexts": contexts}
        columns = {name: tuple(column[row] for row in kept) for name, column in said.items()}
        batches.append(replace(batch, caption_embeddings=texts[kept], **columns))
    found = [batch for batch in pool(batches) if batch.clips]
    left = [row for row in range(count) if row not in failed]
    if not left:
        assert not found
        return
    [summary] = found
    scores = [float(np.clip(texts[row] @ summary.embeddings[0], -1, 1)) for row in left]
    best = left[scores.index(max(scores))]
    assert summary.captions == (captions[best],)
    assert summary.contexts == (contexts[best],)
    assert summary.scores == (max(scores),)


def test_ranges_and_channels_of_one_file_are_recordings_of_their_own() -> None:
    first, second = Source(uri="/a.wav", end_s=20.0), Source(uri="/a.wav", start_s=20.0, end_s=500.0)
    windows = [
        window(first, 0),
        window(first, 1),
        window(second, 0, member="#channel=1"),
        window(second, 1, member="#channel=1"),
        window(second, 0, member="#channel=2"),
    ]
    vectors = np.eye(5, DIM, dtype=np.float32) + 1
    [batch] = pool(unit(windows, vectors, failed=()))
    assert [(clip.member, clip.start_s, clip.end_s) for clip in batch.clips] == [
        (None, 0.0, 20.0),
        ("#channel=1", 20.0, 100.0),
        ("#channel=2", 20.0, 100.0),
    ]
    assert [clip.clip_id for clip in batch.clips] == [
        clip_id("/a.wav", None, 0.0, 20.0),
        clip_id("/a.wav", "#channel=1", 20.0, 100.0),
        clip_id("/a.wav", "#channel=2", 20.0, 100.0),
    ]


def test_flags_are_those_of_all_windows() -> None:
    source = Source(uri="/a.wav")
    windows = [window(source, 0, flags=("JOINED", "SILENT")), window(source, 1, flags=("JOINED",))]
    [batch] = pool(unit(windows, np.ones((2, DIM), np.float32)))
    assert batch.clips[0].flags == ("JOINED",)


@given(failed=st.sets(st.integers(0, 5)), cuts=st.lists(st.integers(0, 6), max_size=3))
def test_a_window_that_fails_costs_a_flag_and_all_of_them_a_dead_letter(failed: set[int], cuts: list[int]) -> None:
    sources = [Source(uri="/a.wav"), Source(uri="/b.wav")]
    windows = [window(source, number) for source in sources for number in range(3)]
    vectors = units_of(np.arange(18).reshape(6, DIM) + 1.0)
    batches = pool(unit(windows, vectors, cuts, sorted(failed)))
    clips = {clip.uri: clip for batch in batches for clip in batch.clips}
    dead = {letter.uri: letter for batch in batches for letter in batch.dead}
    for source, rows in zip(sources, ({0, 1, 2}, {3, 4, 5}), strict=True):
        if rows <= failed:
            letter = dead.pop(source.uri)
            assert letter.clip_id == clip_id(source.uri, None, 0.0, 100.0)
            assert letter.code == "MODEL_FAILED"
            assert letter.message == f"All of 3 windows failed; the first one: window {min(rows)} failed"
        else:
            assert clips.pop(source.uri).flags == (("INCOMPLETE",) if rows & failed else ())
    assert not clips
    assert not dead
    assert sum(batch.inputs for batch in batches) == 2


@pytest.mark.parametrize("cuts", [[], [1], [2], [1, 2, 3]])
def test_a_recording_that_breaks_has_its_dead_letter_and_no_row(cuts: list[int]) -> None:
    broken, whole = Source(uri="/a.wav"), Source(uri="/b.wav")
    windows = [window(broken, 0), window(broken, 1), Window(source=broken, clip=None), window(whole, 0)]
    batches = pool(unit(windows, np.eye(4, DIM, dtype=np.float32) + 1, cuts))
    assert [clip.uri for batch in batches for clip in batch.clips] == ["/b.wav"]
    assert [(letter.uri, letter.clip_id) for batch in batches for letter in batch.dead] == [("/a.wav", None)]
    assert sum(batch.inputs for batch in batches) == 2


def test_the_next_source_that_breaks_takes_nothing_from_the_one_before() -> None:
    whole, broken = Source(uri="/a.wav", end_s=10.0), Source(uri="/a.wav", start_s=900.0)
    windows = [window(whole, 0), Window(source=broken, clip=None)]
    [batch] = pool(unit(windows, np.ones((2, DIM), np.float32)))
    assert [clip.end_s for clip in batch.clips] == [10.0]
    assert len(batch.dead) == 1


def test_windows_that_cancel_each_other_are_a_dead_letter() -> None:
    source = Source(uri="/a.wav")
    vectors = np.array([[1, 0, 0], [-1, 0, 0]], np.float32)
    [batch] = pool(unit([window(source, 0), window(source, 1)], vectors))
    assert not batch.clips
    assert [letter.code for letter in batch.dead] == ["NON_FINITE"]


def test_a_unit_that_is_tried_again_begins_anew() -> None:
    windows = [window(Source(uri="/a.wav"), number) for number in range(3)]
    vectors = np.eye(3, dtype=np.float32)
    batches = unit(windows, vectors, cuts=[1, 2])
    pooled = pool([*batches[:2], *batches])
    assert len(pooled) == 1
    np.testing.assert_allclose(pooled[0].embeddings, [[3**-0.5] * 3], atol=1e-6)


def test_the_step_pools_in_a_pipeline() -> None:
    windows = [window(Source(uri="/a.wav"), number) for number in range(3)]
    batches = unit(windows, np.eye(3, dtype=np.float32), cuts=[1, 2])
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        units = pipeline | beam.Create([0]) | beam.FlatMap(lambda _: batches)
        ends = units | PoolWindows() | beam.Map(lambda batch: [clip.end_s for clip in batch.clips])
        assert_that(ends, equal_to([[100.0]]))
