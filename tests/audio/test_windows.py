from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.audio import Cutting, WindowPolicy, cut_clips, expected_windows, resample
from sonogloss.audio import decode as decode_module
from sonogloss.audio.channels import Channels
from sonogloss.audio.rates import resample_blocks
from sonogloss.audio.windows import _cut
from sonogloss.errors import ClipError, Code, OptionError
from sonogloss.records import Clip, FloatArray, clip_id

Encode = Callable[..., bytes]


def cut(data: bytes, *, window_s: float = 10.0, hop_s: float = 10.0, sample_rate: int = 32000) -> list[Clip]:
    policy = WindowPolicy(window_s=window_s, hop_s=hop_s)
    return list(cut_clips(data, Cutting(uri="dir/a.wav", member="b.wav", policy=policy, sample_rate=sample_rate)))


@pytest.mark.parametrize(
    ("duration_s", "window_s", "hop_s", "expected"),
    [
        (0.02, 10, 10, [(0, 0.02)]),
        (10.0, 10, 10, [(0, 10)]),
        (10.4, 10, 10, [(0, 10)]),
        (10.5, 10, 10, [(0, 10), (10, 10.5)]),
        (25.0, 10, 10, [(0, 10), (10, 20), (20, 25)]),
        (12.0, 10, 5, [(0, 10), (5, 12)]),
        (10.0, 10, 5, [(0, 10)]),
        (30.0, 10, 20, [(0, 10), (20, 30)]),
        (20.3, 10, 20, [(0, 10)]),
        (0.0, 10, 10, []),
    ],
)
def test_expected_windows(
    duration_s: float, window_s: float, hop_s: float, expected: list[tuple[float, float]]
) -> None:
    assert expected_windows(duration_s, WindowPolicy(window_s=window_s, hop_s=hop_s)) == expected


@pytest.mark.parametrize(("start_s", "end_s"), [(0, 1e-9), (1.99999999, None), (1.99999999, 7)])
def test_a_range_without_a_sample_is_empty(encode: Encode, start_s: float, end_s: float | None) -> None:
    cutting = Cutting(uri="a", policy=WindowPolicy(), sample_rate=32000, start_s=start_s, end_s=end_s)
    with pytest.raises(ClipError, match="shorter than a sample") as caught:
        list(cut_clips(encode(np.zeros(32000), 16000), cutting))
    assert caught.value.code is Code.EMPTY


@given(duration_s=st.floats(0.01, 1000), window_s=st.floats(0.5, 30), hop_s=st.floats(0.5, 30))
def test_windows_cover_a_recording_in_order(duration_s: float, window_s: float, hop_s: float) -> None:
    windows = expected_windows(duration_s, WindowPolicy(window_s=window_s, hop_s=hop_s))
    assert windows[0][0] == 0
    for start, end in windows:
        assert 0 <= start < end <= duration_s
        assert end - start <= window_s * (1 + 1e-12)
    assert windows == sorted(set(windows))
    if hop_s <= window_s:
        assert duration_s - windows[-1][1] < 0.5
        assert all(later[0] <= earlier[1] + 1e-9 for earlier, later in pairwise(windows))


def test_only_the_first_windows_are_cut_when_no_more_are_asked_for(encode: Encode) -> None:
    sound = encode(np.sin(np.arange(80000)))
    policy = WindowPolicy(window_s=1, hop_s=1, max_windows=2)
    some = list(cut_clips(sound, Cutting(uri="dir/a.wav", member="b.wav", policy=policy, sample_rate=32000)))
    for clip, same in zip(some, cut(sound, window_s=1, hop_s=1)[:2], strict=True):
        assert clip.clip_id == same.clip_id
        assert np.array_equal(clip.samples, same.samples)
    with pytest.raises(OptionError, match="--max-windows 0"):
        WindowPolicy(max_windows=0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_policy_must_be_seconds(value: float) -> None:
    with pytest.raises(OptionError, match="--window"):
        WindowPolicy(window_s=value)
    with pytest.raises(OptionError, match="--hop"):
        WindowPolicy(hop_s=value)


def test_a_clip_carries_its_origin(encode: Encode) -> None:
    data = encode(0.1 * np.sin(np.arange(44100 * 6)).reshape(-1, 2), 44100)
    first, second = cut(data, window_s=2, hop_s=2)
    assert (first.start_s, first.end_s, second.start_s, second.end_s) == (0.0, 2.0, 2.0, 3.0)
    assert (second.duration_s, second.sample_rate, second.channels) == (3.0, 44100, 2)
    assert (second.uri, second.member) == ("dir/a.wav", "b.wav")
    assert second.clip_id == clip_id("dir/a.wav", "b.wav", 2.0, 3.0)
    assert second.audio_sha256 == hashlib.sha256(data).hexdigest()
    assert second.samples.dtype == np.float32
    assert (len(first.samples), len(second.samples)) == (64000, 32000)
    assert first.flags == ("MIXED_DOWN", "RESAMPLED")


@pytest.mark.parametrize("source_rate", [8000, 11025, 22050, 32000, 44100, 48000, 96000])
def test_windows_are_exact_cuts_of_the_whole_recording_resampled(encode: Encode, source_rate: int) -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal(int(7.3 * source_rate))
    data = encode(noise, source_rate)
    whole = soxr.resample(soundfile.read(io.BytesIO(data), dtype="float32")[0], source_rate, 32000, quality="HQ")
    for clip in cut(data, window_s=2, hop_s=1.5):
        start = round(clip.start_s * 32000)
        expected = np.clip(whole[start : start + 64000], -1, 1)
        assert abs(len(clip.samples) - (clip.end_s - clip.start_s) * 32000) <= 1
        assert np.abs(clip.samples - expected[: len(clip.samples)]).max() < 1e-6


def test_a_long_recording_gives_the_same_clips_whether_it_is_kept_or_streamed(
    encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(0.1 * np.random.default_rng(2).standard_normal(44100 * 9), 44100, container="OGG")
    kept = cut(data, window_s=2, hop_s=2)
    monkeypatch.setattr(decode_module, "_KEPT_FRAMES", 44100)
    streamed = cut(data, window_s=2, hop_s=2)
    assert len(kept) == 5
    for one, other in zip(kept, streamed, strict=True):
        assert one.clip_id == other.clip_id
        assert np.array_equal(one.samples, other.samples)


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(320, 60000),
    window_s=st.floats(0.1, 2.0),
    hop_s=st.floats(0.1, 2.0),
    source_rate=st.sampled_from([8000, 11025, 16000]),
)
def test_no_clip_exceeds_its_window_and_none_is_empty(
    encode: Encode, frames: int, window_s: float, hop_s: float, source_rate: int
) -> None:
    clips = cut(encode(np.zeros(frames), source_rate), window_s=window_s, hop_s=hop_s, sample_rate=16000)
    windows = expected_windows(frames / source_rate, WindowPolicy(window_s=window_s, hop_s=hop_s))
    assert [(clip.start_s, clip.end_s) for clip in clips] == windows
    assert all(0 < len(clip.samples) <= round(window_s * 16000) for clip in clips)


def test_silence_is_flagged_by_level(encode: Encode) -> None:
    tone = np.sin(np.arange(32000))
    assert cut(encode(np.zeros(32000)))[0].flags == ("SILENT",)
    assert cut(encode(tone * 0.9e-4, subtype="FLOAT"))[0].flags == ("SILENT",)
    assert cut(encode(tone * 1.1e-4, subtype="FLOAT"))[0].flags == ()


def test_one_silent_window_of_a_recording_is_flagged_alone(encode: Encode) -> None:
    samples = np.concatenate([np.sin(np.arange(32000)), np.zeros(32000)]) * 0.5
    assert [clip.flags for clip in cut(encode(samples), window_s=1, hop_s=1)] == [(), ("SILENT",)]


def test_a_short_recording_is_flagged(encode: Encode) -> None:
    assert cut(encode(0.1 * np.sin(np.arange(15999))))[0].flags == ("SHORT",)
    assert cut(encode(0.1 * np.sin(np.arange(16000))))[0].flags == ()


def test_overdriven_float_samples_are_limited_and_flagged(encode: Encode) -> None:
    (clip,) = cut(encode(3.0 * np.sin(np.arange(44100)), 44100, subtype="FLOAT"))
    assert clip.flags == ("CLIPPED", "RESAMPLED")
    assert np.abs(clip.samples).max() <= 1.0


def test_real_files_become_clips(shared_data: Path) -> None:
    clips = cut((shared_data / "audio" / "formats" / "ms_adpcm.wav").read_bytes())
    assert [len(clip.samples) for clip in clips[:-1]] == [320000] * 8
    assert clips[-1].end_s == clips[-1].duration_s == pytest.approx(81.232, abs=1e-3)
    (horn,) = cut((shared_data / "audio" / "formats" / "us8k_100648-1-2-0.wav").read_bytes())
    assert "SHORT" in horn.flags
    (cut_off,) = cut((shared_data / "audio" / "formats" / "truncated.wav").read_bytes())
    assert "TRUNCATED" in cut_off.flags


@pytest.mark.parametrize("rate", [16000, 32000, 44100, 48000])
def test_a_clip_at_another_rate_is_what_its_source_would_have_given(encode: Encode, rate: int) -> None:
    samples = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32000) / 32000)
    data = encode(samples, 32000, subtype="FLOAT")
    [clip], [wanted] = cut(data), cut(data, sample_rate=rate)
    found = resample(clip.samples, 32000, rate)
    assert found.dtype == np.float32
    assert abs(len(found) - rate) <= 1
    np.testing.assert_allclose(found[:rate], wanted.samples[: len(found)], atol=1e-6)


@given(
    duration_s=st.integers(1, 20_000), window_s=st.integers(1, 4000), hop_s=st.integers(1, 4000), most=st.integers(1, 9)
)
def test_the_number_of_windows_has_a_closed_form(duration_s: int, window_s: int, hop_s: int, most: int) -> None:
    """In hundredths of a second. After the first, each window needs half a second that no earlier one covers."""
    duration, window, hop = duration_s / 100, max(0.01, window_s / 100), max(0.01, hop_s / 100)
    found = expected_windows(duration, WindowPolicy(window_s=window, hop_s=hop))
    uncovered = duration_s - 50 - (window_s if hop_s <= window_s else hop_s)
    exact = 1 + max(0, uncovered // hop_s + 1)
    on_the_edge = uncovered % hop_s in (0, hop_s - 1)  # decided by the rounding of seconds
    assert abs(len(found) - exact) <= on_the_edge
    assert [start for start, _ in found] == [number * hop for number in range(len(found))]
    assert all(end == min(start + window, duration) for start, end in found)
    policy = WindowPolicy(window_s=window, hop_s=hop, max_windows=most)
    assert expected_windows(duration, policy) == found[:most]


@given(duration_s=st.floats(0.01, 100), more=st.floats(0, 10), window_s=st.floats(0.1, 20), hop_s=st.floats(0.1, 20))
def test_a_longer_recording_begins_with_the_windows_of_a_shorter_one(
    duration_s: float, more: float, window_s: float, hop_s: float
) -> None:
    policy = WindowPolicy(window_s=window_s, hop_s=hop_s)
    short, long = expected_windows(duration_s, policy), expected_windows(duration_s + more, policy)
    assert len(long) >= len(short)
    assert [start for start, _ in long[: len(short)]] == [start for start, _ in short]
    whole = [window for window in short if window[1] == window[0] + window_s]
    assert long[: len(whole)] == whole


@given(
    length=st.integers(1, 400),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    window=st.integers(1, 120),
    hop=st.integers(1, 120),
)
def test_blocks_of_any_size_are_cut_at_the_same_samples(length: int, cuts: list[int], window: int, hop: int) -> None:
    whole = np.arange(length, dtype=np.float32)
    blocks = np.split(whole, sorted(min(cut, length) for cut in cuts))
    windows = [(start / 10, min(start + window, length) / 10) for start in range(0, length, hop)]
    found = list(_cut(iter(blocks), windows, 10, window))
    assert len(found) == len(windows)
    for samples, start in zip(found, range(0, length, hop), strict=True):
        assert np.array_equal(samples, whole[start : start + window])


def test_a_clip_owns_its_samples() -> None:
    """Clips outlive the blocks that they are cut from."""
    block = np.zeros(20, np.float32)
    [first, second] = _cut(iter([block]), [(0.0, 1.0), (0.5, 1.5)], 10, 10)
    first[:] = 1.0
    assert not second.any()
    assert not block.any()


@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 8000), max_size=6),
    rates=st.sampled_from([(8000, 32000), (44100, 32000), (48000, 32000), (22050, 48000), (96000, 16000)]),
)
def test_a_stream_is_resampled_as_the_whole(cuts: list[int], rates: tuple[int, int]) -> None:
    noise = (0.2 * np.random.default_rng(0).standard_normal(8000)).astype(np.float32)
    blocks = np.split(noise, sorted(cuts))
    streamed = np.concatenate(list(resample_blocks(blocks, *rates)))
    whole = resample(noise, *rates)
    assert len(streamed) == len(whole)
    assert np.abs(streamed - whole).max() < 1e-6


@pytest.mark.parametrize("rates", [(8000, 32000), (44100, 32000), (48000, 32000), (32000, 48000), (96000, 32000)])
@pytest.mark.parametrize("frequency", [100.0, 1000.0, 3000.0])
def test_a_tone_keeps_its_pitch_level_and_length(rates: tuple[int, int], frequency: float) -> None:
    source, target = rates
    tones = [0.5 * np.sin(2 * np.pi * frequency * np.arange(rate) / rate).astype(np.float32) for rate in rates]
    found = resample(tones[0], source, target)
    assert abs(len(found) - target) <= 1
    middle = slice(target // 10, 9 * target // 10)  # the filter rings at the ends
    assert np.abs(found[middle] - tones[1][middle]).max() < 1e-3


def test_resampling_never_exceeds_full_scale() -> None:
    square = np.sign(np.sin(np.arange(8000) / 3)).astype(np.float32)
    found = resample(square, 44100, 32000)
    assert np.abs(found).max() == 1.0  # the filter overshoots steps, and is limited


def test_equal_rates_change_nothing() -> None:
    loud = 3 * np.ones(100, np.float32)
    assert np.array_equal(resample(loud, 32000, 32000), loud)


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize(("source_rate", "channels"), [(16000, "mean"), (44100, "mean"), (44100, "split")])
@pytest.mark.parametrize("hop_s", [1.0, 0.7, 2.5])
def test_parts_of_a_recording_are_the_windows_of_the_whole(
    encode: Encode, container: str, source_rate: int, channels: Channels, hop_s: float
) -> None:
    noise = 0.1 * np.random.default_rng(3).standard_normal((int(13.4 * source_rate), 2))
    data = encode(noise, source_rate, container=container)
    policy = WindowPolicy(window_s=1.3, hop_s=hop_s, channels=channels)

    def cut_part(part: tuple[int, int | None] | None) -> list[Clip]:
        version = f"{source_rate}{container}{channels}"
        return list(cut_clips(data, Cutting(uri="a", policy=policy, sample_rate=16000, part=part, version=version)))

    whole = {clip.clip_id: clip for clip in cut_part(None)}
    parts = [clip for part in ((0, 3), (3, 5), (5, None), (900, None)) for clip in cut_part(part)]
    assert sorted(clip.clip_id for clip in parts) == sorted(whole)
    for clip in parts:
        same = whole[clip.clip_id]
        assert vars(clip) | {"samples": None} == vars(same) | {"samples": None}
        assert len(clip.samples) == len(same.samples)
        # Another rate is another stream to the resampler, but for its last digits.
        tolerance = 0.0 if source_rate == 16000 else 1e-6
        assert np.abs(clip.samples - same.samples).max() <= tolerance


def test_a_range_is_found_without_decoding_what_is_before_it(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "_KEPT_FRAMES", 1000)
    data = encode(0.1 * np.random.default_rng(0).standard_normal(60 * 16000), 16000, container="FLAC")
    decoded = [0]
    plain = decode_module.SndfileFile.blocks

    def blocks(file: decode_module.SndfileFile) -> Iterator[FloatArray]:
        for block in plain(file):
            decoded[0] += len(block)
            yield block

    monkeypatch.setattr(decode_module.SndfileFile, "blocks", blocks)
    policy = WindowPolicy(window_s=1, hop_s=1)

    def cut_from(part: tuple[int, int | None]) -> int:
        decoded[0] = 0
        cutting = Cutting(uri="a", policy=policy, sample_rate=16000, version="1", part=part)
        assert len(list(cut_clips(data, cutting))) == 5
        return decoded[0]

    assert cut_from((50, 55)) < (60 + 8) * 16000  # the whole once, and the part
    assert cut_from((40, 45)) < 8 * 16000  # the whole is known by now
