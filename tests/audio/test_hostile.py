"""Every hostile file becomes clips or one error with an allowed code: soon, in little memory, and in silence."""

from __future__ import annotations

import io
import resource
import time
from pathlib import Path

import numpy as np
import pytest

from sonogloss.audio import AudioLimits, Cutting, WindowPolicy, cut_clips
from sonogloss.errors import ClipError
from sonogloss.records import Clip
from tests.audio.hostile import MUXED, PLAIN, hostile_files, muxed, valid

FILES = {file.name: file for file in hostile_files()}


def clips_of(data: bytes) -> list[Clip]:
    return list(
        cut_clips(
            io.BytesIO(data),
            Cutting(
                uri="a",
                policy=WindowPolicy(window_s=1, hop_s=1),
                sample_rate=32000,
                limits=AudioLimits(max_seconds=600),
            ),
        )
    )


def outcomes(data: bytes) -> set[str]:
    """The code, or ROW with `ROW+FLAG` for every flag."""
    try:
        clips = clips_of(data)
    except ClipError as error:
        return {error.code.value if error.message.endswith(".") else "not a sentence"}
    assert clips
    assert len({clip.clip_id for clip in clips}) == len(clips)
    for clip in clips:
        assert np.isfinite(clip.samples).all()
        assert 0 < len(clip.samples) <= 32000
        assert np.abs(clip.samples).max() <= 1.0
    return {"ROW"} | {f"ROW+{flag}" for clip in clips for flag in clip.flags}


def test_there_are_many_and_every_name_is_one_file() -> None:
    assert len(FILES) == len(hostile_files()) >= 250


@pytest.mark.parametrize("name", FILES)
def test_accounting(name: str) -> None:
    start = time.perf_counter()
    found = outcomes(FILES[name].data)
    assert found & FILES[name].allowed, found
    assert time.perf_counter() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 << 20  # KiB


@pytest.mark.parametrize("name", [*PLAIN, *MUXED])
def test_a_whole_file_has_no_flag_of_damage_and_a_cut_one_has(name: str) -> None:
    data = valid()[name]
    flags = {flag for clip in clips_of(data) for flag in clip.flags}
    assert not flags & {"TRUNCATED", "JOINED", "ANTIPHASE", "CLIPPED", "DC", "SILENT"}
    found = outcomes(data[: len(data) * 2 // 3])
    if name in ("m4a", "mp4", "mov", "3gp", "tta", "wv", "ogg"):  # the index is at the end, or one block is all
        assert found & {"CORRUPT", "ROW+TRUNCATED"}
    else:
        assert "ROW+TRUNCATED" in found


@pytest.mark.parametrize("name", [*PLAIN, *MUXED])
def test_two_files_in_a_row_are_heard_whole_or_flagged(name: str) -> None:
    data = valid()[name]
    once, twice = clips_of(data), clips_of(data + data)
    flags = {flag for clip in twice for flag in clip.flags}
    assert twice[0].duration_s > 1.9 * once[0].duration_s or "TRUNCATED" in flags
    if name not in ("aac", "ac3", "ts", "adpcm", "voc", "nist"):  # streams without a header
        assert "JOINED" in flags
        assert "TRUNCATED" not in flags


def test_decoding_is_silent_and_deterministic(capfd: pytest.CaptureFixture[str]) -> None:
    for name in MUXED:
        for file in (f"whole.{name}", f"cut_3.{name}", f"bits.{name}"):
            try:
                first = clips_of(FILES[file].data)
            except ClipError:
                continue
            again = clips_of(FILES[file].data)
            assert [clip.samples.tobytes() for clip in first] == [clip.samples.tobytes() for clip in again]
    assert capfd.readouterr() == ("", "")


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    """FFmpeg's playlists would read other files under the name of a sound."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(valid()["wav"])
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile {secret}\n".encode()
    for data in (playlist, concat, b"\0\0" + playlist):
        assert outcomes(data) == {"UNSUPPORTED"}


def test_channels_that_change_in_mid_stream_end_the_sound() -> None:
    """A bare AAC stream whose next frames claim other channels and another rate."""
    mono, stereo = valid()["aac"], muxed("adts", "aac", layout="stereo")
    found = outcomes(mono + stereo + muxed("adts", "aac", rate=22050))
    assert "ROW+TRUNCATED" in found
