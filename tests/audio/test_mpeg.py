from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.audio import read_recording
from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.layout import after_id3
from sonogloss.audio.mpeg import _SIZES, mpeg_layout
from tests.audio.hostile import muxed


def frame_size(head: bytes) -> int | None:
    return (_SIZES[head[1] << 8 | head[2]] or None) if len(head) > 2 and head[0] == 0xFF else None


def opened(data: bytes) -> list[bytes]:
    """What a decoder is given: the bytes of each stream."""
    source = ByteSource(data)
    return [source.open(*stream.pieces).read() for stream in mpeg_layout(source, after_id3(source)).streams]


def header(bitrate: int, rate: int = 0, *, version: int = 3, padding: int = 0, mode: int = 0) -> bytes:
    """Of a Layer III frame: indices of bitrate and rate; version 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5."""
    return bytes([0xFF, 0xE0 | version << 3 | 0x02 | 0x01, bitrate << 4 | rate << 2 | padding << 1, mode << 6])


def frame(bitrate: int, *, fill: int = 0, **values: int) -> bytes:
    head = header(bitrate, **values)
    size = frame_size(head)
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
        (b"\xff\xfd\x90\x00", 522),  # Layer II: 160 kbit/s at 44.1 kHz
        (b"\xff\xff\x90\x00", 312),  # Layer I: 288 kbit/s at 44.1 kHz
        (b"RIFF", None),
    ],
)
def test_the_size_of_a_frame(head: bytes, size: int | None) -> None:
    assert frame_size(head) == size


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
    assert after_id3(ByteSource(data)) == start


@pytest.mark.parametrize("version", [3, 2, 0])
@pytest.mark.parametrize("mode", [0, 3])
def test_a_varying_bitrate_gets_a_frame_with_its_count(version: int, mode: int) -> None:
    frames = [frame(bitrate, version=version, mode=mode) for bitrate in (5, 9, 9, 12)]
    data = b"".join(frames)
    [found] = opened(data)
    assert found.endswith(data)
    info = found[: len(found) - len(data)]
    assert frame_size(info) == len(info)
    assert info[1] == frames[0][1]
    side = {(3, 0): 32, (3, 3): 17, (2, 0): 17, (2, 3): 9, (0, 0): 17, (0, 3): 9}[version, mode]
    assert info[4 + side : 16 + side] == b"Info\x00\x00\x00\x01\x00\x00\x00\x04"


def test_the_tag_stays_in_front() -> None:
    tag = b"ID3\x04\x00\x00\x00\x00\x00\x04abcd"
    [found] = opened(tag + frame(5) + frame(9))
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
    assert opened(data) == [data]


@given(
    pieces=st.lists(
        st.one_of(st.binary(max_size=60), st.sampled_from([frame(5), frame(9), frame(9, rate=1), b"ID3\x04", b"TAG"])),
        max_size=12,
    )
)
def test_streams_hold_bytes_of_the_file_in_order_and_every_byte_left_out_is_damage(pieces: list[bytes]) -> None:
    source = ByteSource(b"".join(pieces))
    found = mpeg_layout(source, after_id3(source))
    ranges = [piece for stream in found.streams for piece in stream.pieces or ((0, source.size),)]
    ranges = [piece for piece in ranges if not isinstance(piece, bytes)]
    assert all(0 <= start < stop <= source.size for start, stop in ranges) or source.size == 0
    assert ranges == sorted(ranges)
    assert all(first[1] <= second[0] for first, second in pairwise(ranges))


def test_junk_between_frames_is_left_out_and_damage() -> None:
    before, after = frame(9) * 5, frame(9) * 4
    source = ByteSource(before + b"no frame" * 40 + after)
    found = mpeg_layout(source)
    assert found.damaged
    assert [source.open(*stream.pieces).read() for stream in found.streams] == [before + after]


def test_zeros_and_tags_behind_the_frames_are_no_damage() -> None:
    tag = b"TAG".ljust(128, b"x")
    for end in (b"", bytes(500), tag, b"ID3\x03\x00\x00\x00\x00\x00\x04abcd", bytes(9) + tag):
        assert not mpeg_layout(ByteSource(frame(9) * 4 + end)).damaged
    assert mpeg_layout(ByteSource(frame(9) * 4 + b"words")).damaged
    assert mpeg_layout(ByteSource(frame(9) * 4 + frame(9)[:100])).damaged


def with_info(count: int) -> bytes:
    return frame(9)[:36] + b"Info" + struct.pack(">II", 1, count) + frame(9)[48:]


def test_files_in_a_row_are_streams_of_their_own() -> None:
    first, second = with_info(4) + frame(9) * 4, with_info(5) + frame(9) * 5
    tag = b"ID3\x03\x00\x00\x00\x00\x00\x04abcd"
    assert opened(first + second) == [first, second]
    assert opened(first + tag + second) == [first, second]
    assert opened(first + frame(9) * 6) == [first, frame(9) * 6]
    assert opened(frame(9) * 6 + first) == [frame(9) * 6, first]
    assert opened(frame(9) * 6 + frame(9, rate=1) * 6) == [frame(9) * 6, frame(9, rate=1) * 6]
    assert opened(frame(9) * 6 + frame(9, mode=3) * 6) == [frame(9) * 6, frame(9, mode=3) * 6]


def test_encoders_that_miscount_by_a_frame_make_no_second_stream() -> None:
    data = with_info(4) + frame(9) * 6
    assert opened(data) == [data]


@pytest.mark.parametrize(("rate", "layout"), [(44100, "mono"), (44100, "stereo"), (8000, "mono")])
def test_mp3_in_a_wav_is_whole_and_a_cut_one_is_not(rate: int, layout: str) -> None:
    data = muxed("wav", "libmp3lame", seconds=2, rate=rate, layout=layout)
    recording = read_recording(data)
    assert 2.0 <= recording.duration_s < 2.2
    assert not recording.truncated
    assert read_recording(data[: len(data) * 2 // 3]).truncated
