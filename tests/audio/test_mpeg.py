from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.audio.mpeg import _after_id3, _frame_size, with_frame_count


def header(bitrate: int, rate: int = 0, *, version: int = 3, padding: int = 0, mode: int = 0) -> bytes:
    """Of a Layer III frame: indices of bitrate and rate; version 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5."""
    return bytes([0xFF, 0xE0 | version << 3 | 0x02 | 0x01, bitrate << 4 | rate << 2 | padding << 1, mode << 6])


def frame(bitrate: int, *, fill: int = 0, **values: int) -> bytes:
    head = header(bitrate, **values)
    size = _frame_size(head, 0)
    assert size is not None
    return head.ljust(size, bytes([fill]))


@pytest.mark.parametrize(
    ("head", "size"),
    [
        (header(9), 417),  # 128 kbit/s at 44.1 kHz, as every table of frame sizes has it
        (header(9, padding=1), 418),
        (header(14), 1044),  # 320 kbit/s at 44.1 kHz
        (header(9, rate=1), 384),  # at 48 kHz
        (header(9, rate=2), 576),  # at 32 kHz
        (header(8, version=2), 208),  # MPEG 2: 64 kbit/s at 22.05 kHz
        (header(8, version=0), 417),  # MPEG 2.5: 64 kbit/s at 11.025 kHz
        (header(0), None),  # a free bitrate
        (header(15), None),
        (header(9, rate=3), None),
        (header(9, version=1), None),
        (b"\xff\xfd\x90\x00", None),  # Layer II
        (b"\xff\xfb\x90", None),
        (b"RIFF", None),
    ],
)
def test_the_size_of_a_frame(head: bytes, size: int | None) -> None:
    assert _frame_size(head, 0) == size


@pytest.mark.parametrize(
    ("data", "start"),
    [
        (b"ID3\x04\x00\x00\x00\x00\x02\x01", 10 + 257),  # seven bits a byte
        (b"ID3\x04\x00\x10\x00\x00\x00\x05", 10 + 5 + 10),  # with a footer
        (b"ID3\x04", 0),
        (b"\xff\xfb\x90\x00", 0),
    ],
)
def test_sound_begins_after_a_tag(data: bytes, start: int) -> None:
    assert _after_id3(data) == start


@pytest.mark.parametrize("version", [3, 2, 0])
@pytest.mark.parametrize("mode", [0, 3])
def test_a_varying_bitrate_gets_a_frame_with_its_count(version: int, mode: int) -> None:
    frames = [frame(bitrate, version=version, mode=mode) for bitrate in (5, 9, 9, 12)]
    data = b"".join(frames)
    found = with_frame_count(data)
    assert found.endswith(data)
    info = found[: len(found) - len(data)]
    assert _frame_size(info, 0) == len(info)
    assert info[1] == frames[0][1]
    side = {(3, 0): 32, (3, 3): 17, (2, 0): 17, (2, 3): 9, (0, 0): 17, (0, 3): 9}[version, mode]
    assert info[4 + side : 16 + side] == b"Info\x00\x00\x00\x01\x00\x00\x00\x04"


def test_the_tag_stays_in_front() -> None:
    tag = b"ID3\x04\x00\x00\x00\x00\x00\x04abcd"
    found = with_frame_count(tag + frame(5) + frame(9))
    assert found.startswith(tag)
    assert b"Info" in found[len(tag) : len(tag) + 64]


@pytest.mark.parametrize(
    "data",
    [
        frame(9) * 5,  # a constant bitrate
        b"",
        b"no frame at all",
        frame(9)[:36] + b"Xing" + frame(9)[40:] + frame(5),
        frame(9)[:36] + b"Info" + frame(9)[40:] + frame(5),
        frame(9)[:36] + b"VBRI" + frame(9)[40:] + frame(5),
    ],
)
def test_other_files_are_left_alone(data: bytes) -> None:
    assert with_frame_count(data) is data


@given(data=st.binary(max_size=300), start=st.sampled_from([b"", b"ID3", b"\xff\xfb\x90\x00"]))
def test_any_bytes_are_kept(data: bytes, start: bytes) -> None:
    found = with_frame_count(start + data)
    assert len(found) >= len(start + data)
    assert found.endswith((start + data)[10:]) or found == start + data
