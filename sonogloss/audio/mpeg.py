"""Walk the frames of MPEG audio to the end: joined files, junk between frames, and counts that are missing or wrong.

libsndfile stops at the count of frames in the first `Info` frame, at a change of form, and in long junk. Without a
count it estimates the length of a file of varying bitrate from its first frame. None of that is an error to it, so
every joined file is opened by itself, without junk, and with a count of its frames.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from sonogloss.audio.byte_source import ByteSource, Piece
from sonogloss.audio.layout import Layout, Stream, after_id3, after_tag, is_harmless

# Bitrates in kbit/s by index 1..14, for MPEG 1 by layer, for MPEG 2 and 2.5 by layer; rates in Hz by version bits.
_BITRATES_1 = {
    1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_BITRATES_2 = {
    1: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_COUNTS = re.compile(rb"Xing|Info|VBRI")
_INFO_BITRATE = 9  # 128 or 80 kbit/s: a frame with room for the count
_SLACK_FRAMES = 4  # decoders leave out up to three frames of padding
_EXTRA_FRAMES = 2  # encoders disagree whether the count includes the first and the last one
_BLOCK_BYTES = 1 << 18
_HEADER = re.compile(rb"\xff[\xe2-\xe7\xf2-\xff][\x10-\xef]", re.DOTALL)


def _size_by_header() -> list[int]:
    """Bytes of a frame by the second and third byte of its header; 0 where they are no header."""
    sizes = [0] * (1 << 16)
    for second in range(0xE0, 0x100):
        version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
        if version == 1 or layer == 4:
            continue
        table = (_BITRATES_1 if version == 3 else _BITRATES_2)[layer]
        for third in range(0x100):
            bitrate, rate, padding = third >> 4, third >> 2 & 3, third >> 1 & 1
            if bitrate in (0, 15) or rate == 3:
                continue
            bits, hertz = 1000 * table[bitrate - 1], _RATES[version][rate]
            if layer == 1:
                sizes[second << 8 | third] = 4 * (12 * bits // hertz + padding)
            else:
                slots = 72 if layer == 3 and version != 3 else 144
                sizes[second << 8 | third] = slots * bits // hertz + padding
    return sizes


_SIZES = _size_by_header()


@dataclass
class _Part:
    """Frames of one form that one encoder wrote: what becomes one stream."""

    form: int
    header: bytes
    ranges: list[tuple[int, int]]
    count: int | None = None  # of frames, from its `Info` frame
    has_tag: bool = False
    frames: int = 0
    bitrates: set[int] = field(default_factory=set)
    surplus_at: int | None = None  # where the first frame beyond the count begins


def mpeg_layout(source: ByteSource, start: int = 0) -> Layout:
    """The streams of an MPEG audio file; `start` is behind tags and junk, or 0."""
    parts: list[_Part] = []
    damaged = _collect(source, start, parts)
    parts = [part for whole in parts for part in _without_surplus(whole)]
    if not parts:
        return Layout(damaged=start > 0 and damaged)
    if len(parts) == 1 and len(parts[0].ranges) == 1:
        begin = parts[0].ranges[0][0]
        info = _missing_count(parts[0])
        # libsndfile knows an ID3 tag in front of the frames; behind anything else it misses the count.
        front = ((0, begin),) if 0 < begin == after_id3(source) else ()
        pieces: tuple[Piece, ...] = (*front, *((info,) if info else ()), (begin, source.size))
        if info is None and (front or begin == 0):
            pieces = ()
        return Layout(
            streams=(Stream(pieces=pieces, frames=_least(parts[0]), estimated=not parts[0].has_tag),), damaged=damaged
        )
    streams = []
    for part in parts:
        info = _missing_count(part)
        streams.append(
            Stream(pieces=(*((info,) if info else ()), *part.ranges), frames=_least(part), estimated=not part.has_tag)
        )
    return Layout(streams=tuple(streams), damaged=damaged)


def _collect(source: ByteSource, position: int, parts: list[_Part]) -> bool:
    """Fill the parts with all frames from `position` to the end; were there bytes that are neither frames nor tags?"""
    damaged, fresh = False, True
    while position < source.size:
        stop, cut = _run(source, position, parts, fresh)
        fresh = False
        if stop >= source.size:
            return damaged or cut
        tag_end = after_tag(source, stop)
        if tag_end is not None and tag_end < source.size:
            position, fresh = tag_end, True
            continue
        if is_harmless(source, stop):
            return damaged or cut
        found = find_frames(source, stop + 1 if stop == position else stop)
        if found is None:
            return True
        damaged = damaged or bool(source.read(stop, found - stop).strip(b"\0"))
        position = found
    return damaged


def _run(source: ByteSource, position: int, parts: list[_Part], fresh: bool) -> tuple[int, bool]:
    """Add the frames that follow each other from `position`; where they end, and whether the last one is cut off."""
    run_start, part = position, None if fresh or not parts else parts[-1]
    for at, head, size, tagged in _headers(source, position):
        form = (head[1] & 0x1E) << 8 | (head[2] & 0x0C) << 4 | (head[3] >> 6 == 3)
        if part is None or form != part.form or (tagged and part.frames > 0):
            if part is not None and form != part.form and not _confirmed(source, at, size, form):
                break
            if part is not None and at > run_start:
                _extend(part, run_start, at)
            count, has_tag = _count(source.read(at, min(size, 192))) if tagged else (None, False)
            part = _Part(form=form, header=head, ranges=[], count=count, has_tag=has_tag)
            parts.append(part)
            run_start = at
        if at + size > source.size:
            _extend(part, run_start, source.size)
            complete = part.count is not None and part.frames - part.has_tag >= part.count
            return source.size, not complete
        if part.count is not None and part.frames - part.has_tag == part.count:
            part.surplus_at = at
        part.frames += 1
        part.bitrates.add(head[2] >> 4)
        position = at + size
    if part is not None and position > run_start:
        _extend(part, run_start, position)
    return position, False


def _extend(part: _Part, start: int, stop: int) -> None:
    if part.ranges and part.ranges[-1][1] == start:
        part.ranges[-1] = (part.ranges[-1][0], stop)
    else:
        part.ranges.append((start, stop))


def _headers(source: ByteSource, position: int) -> Iterator[tuple[int, bytes, int, bool]]:
    """Position, header, size of each frame that follows the one before, and whether it may hold a count."""
    sizes = _SIZES
    while position + 4 <= source.size:
        block = source.read(position, _BLOCK_BYTES)
        base, at, last = position, 0, len(block) - 64 if position + len(block) < source.size else len(block) - 4
        marks = [match.start() for match in _COUNTS.finditer(block)]
        while at <= last:
            size = sizes[block[at + 1] << 8 | block[at + 2]] if block[at] == 0xFF else 0
            if size == 0:
                return
            while marks and marks[0] < at:
                del marks[0]
            yield base + at, block[at : at + 4], size, bool(marks) and marks[0] <= at + 60
            at += size
        if at == 0:  # the source became shorter
            return
        position = base + at


def find_frames(source: ByteSource, start: int, stop: int | None = None) -> int | None:
    """The next position from which three frames of one form follow each other, or two up to the end."""
    stop = source.size if stop is None else min(stop, source.size)
    while start < stop:
        block = source.read(start, min(_BLOCK_BYTES, stop - start))
        for match in _HEADER.finditer(block):
            if _is_chain(source, start + match.start()):
                return start + match.start()
        if len(block) < 3:
            break
        start += len(block) - 2
    return None


def _is_chain(source: ByteSource, position: int) -> bool:
    """Do three frames of one form follow each other here, or two up to the end?"""
    form = None
    for number in range(3):
        head = source.read(position, 4)
        size = _SIZES[head[1] << 8 | head[2]] if len(head) == 4 and head[0] == 0xFF else 0
        if size == 0:
            return number == 2 and position == source.size
        this = (head[1] & 0x1E, head[2] & 0x0C)
        if form is not None and this != form:
            return False
        form, position = this, position + size
    return True


def _confirmed(source: ByteSource, at: int, size: int, form: int) -> bool:
    """Is a frame of another form than those before it followed by one like it?"""
    head = source.read(at + size, 4)
    if len(head) < 4:
        return at + size == source.size
    follows = (head[1] & 0x1E) << 8 | (head[2] & 0x0C) << 4 | (head[3] >> 6 == 3)
    return head[0] == 0xFF and follows == form and _SIZES[head[1] << 8 | head[2]] > 0


def _count(frame: bytes) -> tuple[int | None, bool]:
    """The number of frames that an `Info`, `Xing` or `VBRI` frame announces, without itself."""
    for tag in (b"Xing", b"Info"):
        at = frame.find(tag, 0, 64)
        if at >= 0 and len(frame) >= at + 12:
            flags, count = struct.unpack_from(">II", frame, at + 4)
            return (count or None) if flags & 1 else None, True
    at = frame.find(b"VBRI", 0, 64)
    if at >= 0 and len(frame) >= at + 18:
        return struct.unpack_from(">I", frame, at + 14)[0] or None, True
    return None, True


def _without_surplus(part: _Part) -> list[_Part]:
    """The part, and the frames beyond its count as another one: `cat` joins files with and without a count."""
    at = part.surplus_at
    if at is None or part.count is None or part.frames - part.has_tag - part.count <= _EXTRA_FRAMES:
        return [part]
    surplus = part.frames - part.has_tag - part.count
    before = [(first, min(stop, at)) for first, stop in part.ranges if first < at]
    after = [(max(first, at), stop) for first, stop in part.ranges if stop > at]
    rest = _Part(form=part.form, header=part.header, ranges=after, frames=surplus, bitrates=part.bitrates)
    part.ranges, part.frames = before, part.frames - surplus
    return [part, rest]


def _least(part: _Part) -> int:
    """The least number of samples that these frames must give."""
    version, layer = part.header[1] >> 3 & 3, 4 - (part.header[1] >> 1 & 3)
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    return max(0, part.frames - _SLACK_FRAMES) * samples


def _missing_count(part: _Part) -> bytes | None:
    """An `Info` frame with the count of the frames, if the bitrate varies and there is none."""
    if part.has_tag or len(part.bitrates) < 2 or part.header[1] >> 1 & 3 != 1:
        return None
    first, second, third, fourth = part.header
    # No checksum (last bit of byte 1), a bitrate with room, no padding (second bit of byte 2).
    header = bytes([first, second | 0x01, (_INFO_BITRATE << 4) | (third & 0x0C), fourth])
    mono, mpeg_1 = fourth >> 6 == 3, second >> 3 & 3 == 3
    side_info = (17 if mono else 32) if mpeg_1 else (9 if mono else 17)
    info = header + bytes(side_info) + b"Info" + struct.pack(">II", 1, part.frames)
    return info.ljust(_SIZES[header[1] << 8 | header[2]], b"\0")
