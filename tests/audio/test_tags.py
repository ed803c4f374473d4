"""Tags of titles around the sound: none of them is sound, and none is damage."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from sonogloss.audio import Recording, read_recording
from tests.audio.hostile import MUXED, PLAIN, encoded, muxed, tone, valid


def ape(content: bytes = b"Title\0rain", *, header: bool = True) -> bytes:
    """An APE tag, version 2, as WavPack and Monkey's Audio end with."""
    item = struct.pack("<II", len(content) - 6, 0) + content

    def end(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, flags) + bytes(8)

    return (end(0xA0000000) if header else b"") + item + end(0x80000000 if header else 0)


ID3V1 = b"TAG" + b"rain".ljust(125, b"\0")
BEHIND = {"ID3v1": ID3V1, "APE": ape(), "APE and ID3v1": ape() + ID3V1, "ID3v2": b"ID3\x04\0\0\0\0\0\x14" + bytes(20)}
WITH_TAGS = [name for name in (*PLAIN, *MUXED) if name not in ("ts", "adpcm", "voc", "nist", "rf64")]
FILES = valid()


def heard(recording: Recording) -> np.ndarray:
    return np.concatenate(list(recording.blocks()))


@pytest.mark.parametrize("tag", BEHIND)
@pytest.mark.parametrize("name", WITH_TAGS)
def test_a_tag_behind_the_sound_changes_nothing(name: str, tag: str) -> None:
    plain, tagged = read_recording(FILES[name]), read_recording(FILES[name] + BEHIND[tag])
    assert not tagged.truncated
    assert np.array_equal(heard(tagged), heard(plain))


def test_a_tag_inside_the_sound_is_sound() -> None:
    data = FILES["flac"]
    assert read_recording(data[:2000] + ID3V1 + data[2000:]).truncated
    assert read_recording(FILES["mp4"] + b"more of something else").truncated


@pytest.mark.parametrize("front", ["zeros", "ID3v2", "APE"])
def test_what_stands_before_an_mp3_leaves_its_count_of_samples(front: str) -> None:
    tag = bytes(64) if front == "zeros" else BEHIND[front]
    data = encoded(tone(1, 44100), "MP3", rate=44100)
    assert np.array_equal(heard(read_recording(tag + data)), heard(read_recording(data)))


def test_zeros_behind_a_wave64_are_no_sound() -> None:
    assert read_recording(FILES["w64"] + bytes(1000)).frames == len(tone())


def test_a_tag_between_two_streams_is_still_noticed() -> None:
    data = muxed("adts", "aac")
    assert not read_recording(data).truncated
    assert read_recording(data + b"TAG" + data).truncated
