"""Samples of 24 bits in four bytes: heard as they were recorded, wherever the padding is."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.audio import read_recording
from sonogloss.errors import ClipError
from tests.audio.test_containers import RATE, chunk, riff

_GUID = struct.pack("<HHIH", 22, 24, 0, 1) + bytes.fromhex("000000001000800000aa00389b71")


def wave(payload: bytes, *, channels: int = 1, tag: int = 1, block: int = 4, behind: bytes = b"") -> bytes:
    width = block * channels
    form = struct.pack("<HHIIHH", tag, channels, RATE, RATE * width, width, 24)
    return riff(chunk(b"fmt ", form + (_GUID if tag == 0xFFFE else b"")), chunk(b"data", payload), behind)


def noise(channels: int, peak: float, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(-peak, peak, (RATE // 10, channels))
    return np.round(values * (1 << 23)).astype("<i4")


def heard(data: bytes) -> np.ndarray:
    recording = read_recording(data)
    assert not recording.truncated
    return np.concatenate(list(recording.blocks()))


@settings(max_examples=20, deadline=None)
@given(
    channels=st.integers(1, 3),
    tag=st.sampled_from([1, 0xFFFE]),
    on_top=st.booleans(),
    peak=st.sampled_from([0.9, 0.01, 0.0001]),
    behind=st.sampled_from([b"", chunk(b"LIST", b"INFO")]),
)
def test_the_sound_is_that_of_samples_without_padding(
    channels: int, tag: int, on_top: bool, peak: float, behind: bytes
) -> None:
    samples = noise(channels, peak)
    packed = samples.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    padded = samples if on_top else samples << 8
    expected = heard(wave(packed, channels=channels, block=3))
    found = heard(wave(padded.tobytes(), channels=channels, tag=tag, behind=behind))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2**-22


def test_silence_is_as_long_as_it_was() -> None:
    assert read_recording(wave(bytes(4 * RATE))).frames == RATE


def test_floats_of_cool_edit_stay_floats() -> None:
    """They have the same header, and values up to 32,768."""
    samples = (0.1 * np.sin(np.arange(1, RATE)) * 32768).astype("<f4")
    assert np.abs(heard(wave(samples.tobytes()))).max() == 1.0


@pytest.mark.parametrize("size", [0, 1, 3, 5])
def test_next_to_no_samples(size: int) -> None:
    with pytest.raises(ClipError, match=r"no samples|1 samples"):
        read_recording(wave(bytes(size)))
