"""Add a frame count to MP3 files of varying bitrate that lack one.

libsndfile estimates the length of such a file from the bitrate of its first frame and stops there without an error. A
file with a count of its frames (in an `Info` frame, as encoders write it) is decoded to its end.
"""

from __future__ import annotations

import struct

# Layer III bitrates in kbit/s by index 1..14, and sample rates in Hz, of MPEG 1 and of MPEG 2 (2.5 halves its rates).
_BITRATES_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BITRATES_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_INFO_BITRATE = 9  # 128 or 80 kbit/s: a frame with room for the count


def with_frame_count(data: bytes) -> bytes:
    """The MP3 with an `Info` frame in front if its bitrate varies and it has none, else `data` itself."""
    start = _after_id3(data)
    if any(tag in data[start : start + 64] for tag in (b"Xing", b"Info", b"VBRI")):
        return data
    position, frames, bitrates = start, 0, set()
    while (size := _frame_size(data, position)) is not None:
        bitrates.add(data[position + 2] >> 4)
        position += size
        frames += 1
    if len(bitrates) < 2:
        return data
    # No checksum (last bit of byte 1), a bitrate with room, no padding (second bit of byte 2).
    header = bytes([0xFF, data[start + 1] | 0x01, (_INFO_BITRATE << 4) | (data[start + 2] & 0x0C), data[start + 3]])
    size = _frame_size(header, 0)
    assert size is not None
    mono, mpeg_1 = data[start + 3] >> 6 == 3, data[start + 1] >> 3 & 3 == 3
    side_info = (17 if mono else 32) if mpeg_1 else (9 if mono else 17)
    info = header + bytes(side_info) + b"Info" + struct.pack(">II", 1, frames)
    return data[:start] + info.ljust(size, b"\x00") + data[start:]


def _after_id3(data: bytes) -> int:
    """The position of the first frame, after an ID3v2 tag, whose size is written in seven bits a byte."""
    if not data.startswith(b"ID3") or len(data) < 10:
        return 0
    a, b, c, d = data[6:10]
    return 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if data[5] & 0x10 else 0)


def _frame_size(data: bytes, position: int) -> int | None:
    """Bytes of the Layer III frame whose header is at this position; None if there is none."""
    if position + 4 > len(data) or data[position] != 0xFF or data[position + 1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = data[position + 1] >> 3 & 3, data[position + 2] >> 4, data[position + 2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    table, factor = (_BITRATES_1, 144_000) if version == 3 else (_BITRATES_2, 72_000)
    return factor * table[bitrate - 1] // _RATES[version][rate] + (data[position + 2] >> 1 & 1)
