"""FFmpeg's containers: what their headers announce is compared with what comes out."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from sonogloss.audio import read_recording
from sonogloss.audio.containers import ffmpeg_name
from sonogloss.audio.ffmpeg import open_ffmpeg
from tests.audio.hostile import muxed, tone, valid

FILES = valid()


@pytest.mark.parametrize("name", ["m4a", "mp4", "mov", "3gp", "mkv", "webm", "flv", "wv", "tta"])
def test_the_length_in_a_header_is_known(name: str) -> None:
    file = open_ffmpeg(io.BytesIO(FILES[name]), str(ffmpeg_name(FILES[name])))
    assert 0.8 < file.frames / file.sample_rate <= 1.0
    assert not read_recording(FILES[name]).truncated


@pytest.mark.parametrize("name", ["mkv", "webm"])
def test_a_recording_shorter_than_its_header_says_is_truncated(name: str) -> None:
    at = FILES[name].index(b"\x44\x89\x88") + 3  # the duration, in milliseconds
    data = FILES[name][:at] + struct.pack(">d", 2000.0) + FILES[name][at + 8 :]
    assert read_recording(data).truncated


def test_adpcm_in_an_avi_is_whole() -> None:
    assert not read_recording(muxed("avi", "adpcm_ms")).truncated


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_alaw"])
def test_a_voc_of_many_blocks_is_their_sound_alone(codec: str) -> None:
    samples = np.concatenate(list(read_recording(muxed("voc", codec)).blocks()))
    assert len(samples) == 44100
    assert np.abs(samples - tone(1, 44100)).max() < 0.05
