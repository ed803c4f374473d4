"""Walk the boxes of the containers that FFmpeg decodes: is the end there, and are several files joined?

FFmpeg itself takes a cut file for a short one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.layout import Layout, Stream, after_id3, after_tag, is_harmless

# A box: where it begins, where the next one begins, and whether it begins another file.
_Boxes = Iterator[tuple[int, int, bool]]

_AMR_NB = (12, 13, 15, 17, 19, 20, 26, 31, 5, 6, 5, 5, 0, 0, 0, 0)
_AMR_WB = (17, 23, 32, 36, 40, 46, 50, 58, 60, 5, 5, 0, 0, 0, 0, 0)
_AMR_HEADS = {b"#!AMR\n": _AMR_NB, b"#!AMR-WB\n": _AMR_WB}
_AC3_BITRATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)  # kbit/s
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_TS_PACKET = 188
_TAGS = (b"TAG", b"APE", b"ID3")  # how tags of titles begin


def media_layout(source: ByteSource, start: int, name: str) -> Layout:
    """The files in a row, from `start`, of a container by FFmpeg's name; damaged if a box reaches over the end.

    Bytes that are no box are damage too, unless they are zeros or tags of titles. Those behind the last box are left
    out: decoders take them for sound, or for damage.
    """
    walk = _WALKS.get(name)
    damaged, starts, position, stop = False, [start], start, source.size
    while walk is not None and position < source.size:
        end = position
        for box, after, is_first in walk(source, position):
            if source.read(box, 3) in _TAGS and is_harmless(source, box):
                break  # many a tag looks like a box
            if box > start and (is_first or box == position):
                starts.append(box)
            end = after
        damaged = end > source.size or not is_harmless(source, end)
        tag_end = after_tag(source, end)
        if not damaged:
            stop = min(end, source.size) if end > position else stop
            break
        if end >= source.size or end == position or tag_end is None:
            break
        position = tag_end
    if starts == [0] and stop == source.size:
        return Layout(damaged=damaged)
    stops = [*starts[1:], stop]
    streams = tuple(Stream(pieces=((first, stop),)) for first, stop in zip(starts, stops, strict=True))
    return Layout(streams=streams, damaged=damaged)


def _mp4(source: ByteSource, position: int) -> _Boxes:
    has_sound = False
    while len(head := source.read(position, 16)) >= 8:
        size, kind = struct.unpack(">I4s", head[:8])
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack(">Q", head[8:])
        elif size == 0:
            size = source.size - position
        if size < 8 or not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in kind):
            return
        is_first = kind == b"ftyp" and has_sound
        has_sound = not is_first and (has_sound or kind in (b"moov", b"mdat"))
        yield position, position + size, is_first
        position += size


def _matroska(source: ByteSource, position: int) -> _Boxes:
    """Elements of EBML (RFC 8794); those of unknown size are stepped into, as segments are."""
    while head := source.read(position, 12):
        id_bytes = 9 - head[0].bit_length()
        if id_bytes > 4 or len(head) < id_bytes + 1:
            return
        kind, size_bytes = int.from_bytes(head[:id_bytes], "big"), 9 - head[id_bytes].bit_length()
        if size_bytes > 8 or len(head) < id_bytes + size_bytes:
            return
        unknown = (1 << 7 * size_bytes) - 1
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & unknown
        body = position + id_bytes + size_bytes
        if size == unknown or (kind == _SEGMENT and body + size <= source.size):
            size = 0
        yield position, body + size, kind == _EBML
        position = body + size


def _flv(source: ByteSource, position: int) -> _Boxes:
    while len(head := source.read(position, 11)) == 11 and (head[:4] == b"FLV\x01" or head[0] & 0x1F in (8, 9, 18)):
        is_first = head[:4] == b"FLV\x01"
        after = position + 13 if is_first else position + 15 + int.from_bytes(head[1:4], "big")
        yield position, after, is_first
        position = after


def _avi(source: ByteSource, position: int) -> _Boxes:
    while len(head := source.read(position, 12)) == 12 and head[:4] == b"RIFF":
        after = position + 8 + struct.unpack("<I", head[4:8])[0]
        after += after % 2 if after < source.size else 0
        yield position, after, head[8:] == b"AVI "
        position = after


def _asf(source: ByteSource, position: int) -> _Boxes:
    header = bytes.fromhex("3026b2758e66cf11")
    while len(head := source.read(position, 24)) == 24:
        (size,) = struct.unpack("<Q", head[16:])
        if size < 24 or not any(head[:16]):
            return
        yield position, position + size, head[:8] == header
        position += size


def _wavpack(source: ByteSource, position: int) -> _Boxes:
    last = 0
    while len(head := source.read(position, 20)) == 20 and head[:4] == b"wvpk":
        after, index = position + 8 + struct.unpack("<I", head[4:8])[0], struct.unpack("<I", head[16:])[0]
        yield position, after, index == 0 and last > 0
        position, last = after, index


def _true_audio(source: ByteSource, position: int) -> _Boxes:
    while len(head := source.read(position, 18)) == 18 and head[:4] == b"TTA1":
        rate, samples = struct.unpack("<II", head[10:])
        count = -(-samples // max(1, rate * 256 // 245))
        sizes = source.read(position + 22, min(4 * count, source.size))
        frames = sum(struct.unpack(f"<{len(sizes) // 4}I", sizes[: len(sizes) // 4 * 4]))
        after = position + 22 + 4 * count + 4 + frames
        yield position, after, True
        position = after


def _ac3(source: ByteSource, position: int) -> _Boxes:
    """Frames of AC-3 and E-AC-3 (ATSC A/52)."""
    while len(head := source.read(position, 6)) == 6 and head[:2] == b"\x0b\x77":
        if head[5] >> 3 > 10:
            words = ((head[2] & 7) << 8 | head[3]) + 1
        elif head[4] >> 6 == 3 or head[4] & 0x3F >= 2 * len(_AC3_BITRATES):
            return
        else:
            bitrate, rate = _AC3_BITRATES[(head[4] & 0x3F) >> 1], (48000, 44100, 32000)[head[4] >> 6]
            words = bitrate * 96000 // rate + (head[4] & 1 if rate == 44100 else 0)
        yield position, position + 2 * words, False
        position += 2 * words


def _transport_stream(source: ByteSource, position: int) -> _Boxes:
    while (head := source.read(position, 1)) and head[0] == 0x47:
        yield position, position + _TS_PACKET, False
        position += _TS_PACKET


def _adts(source: ByteSource, position: int) -> _Boxes:
    while True:
        head = source.read(position, 7)
        after = after_id3(source, position)
        if len(head) == 7 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
            after = position + ((head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5)
        if after < position + 7:
            return
        yield position, after, False
        position = after


def _amr(source: ByteSource, position: int) -> _Boxes:
    sizes = _AMR_NB
    while head := source.read(position, 9):
        magic = next((magic for magic in _AMR_HEADS if head.startswith(magic)), None)
        if magic is not None:
            sizes = _AMR_HEADS[magic]
        elif head[0] & 0x83:
            return
        after = position + (len(magic) if magic else 1 + sizes[head[0] >> 3 & 15])
        yield position, after, magic is not None
        position = after


def _voc(source: ByteSource, position: int) -> _Boxes:
    """Creative Voice, which libsndfile reads without a look at the size of the last block."""
    first = position + int.from_bytes(source.read(position + 20, 2), "little")
    yield position, first, False
    position = first
    while head := source.read(position, 4):
        after = position + (1 if head[0] == 0 else 4 + int.from_bytes(head[1:], "little"))
        yield position, after, False
        if head[0] == 0:
            return
        position = after


def _nist(source: ByteSource, position: int) -> _Boxes:
    """NIST SPHERE: a header of text, then as many samples as it says."""
    lines = source.read(position, 1024).split(b"\n")
    words = {parts[0]: parts[2] for parts in map(bytes.split, lines[2:]) if len(parts) == 3}
    try:
        head = int(lines[1])
        size = 1
        for word in (b"sample_count", b"channel_count", b"sample_n_bytes"):
            size *= int(words[word])
    except (IndexError, KeyError, ValueError):
        head, size = 0, source.size
    yield position, position + head + size, False


_WALKS: dict[str, Callable[[ByteSource, int], _Boxes]] = {
    "mov": _mp4,
    "matroska": _matroska,
    "flv": _flv,
    "avi": _avi,
    "asf": _asf,
    "wv": _wavpack,
    "tta": _true_audio,
    "ac3": _ac3,
    "mpegts": _transport_stream,
    "aac": _adts,
    "amr": _amr,
    "voc": _voc,
    "nistsphere": _nist,
}
