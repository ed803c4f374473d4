"""Mel powers of clips: what is measured, kept and padded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.audio.mel import LogMel, MelSettings
from sonogloss.temporal.clips import LabelledClip
from sonogloss.temporal.config import PairSettings
from sonogloss.temporal.features import ClipPowers, MeasuredClips, decibels, measure_clips, read_part, write_part

from .conftest import labelled

MEL = MelSettings(
    sample_rate=16000,
    window_s=2.0,
    fft_size=512,
    hop_length=160,
    mel_bins=8,
    frequency_min=50,
    frequency_max=7000,
    filters="slaney",
    padding="repeatpad",
)


@pytest.fixture(scope="module")
def log_mel() -> LogMel:
    return LogMel(MEL)


@pytest.fixture
def recordings(tmp_path: Path, encode: Callable[..., bytes]) -> list[LabelledClip]:
    """A short one, one of several windows, one of some samples, one that is no audio."""
    rng = np.random.default_rng(0)
    clips = []
    for name, samples in {"short": 8000, "long": 80000, "tiny": 100}.items():
        path = tmp_path / f"{name}.wav"
        path.write_bytes(encode(0.1 * rng.standard_normal(samples), 16000))
        clips.append(LabelledClip(id=name, uri=str(path), label="noise", source=name))
    (tmp_path / "broken.wav").write_text("no audio")
    return [*clips, LabelledClip(id="broken", uri=str(tmp_path / "broken.wav"), label="noise", source="broken")]


def test_half_a_window_of_each_clip_is_measured(recordings: list[LabelledClip], log_mel: LogMel) -> None:
    measured = measure_clips(recordings, log_mel, PairSettings())
    assert [clip.id for clip in measured.clips] == ["short", "long"]
    assert measured.frames == (50, 100)
    assert measured.power.shape == (150, 8)
    assert [(letter.clip_id, letter.code) for letter in measured.dead] == [
        ("tiny", "TOO_SHORT"),
        ("broken", "UNSUPPORTED"),
    ]
    assert (measured.power >= 0).all()


def test_a_level_scales_the_power_of_every_clip(recordings: list[LabelledClip], log_mel: LogMel) -> None:
    quiet, loud = (
        ClipPowers([measure_clips(recordings[:2], log_mel, PairSettings(level_db=level))]) for level in (-40.0, -20.0)
    )
    for clip in recordings[:2]:
        np.testing.assert_allclose(100 * quiet[clip.id], loud[clip.id], rtol=1e-3)


def test_nothing_readable_is_an_empty_part(recordings: list[LabelledClip], log_mel: LogMel, tmp_path: Path) -> None:
    measured = measure_clips(recordings[3:], log_mel, PairSettings())
    assert measured.power.shape == (0, 8)
    write_part(str(tmp_path), "empty", measured)
    again = read_part(str(tmp_path), "empty")
    assert (again.clips, again.frames, again.power.shape) == ((), (), (0, 8))
    assert len(ClipPowers([again])) == 0


@pytest.mark.parametrize("base", ["local", "memory://features"])
def test_parts_read_the_same_from_anywhere(tmp_path: Path, base: str) -> None:
    directory = str(tmp_path) if base == "local" else base
    rng = np.random.default_rng(0)
    clips = [
        LabelledClip(id="a", uri="a.wav", label="dog", source="s", fold="1", collection="one"),
        LabelledClip(id="b", uri="b.wav", label="sea waves", source="b", fold=None, collection=""),
    ]
    written = MeasuredClips(clips=tuple(clips), frames=(3, 0), power=rng.random((3, 4)).astype(np.float32))
    assert write_part(directory, "p", written) == ("p.parquet", "p.npy")
    found = read_part(directory, "p")
    assert found.clips == written.clips
    assert found.frames == written.frames
    np.testing.assert_array_equal(found.power, written.power)
    assert isinstance(found.power, np.memmap) == (base == "local")
    if base != "local":
        fsspec.filesystem("memory").rm("/features", recursive=True)


@given(frames=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), min_size=1, max_size=4))
def test_powers_of_several_parts_are_found_by_id(frames: list[list[int]]) -> None:
    parts, expected, number = [], {}, 0
    for counts in frames:
        clips, blocks = [], []
        for count in counts:
            clip = labelled("dog", number)
            block = np.full((count, 2), number, np.float32)
            clips.append(clip)
            blocks.append(block)
            expected[clip.id] = block
            number += 1
        parts.append(MeasuredClips(clips=tuple(clips), frames=tuple(counts), power=np.concatenate(blocks)))
    powers = ClipPowers(parts)
    assert len(powers) == number
    assert set(powers) == set(expected)
    assert [clip.id for clip in powers.clips] == sorted(expected)
    for own, block in expected.items():
        np.testing.assert_array_equal(powers[own], block)


@given(count=st.integers(1, 12), frames=st.integers(2, 30), padding=st.sampled_from(["pad", "repeat", "repeatpad"]))
def test_a_window_is_filled_row_by_row(count: int, frames: int, padding: str) -> None:
    """Against a loop: whole copies for repeatpad, any for repeat, none for pad; the border frame is doubled."""
    power = 10.0 ** np.arange(count, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    found = decibels(power[: min(count, frames)], frames, padding)
    own = power[: min(count, frames)]
    filled: list[np.ndarray] = []
    while len(filled) < frames:
        whole_copy = len(filled) + len(own) <= frames - 1
        if not filled or padding == "repeat" or (padding == "repeatpad" and whole_copy):
            filled += list(own)
        else:
            break
    rows = filled[:frames]
    if len(rows) == frames - 1:
        rows.append(rows[-1])
    expected = np.full((frames, 2), -100.0)
    expected[: len(rows)] = 10 * np.log10(np.maximum(np.array(rows), 1e-10))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_silence_is_a_hundred_decibels_down() -> None:
    for power in (0.0, 1e-20):
        silent = np.full((3, 2), power, np.float32)
        np.testing.assert_allclose(decibels(silent, 5, "pad"), -100, atol=1e-4)
        np.testing.assert_allclose(decibels(silent, 5, "pad", least=1e-6), -60, atol=1e-4)


def test_a_measured_clip_is_the_spectrum_of_its_samples(
    log_mel: LogMel, tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    samples = (0.1 * np.random.default_rng(1).standard_normal(8000)).astype(np.float32)
    (tmp_path / "a.wav").write_bytes(encode(samples, 16000))
    clip = LabelledClip(id="a", uri=str(tmp_path / "a.wav"), label="a", source="a")
    measured = measure_clips([clip], log_mel, PairSettings())
    expected = log_mel.power(torch.from_numpy(samples)[None])[0, :50].numpy()
    np.testing.assert_allclose(measured.power, expected, rtol=0.02, atol=1e-6)  # 16 bits a sample
