"""The directory of a zip, read as a stream; and what stands in for it where it is missing."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sonogloss.errors import ClipError, Code
from sonogloss.sources.handles import Opened, Window
from sonogloss.sources.packed import Inflate
from sonogloss.sources.source import SourceLimits

LOCAL, END = b"PK\x03\x04", b"PK\x05\x06"
STORED, DEFLATED = 0, 8

_CENTRAL, _END64, _LOCATOR64, _DESCRIPTOR = b"PK\x01\x02", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"
_SIZES_FOLLOW, _UTF8 = 0x8, 0x800
_CHUNK = 1 << 18
_FULL = 0xFFFFFFFF


@dataclass(frozen=True)
class Place:
    """Where a member's header is, and what the directory says of its data."""

    header: int
    method: int
    packed: int
    size: int
    checksum: int


@dataclass(frozen=True)
class Item:
    """An entry of the directory; `attributes` are those of the file system that it comes from."""

    name: str
    flags: int
    attributes: int
    place: Place


def items(archive: Opened, limits: SourceLimits) -> Iterator[Item]:
    """The entries, folders too.

    Raises:
        ClipError: ARCHIVE_CORRUPT, after the whole members; ARCHIVE_UNSAFE; READ_ERROR.
    """
    directory = _directory(archive)
    found = _without_directory(archive, limits) if directory is None else _with_directory(archive, *directory)
    packed = 0
    for item in found:
        packed += item.place.packed
        if packed > archive.size:
            raise ClipError(Code.ARCHIVE_UNSAFE, "The members of the archive overlap; the rest is not read.")
        yield item


def _directory(archive: Opened) -> tuple[int, int, int] | None:
    """Where the central directory begins and ends, and how far its offsets are out; None when there is none."""
    tail_size = min(archive.size, (1 << 16) + 22 + 20)
    archive.seek(archive.size - tail_size)
    tail = archive.read(tail_size)
    archive.check()
    found = tail.rfind(END)
    while found >= 0 and not _ends_here(tail, found):
        found = tail.rfind(END, 0, found)
    if found < 0:
        return None
    end = archive.size - tail_size + found
    length, offset = struct.unpack_from("<II", tail, found + 12)
    if found >= 20 and tail[found - 20 : found - 16] == _LOCATOR64:
        (end64,) = struct.unpack_from("<Q", tail, found - 12)
        for candidate in (end64, end - 20 - 56):  # the second where something stands before the archive
            archive.seek(min(candidate, archive.size))
            block = archive.read(56)
            if block.startswith(_END64) and len(block) == 56:
                length, offset = struct.unpack_from("<QQ", block, 40)
                end = candidate
                break
    begin = end - length
    if begin < 0 or begin < offset:
        return None
    return begin, end, begin - offset


def _ends_here(tail: bytes, found: int) -> bool:
    """Is this the end of the whole archive, not of one inside it that was cut off? Only a comment may follow."""
    return found + 22 <= len(tail) and found + 22 + struct.unpack_from("<H", tail, found + 20)[0] == len(tail)


def _with_directory(archive: Opened, begin: int, end: int, shift: int) -> Iterator[Item]:
    position = begin
    while position < end:
        archive.seek(position)
        block = archive.read(46)
        if len(block) < 46 or not block.startswith(_CENTRAL):
            archive.check()
            sentence = f"The archive's directory is damaged at byte {position:,}; the members before it are read."
            raise ClipError(Code.ARCHIVE_CORRUPT, sentence, position)
        flags, method = struct.unpack_from("<HH", block, 8)
        checksum, packed, size, name_length, extra_length, comment_length = struct.unpack_from("<IIIHHH", block, 16)
        attributes, header = struct.unpack_from("<II", block, 38)
        raw_name, extra = archive.read(name_length), archive.read(extra_length)
        size, packed, header = _long_sizes(extra, size, packed, header)
        place = Place(header + shift, method, packed, size, checksum)
        yield Item(_name(raw_name, flags), flags, attributes, place)
        position += 46 + name_length + extra_length + comment_length


def _without_directory(archive: Opened, limits: SourceLimits) -> Iterator[Item]:
    """The members as they follow each other, as far as they are whole; then the error."""
    position = 0
    while True:
        archive.seek(position)
        block = archive.read(30)
        archive.check()
        if len(block) < 30 or not block.startswith(LOCAL):
            break
        flags, method = struct.unpack_from("<HH", block, 6)
        checksum, packed, size, name_length, extra_length = struct.unpack_from("<IIIHH", block, 14)
        raw_name, extra = archive.read(name_length), archive.read(extra_length)
        size, packed, _ = _long_sizes(extra, size, packed, 0)
        start = position + 30 + name_length + extra_length
        after = start + packed
        if flags & _SIZES_FOLLOW and not checksum:
            measured = _measured(archive, start, method, limits)
            if measured is None:
                break
            packed, size, checksum, after = measured
        if after > archive.size:
            break
        yield Item(_name(raw_name, flags), flags, 0, Place(position, method, packed, size, checksum))
        position = after
    sentence = "The archive is cut off: it has no directory; the members that are whole are read."
    raise ClipError(Code.ARCHIVE_CORRUPT, sentence, position)


def _measured(archive: Opened, start: int, method: int, limits: SourceLimits) -> tuple[int, int, int, int] | None:
    """Packed size, size, checksum and end of a deflated member whose header leaves them to a descriptor behind it."""
    if method != DEFLATED:
        return None
    inflate = Inflate(Window(archive, start, archive.size - start))
    size, checksum = 0, 0
    try:
        while chunk := inflate.read(_CHUNK):
            size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
            if limits.too_dense(inflate.packed, size):
                return None
    except ClipError:
        return None
    archive.seek(start + inflate.packed)
    descriptor = archive.read(24)
    skipped = 4 if descriptor.startswith(_DESCRIPTOR) else 0
    for sizes, format_ in ((8, "<III"), (16, "<IQQ")):
        length = skipped + 4 + sizes
        if len(descriptor) >= length and struct.unpack_from(format_, descriptor, skipped) == (
            checksum,
            inflate.packed,
            size,
        ):
            return inflate.packed, size, checksum, start + inflate.packed + length
    return None


def _long_sizes(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """Sizes and offset with those of the zip64 field in the place of the ones that did not fit."""
    values = [size, packed, header]
    position = 0
    while position + 4 <= len(extra):
        key, length = struct.unpack_from("<HH", extra, position)
        if key == 1:
            field64 = io.BytesIO(extra[position + 4 : position + 4 + length])
            for index, value in enumerate(values):
                if value == _FULL and len(long := field64.read(8)) == 8:
                    (values[index],) = struct.unpack("<Q", long)
        position += 4 + length
    return values[0], values[1], values[2]


def _name(raw: bytes, flags: int) -> str:
    """A name is UTF-8 where it says so or happens to be, else in the code page of the first PCs."""
    if flags & _UTF8:
        return raw.decode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp437")
