"""The streams of a FLAC file (RFC 9639): joined files, and headers that do not know how long they are."""

from __future__ import annotations

import re

from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.layout import Announcement, Layout, Stream, is_harmless

_STREAMINFO = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
_TAIL_BYTES = 1 << 16
_TAGS = re.compile(rb"TAG|APETAGEX|LYRICSBEGIN|ID3")


def flac_layout(source: ByteSource, start: int) -> Layout:
    """The streams of a FLAC file that begins at `start`.

    Every stream is opened as one of unknown length, as libsndfile stops where the header says; the header's count is
    compared with what was decoded.
    """
    if source.read(start, 8) not in _STREAMINFO:
        return Layout(streams=(Stream(pieces=((start, source.size),)),)) if start else Layout()
    starts = [start]
    while (found := _next_stream(source, starts[-1] + 42)) is not None:
        starts.append(found)
    streams, announced, damaged = [], None, False
    for begin, stop in zip(starts, [*starts[1:], _before_tags(source, start)], strict=True):
        form = source.read(begin + 8, 34)
        if len(form) < 34:
            break
        bits = int.from_bytes(form[10:18], "big")
        total = bits & (1 << 36) - 1
        if announced is None:
            channels = (bits >> 41 & 7) + 1
            announced = Announcement(codec=1, channels=channels, sample_rate=bits >> 44, frame_bytes=1)
        unknown = (bits & ~((1 << 36) - 1)).to_bytes(8, "big")
        pieces = ((begin, begin + 18), unknown, (begin + 26, stop))
        streams.append(Stream(pieces=pieces, frames=total or None, exact=total > 0))
        damaged = damaged or (total == 0 and not ends_with_a_frame(source, stop))
    return Layout(streams=tuple(streams) or (Stream(),), damaged=damaged, announced=announced)


def _next_stream(source: ByteSource, start: int) -> int | None:
    found = source.find(b"fLaC", start)
    while found >= 0:
        if source.read(found, 8) in _STREAMINFO:
            return found
        found = source.find(b"fLaC", found + 4)
    return None


def _before_tags(source: ByteSource, start: int) -> int:
    """Where tags of titles, which a decoder takes for damage, begin at the end of a file; else its end."""
    tail = max(start, source.size - _TAIL_BYTES)
    marks = _TAGS.finditer(source.read(tail, source.size - tail))
    return next((at for mark in marks if is_harmless(source, at := tail + mark.start())), source.size)


def _crc16_table() -> list[int]:
    table = []
    for value in range(256):
        crc = value << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
        table.append(crc)
    return table


_CRC16 = _crc16_table()


def ends_with_a_frame(source: ByteSource, stop: int) -> bool:
    """Does a whole frame end at `stop`? Its checksum over all its bytes is then zero.

    Only a stream of unknown length needs this: nothing else says that its last frames are missing.
    """
    tail = source.read(max(0, stop - _TAIL_BYTES), min(stop, _TAIL_BYTES))
    at = len(tail)
    for _ in range(32):
        at = max(tail.rfind(b"\xff\xf8", 0, at), tail.rfind(b"\xff\xf9", 0, at))
        if at < 0:
            return False
        crc = 0
        for byte in tail[at:]:
            crc = (crc << 8 & 0xFF00) ^ _CRC16[crc >> 8 ^ byte]
        if crc == 0:
            return True
    return False
