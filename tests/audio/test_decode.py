from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.audio import AudioLimits, Cutting, WindowPolicy, cut_clips, read_recording
from sonogloss.audio import decode as decode_module
from sonogloss.errors import ClipError, Code

RATE = 16000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)

Encode = Callable[..., bytes]


def code_of(data: bytes, **limits: float) -> Code:
    with pytest.raises(ClipError) as caught:
        read_recording(data, AudioLimits(**limits))  # type: ignore[arg-type]
    assert caught.value.message.endswith(".")
    return caught.value.code


def wav(fmt_tag: int, channels: int, rate: int, payload: bytes, *, announced: int | None = None) -> bytes:
    size = len(payload) if announced is None else announced
    form = struct.pack(
        "<HHIIHH", fmt_tag, channels, rate, min(0xFFFFFFFF, rate * 2 * channels), 2 * channels % 65536, 16
    )
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + payload
    return b"RIFF" + struct.pack("<I", min(0xFFFFFFFF, 4 + len(chunks))) + b"WAVE" + chunks


@pytest.mark.parametrize(
    ("container", "subtype", "tolerance"),
    [
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "FLOAT", 1e-6),
        ("WAV", "DOUBLE", 1e-6),
        ("WAV", "MS_ADPCM", 0.05),
        ("WAV", "ULAW", 0.05),
        ("WAVEX", "PCM_16", 1e-4),
        ("RF64", "PCM_16", 1e-4),
        ("W64", "PCM_16", 1e-4),
        ("AIFF", "PCM_16", 1e-4),
        ("CAF", "PCM_16", 1e-4),
        ("AU", "PCM_16", 1e-4),
        ("FLAC", None, 1e-4),
        ("OGG", "VORBIS", 0.1),
        ("OGG", "OPUS", 0.1),
        ("MP3", None, 0.1),
    ],
)
def test_every_container_that_libsndfile_reads(
    encode: Encode, container: str, subtype: str | None, tolerance: float
) -> None:
    recording = read_recording(encode(TONE, RATE, container=container, subtype=subtype))
    samples = np.concatenate(list(recording.blocks()))
    assert (recording.sample_rate, recording.channels, recording.truncated) == (RATE, 1, False)
    assert recording.duration_s == pytest.approx(2.0, abs=0.1)
    assert samples.dtype == np.float32
    assert len(samples) == recording.frames
    inner = slice(1000, 30000)  # lossy codecs ring at the ends
    assert np.abs(samples[inner] - TONE[inner]).max() < tolerance


def test_channels_are_mixed_to_their_mean(encode: Encode) -> None:
    both = np.stack([np.full(RATE, 0.5), np.full(RATE, -0.1)], axis=1)
    recording = read_recording(encode(both, RATE, subtype="FLOAT"))
    assert recording.channels == 2
    assert np.concatenate(list(recording.blocks())) == pytest.approx(np.full(RATE, 0.2), abs=1e-6)


def test_no_bytes_and_no_samples_are_empty(encode: Encode) -> None:
    assert code_of(b"") is Code.EMPTY
    assert code_of(encode(np.zeros(0), RATE)) is Code.EMPTY


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"this is no sound\n", "text"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (
            b"\x00\x00\x00\x20ftypM4A \x00\x00\x00\x00" + bytes(100),
            "an MP4 or M4A container and holds no sound",
        ),
        (b"\x1aE\xdf\xa3\x80" + bytes(100), "a Matroska or WebM container and holds no sound"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (bytes(range(256)), "an unknown kind of file"),
        (wav(0x0161, 1, RATE, bytes(2000)), "codec 0x0161"),
        (b"OggS" + bytes(24) + b"\x80theora" + bytes(100), "neither Vorbis"),
    ],
)
def test_what_is_not_readable_sound_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ClipError) as caught:
        read_recording(data)
    assert caught.value.code is Code.UNSUPPORTED
    assert words in caught.value.message


@pytest.mark.parametrize("container", ["FLAC", "OGG", "WAV", "MP3"])
def test_a_header_that_breaks_off_is_corrupt(encode: Encode, container: str) -> None:
    assert code_of(encode(TONE, RATE, container=container)[:30]) is Code.CORRUPT


@pytest.mark.parametrize("container", ["WAV", "RF64", "AIFF", "FLAC", "OGG", "MP3"])
def test_a_truncated_file_keeps_what_decodes(encode: Encode, container: str) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(8 * RATE)
    data = encode(noise, RATE, container=container)
    whole = read_recording(data)
    half = read_recording(data[: len(data) // 2])
    assert not whole.truncated
    assert half.truncated
    assert 2.0 < half.duration_s < 5.0
    kept = np.concatenate(list(half.blocks()))
    steady = len(kept) - 2000
    assert np.array_equal(kept[:steady], np.concatenate(list(whole.blocks()))[:steady])


def test_a_break_in_the_middle_flags_the_clips_that_came_before(encode: Encode) -> None:
    data = bytearray(encode(0.1 * np.random.default_rng(0).standard_normal(8 * RATE), RATE, container="FLAC"))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    clips = list(
        cut_clips(bytes(data), Cutting(uri="a.flac", policy=WindowPolicy(window_s=1, hop_s=1), sample_rate=RATE))
    )
    assert 2 <= len(clips) <= 5
    assert all("TRUNCATED" in clip.flags for clip in clips)


@pytest.mark.parametrize("announced", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_written_to_a_pipe_announces_no_length_and_is_not_truncated(announced: int) -> None:
    recording = read_recording(wav(1, 1, RATE, bytes(2 * RATE), announced=announced))
    assert (recording.frames, recording.truncated) == (RATE, False)


@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)])
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_of_varying_bitrate_without_a_frame_count_is_read_to_its_end(
    rate: int, channels: int, tag: bytes
) -> None:
    noise = 0.3 * np.random.default_rng(0).standard_normal((8 * rate, channels))
    noise[: 4 * rate] = 0.2 * np.sin(0.05 * np.arange(4 * rate))[:, None]
    target = io.BytesIO()
    with soundfile.SoundFile(
        target, "w", rate, channels, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5
    ) as file:
        file.write(noise)
    data = target.getvalue()
    assert b"Xing" in data[:64]
    bare = tag + data[data.index(data[:2], 4) :]  # without the frame that holds the count
    assert read_recording(data).frames == 8 * rate
    assert read_recording(bare).duration_s == pytest.approx(8.0, abs=0.2)  # and without the count of the padding
    assert not read_recording(bare).truncated


def test_limits(encode: Encode) -> None:
    data = encode(TONE, RATE)
    assert code_of(data, max_bytes=1000) is Code.LIMIT
    assert code_of(data, max_seconds=1.5) is Code.TOO_LONG
    assert code_of(encode(np.zeros((100, 3)), RATE), max_channels=2) is Code.TOO_MANY_CHANNELS
    assert code_of(data, max_sample_rate=8000) is Code.BAD_RATE
    assert code_of(data, min_sample_rate=20000) is Code.BAD_RATE
    assert read_recording(data, AudioLimits(max_seconds=2.0)).frames == 2 * RATE


def test_absurd_headers_are_refused_before_memory_is_taken() -> None:
    assert code_of(wav(1, 60000, RATE, bytes(2000))) is Code.TOO_MANY_CHANNELS
    assert code_of(wav(1, 1, 4_000_000_000, bytes(2000))) is Code.BAD_RATE
    assert code_of(wav(1, 1, 1, bytes(2000))) is Code.BAD_RATE


def test_limits_are_checked_when_made() -> None:
    with pytest.raises(ValueError, match="max_seconds"):
        AudioLimits(max_seconds=0)
    with pytest.raises(ValueError, match="min_sample_rate"):
        AudioLimits(min_sample_rate=2000, max_sample_rate=1000)


def test_a_few_samples_are_too_short(encode: Encode) -> None:
    assert code_of(encode(np.zeros(159), RATE)) is Code.TOO_SHORT
    assert read_recording(encode(np.zeros(160), RATE)).frames == 160


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_reject_the_source(encode: Encode, bad: float) -> None:
    samples = TONE.copy()
    samples[20000] = bad
    with pytest.raises(ClipError, match=r"near 1\.25 s are not finite") as caught:
        read_recording(encode(np.stack([TONE, samples], axis=1), RATE, subtype="FLOAT"))
    assert caught.value.code is Code.NON_FINITE


def test_numbers_far_beyond_full_scale_are_limited_and_flagged(encode: Encode) -> None:
    recording = read_recording(encode(np.stack([TONE * 1e38] * 4, axis=1), RATE, subtype="FLOAT"))
    samples = np.concatenate(list(recording.blocks()))
    assert recording.overdriven
    assert np.abs(samples).max() <= 1.0


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
def test_long_recordings_are_decoded_again_instead_of_kept(
    encode: Encode, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(0.1 * np.random.default_rng(0).standard_normal((8 * RATE, 2)), RATE, container=container)
    data = data[: len(data) * 2 // 3]
    kept = list(read_recording(data).blocks())
    monkeypatch.setattr(decode_module, "_KEPT_FRAMES", 1000)
    again = list(read_recording(data).blocks())
    assert len(kept) == len(again) > 1
    assert all(np.array_equal(one, other) for one, other in zip(kept, again, strict=True))


@pytest.mark.parametrize("rate", [16000, 44100])
def test_blocks_of_an_mp3_join_without_a_seam(encode: Encode, rate: int) -> None:
    data = encode(0.5 * np.sin(2 * np.pi * 440 * np.arange(4 * rate) / rate), rate, container="MP3")
    at_once, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    assert np.abs(np.concatenate(list(read_recording(data).blocks())) - at_once).max() < 1e-6


@pytest.mark.parametrize(
    "data",
    [b"\xff\xf1\x50\x80" + bytes(100), b"RIFF\x10\x00\x00\x00AVI LIST", b"\x1aE\xdf\xa3\xff" + bytes(range(100))],
)
def test_a_container_that_breaks_off_is_corrupt(data: bytes) -> None:
    assert code_of(data) is Code.CORRUPT


@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=400),
    magic=st.sampled_from([b"", b"RIFF\x00\x00\x00\x00WAVE", b"fLaC", b"OggS", b"ID3", b"FORM"]),
)
def test_any_bytes_give_a_recording_or_a_clip_error(data: bytes, magic: bytes) -> None:
    try:
        recording = read_recording(magic + data)
    except ClipError as error:
        sentence = error.message
    else:
        sentence = "."
        assert sum(len(block) for block in recording.blocks()) == recording.frames
    assert sentence.endswith(".")


SHARED = {
    "almost_silent.wav": "",
    "bus.opus": "",
    "digital_silence.wav": "",
    "empty.wav": "EMPTY",
    "hens.ogg": "",
    "mono_float64.wav": "TOO_SHORT",
    "ms_adpcm.wav": "",
    "not_audio.wav": "UNSUPPORTED",
    "signed_24bit.wav": "",
    "stereo_24bit.WAV": "",
    "testing.m4a": "",
    "truncated.wav": "TRUNCATED",
    "us8k_100263-2-0-117.wav": "",
    "us8k_100648-1-0-0.wav": "",
    "us8k_100648-1-2-0.wav": "",
}


@pytest.mark.parametrize("name", SHARED)
def test_awkward_files_from_the_wild(shared_data: Path, name: str) -> None:
    data = (shared_data / "audio" / "formats" / name).read_bytes()
    try:
        outcome = "TRUNCATED" if read_recording(data).truncated else ""
    except ClipError as error:
        outcome = error.code
    assert outcome == SHARED[name]


def test_real_recordings_are_whole_and_as_long_as_soundfile_says(shared_data: Path) -> None:
    paths = sorted((shared_data / "audio" / "recordings").glob("*.*"))
    paths = [path for path in paths if path.suffix in (".ogg", ".mp3", ".wav", ".flac")][::6]
    paths += sorted((shared_data / "audio" / "esc").glob("*/*.*"))[::100]
    assert paths
    for path in paths:
        recording = read_recording(path.read_bytes())
        assert not recording.truncated, path
        assert recording.frames == soundfile.info(path).frames, path
