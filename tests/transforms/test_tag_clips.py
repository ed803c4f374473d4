from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sonogloss.clap import Clap
from sonogloss.clap.frames import embed_frames
from sonogloss.records import FloatArray
from sonogloss.tagging.tagger import Tagger
from sonogloss.transforms.embed_audio import embed_audio
from sonogloss.transforms.tag_clips import LabelSelection, tag_clips
from sonogloss.transforms.work import Batch
from sonogloss.transforms.write_rows import LabelRows, UnitWriter

from .conftest import MakeBatch, make_clip

LABELS = ("dog", "rain", "wind")


def tagger(fine: bool = False) -> Tagger:
    basis = np.eye(3, 4, dtype=np.float32)
    return Tagger(labels=LABELS, coarse=basis, fine=basis if fine else None, temperature=0.1, clap="c")


def batch_of(make_batch: MakeBatch, vectors: list[list[float]]) -> Batch:
    return replace(make_batch(len(vectors)), embeddings=np.array(vectors, np.float32), captions=())


def test_the_best_labels_come_first_and_ties_keep_their_order(make_batch: MakeBatch) -> None:
    batch = batch_of(make_batch, [[0.1, 0.9, 0, 0], [0.5, 0.2, 0.5, 0]])
    batch = tag_clips(batch, tagger(), LabelSelection(top=2))
    assert [[label.label for label in row] for row in batch.labels] == [["rain", "dog"], ["dog", "wind"]]
    assert batch.labels[0][0].score == pytest.approx(0.9 / np.hypot(0.1, 0.9), abs=1e-6)
    assert batch.label_scores.shape == (2, 3)


def test_a_threshold_may_leave_none(make_batch: MakeBatch) -> None:
    batch = batch_of(make_batch, [[0.6, 0.8, 0, 0], [0, 0, 0, 1]])
    batch = tag_clips(batch, tagger(), LabelSelection(top=None, threshold=0.5))
    assert [[label.label for label in row] for row in batch.labels] == [["rain", "dog"], []]


def test_labels_that_are_compared_with_frames_get_them(tiny_clap: Clap, make_batch: MakeBatch) -> None:
    rng = np.random.default_rng(0)
    clips = tuple(make_clip(n, rng.standard_normal(32000).astype(np.float32)) for n in range(2))
    batch = replace(make_batch(2), clips=clips)
    heard = embed_audio(batch, tiny_clap, frames=True)
    wanted, frames = embed_frames(tiny_clap, [clip.samples for clip in clips])
    assert np.array_equal(heard.embeddings, wanted)
    assert np.array_equal(heard.frames, frames)
    assert not any(len(clip.samples) for clip in heard.clips)
    assert embed_audio(replace(batch, clips=()), tiny_clap, frames=True).frames.shape == (0, 0)


def test_a_clip_with_frames_that_are_not_finite_is_a_dead_letter(
    tiny_clap: Clap, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(clap: Clap, waveforms: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
        frames = np.ones((len(waveforms), 2, 4), np.float32)
        frames[[float(wave[0]) == 1.0 for wave in waveforms]] = np.nan
        return np.ones((len(waveforms), 4), np.float32), frames

    monkeypatch.setattr("sonogloss.clap.frames.embed_frames", broken)
    clips = tuple(make_clip(n, np.full(8, n, np.float32)) for n in range(3))
    heard = embed_audio(replace(make_batch(3), clips=clips), tiny_clap, frames=True)
    assert [letter.code for letter in heard.dead] == ["NON_FINITE"]
    assert heard.frames.shape == (2, 2, 4)
    assert len(tag_clips(heard, tagger(fine=True), LabelSelection()).labels) == 2


def test_an_empty_batch_stays_empty(make_batch: MakeBatch) -> None:
    assert tag_clips(make_batch(0), tagger(), LabelSelection()).labels == ()


@pytest.mark.parametrize("all_scores", [None, 3])
def test_rows_of_tags_open_anywhere(tmp_path: Path, make_batch: MakeBatch, all_scores: int | None) -> None:
    batch = tag_clips(batch_of(make_batch, [[0.6, 0.8, 0, 0]]), tagger(), LabelSelection(top=1))
    writer = UnitWriter(str(tmp_path), configuration="c", kind=LabelRows(all_scores=all_scores))
    result = writer.add(batch)
    assert result is not None
    assert (result.rows, result.parts[0].path) == (1, "labels/part-u-000.parquet")
    frame = pd.read_parquet(tmp_path / "labels")
    assert frame["labels"][0][0]["label"] == "rain"
    assert ("scores" in frame) == (all_scores is not None)
    if all_scores:
        assert frame["scores"][0].tolist() == batch.label_scores[0].tolist()
