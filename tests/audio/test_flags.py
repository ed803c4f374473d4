"""Each flag is set when it is true and never otherwise: sounds are made from what the flags say, in any combination."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.audio import Cutting, WindowPolicy, cut_clips
from sonogloss.records import Clip, FloatArray

RATE = 16000
Encode = Callable[..., bytes]


def cut(data: bytes, window_s: float = 10.0) -> list[Clip]:
    policy = WindowPolicy(window_s=window_s, hop_s=window_s)
    return list(cut_clips(data, Cutting(uri="a.wav", policy=policy, sample_rate=RATE)))


def tone(seconds: float, rate: int) -> FloatArray:
    """Whole periods, so that the mean is zero."""
    return (0.5 * np.sin(2 * np.pi * 100 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    resampled=st.booleans(),
    short=st.booleans(),
    silent=st.booleans(),
    clipped=st.booleans(),
    offset=st.sampled_from([0.0, 0.03, -0.03, 0.4, -0.4]),
    stereo=st.booleans(),
    opposite=st.booleans(),
    joined=st.booleans(),
    truncated=st.booleans(),
)
def test_a_clip_has_the_flags_that_are_true_and_no_others(
    encode: Encode,
    *,
    resampled: bool,
    short: bool,
    silent: bool,
    clipped: bool,
    offset: float,
    stereo: bool,
    opposite: bool,
    joined: bool,
    truncated: bool,
) -> None:
    rate = 22000 if resampled else RATE
    samples = tone(0.2 if short else 1.0, rate) * (6 if clipped else 1) + offset
    samples = samples * 0 if silent else samples
    if stereo:
        samples = np.stack([samples, -samples if opposite else samples], axis=1)
    data = encode(samples, rate, subtype="FLOAT") * (2 if joined else 1)
    [clip] = cut(data[:-800] if truncated else data)
    loud = not silent
    expected = {
        "RESAMPLED": resampled,
        "SHORT": short,
        "SILENT": silent,
        "CLIPPED": clipped and loud,
        "DC": abs(offset) > 0.05 and loud,
        "ANTIPHASE": stereo and opposite and loud,
        "MIXED_DOWN": stereo and not (opposite and loud),
        "JOINED": joined,
        "TRUNCATED": truncated,
    }
    assert set(clip.flags) == {flag for flag, is_set in expected.items() if is_set}
    assert len(clip.flags) == len(set(clip.flags))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["tone", "silence", "offset"]), min_size=1, max_size=5), st.booleans())
def test_flags_of_a_clip_are_those_of_its_own_sound(encode: Encode, parts: list[str], remainder: bool) -> None:
    sounds = {"tone": tone(1, RATE), "silence": 0 * tone(1, RATE), "offset": tone(1, RATE) + 0.1}
    flags: dict[str, tuple[str, ...]] = {"tone": (), "silence": ("SILENT",), "offset": ("DC",)}
    samples = [sounds[part] for part in parts] + ([tone(0.49, RATE)] if remainder else [])
    clips = cut(encode(np.concatenate(samples), RATE), window_s=1.0)
    assert [clip.flags for clip in clips] == [flags[part] for part in parts]


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(160, 2 * RATE),
    level=st.floats(1e-6, 1.0),
    at=st.floats(0, 1, exclude_max=True),
    rate=st.sampled_from([RATE, 8000, 44100]),
)
def test_thresholds_are_where_they_are_documented(
    encode: Encode, frames: int, level: float, at: float, rate: int
) -> None:
    """SILENT by the peak of the clip, DC by its mean, SHORT by its length."""
    samples = np.full(frames, 0.1 * level, np.float32)
    samples[int(at * frames)] = level
    frames_s = frames / rate
    if frames_s < 0.01:
        return
    [clip] = cut(encode(samples, rate, subtype="FLOAT"))
    assert ("SHORT" in clip.flags) == (frames_s < 0.5)
    assert ("SILENT" in clip.flags) == (float(np.abs(clip.samples).max()) < 1e-4)
    assert ("DC" in clip.flags) == (abs(clip.samples.mean(dtype=np.float64)) > 0.05)
    assert ("RESAMPLED" in clip.flags) == (rate != RATE)
