"""Zip: members that are stored or deflated, listed by the central directory.

The directory is read as a stream, for `zipfile` keeps all of it in memory. An archive without it, which is one that was
cut off, is read from its beginning, member by member. A stored member is a window on the archive. A deflated one is
unpacked into memory when it is short, and read as a stream that can start again when it is long. A member's version is
its size and its checksum.
"""

from __future__ import annotations

import io
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from sonogloss.errors import ClipError, Code
from sonogloss.sources.doors import Entry, open_file
from sonogloss.sources.handles import Opened, Raw, Unpacked, Window, in_memory
from sonogloss.sources.members import MemberError, sources_of
from sonogloss.sources.source import Skipped, Source, SourceLimits

ENDINGS = (".zip",)

_LOCAL, _CENTRAL, _END, _END64, _LOCATOR64, _DESCRIPTOR = (
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"PK\x06\x07",
    b"PK\x07\x08",
)
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 0x1, 0x8, 0x800
_HEAD = 512
_HELD = 32 << 20  # deflated members up to this size are unpacked into memory
_CHUNK = 1 << 18
_FULL = 0xFFFFFFFF


def recognizes(head: bytes, handle: Opened) -> bool:
    """A first member, or the end of an archive without any."""
    return head.startswith((_LOCAL, _END))


def list_members(entry: Entry, limits: SourceLimits) -> Iterator[Source | Skipped]:
    """Every member, in the order of the directory. A cut one gives its whole members, then what is wrong."""
    try:
        with open_file(entry.uri) as archive:
            yield from sources_of(entry.uri, "zip", _members(archive, limits), limits)
    except ClipError as error:
        yield Skipped(uri=entry.uri, code=error.code, reason=error.message, byte_offset=error.byte_offset)


def open_members(
    uri: str, sources: Sequence[Source], limits: SourceLimits
) -> Iterator[tuple[Source, Opened | ClipError]]:
    """Handles on members, in the order of `sources`."""
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(open_file(uri))
            places = _places(archive, sources, limits)
        except ClipError as error:
            yield from ((source, error) for source in sources)
            return
        for source in sources:
            try:
                place = places.get(source.member or "") if source.place is None else _Place(*source.place)
                if place is None:
                    raise ClipError(Code.READ_ERROR, "The archive has no such member.")
                opened = _open(archive, place)
            except ClipError as error:
                yield source, error
                continue
            with opened:
                yield source, opened


@dataclass(frozen=True)
class _Place:
    """Where a member's header is, and what the directory says of its data."""

    header: int
    method: int
    packed: int
    size: int
    checksum: int


@dataclass(frozen=True, kw_only=True)
class _ZipMember:
    """A `Member`."""

    name: str
    at: _Place
    refused: tuple[Code, str] | None
    most_bytes: int
    archive: Opened = field(repr=False)

    @property
    def size(self) -> int:
        return self.at.size

    @property
    def place(self) -> tuple[int, ...]:
        return (self.at.header, self.at.method, self.at.packed, self.at.size, self.at.checksum)

    def head(self) -> bytes:
        return self._read(_HEAD)

    def content(self) -> bytes:
        return self._read(self.at.size)

    def version(self) -> str:
        return f"{self.at.size}-{self.at.checksum:08x}"

    def _read(self, count: int) -> bytes:
        try:
            with Opened(_data(self.archive, self.at)) as opened:
                data = opened.read(count)
                opened.check()
        except ClipError as error:
            raise MemberError(error.code, error.message, error.byte_offset) from error
        return data


def _members(archive: Opened, limits: SourceLimits) -> Iterator[_ZipMember]:
    """The members, folders left out.

    Raises:
        ClipError: ARCHIVE_CORRUPT, ARCHIVE_UNSAFE, or READ_ERROR.
    """
    directory = _directory(archive)
    found = _without_directory(archive, limits) if directory is None else _with_directory(archive, *directory)
    packed = 0
    for name, flags, attributes, place in found:
        packed += place.packed
        if packed > archive.size:
            raise ClipError(Code.ARCHIVE_UNSAFE, "The members of the archive overlap; the rest is not read.")
        if name.endswith("/"):
            continue
        refused = None
        if stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFREG):
            refused = (Code.ARCHIVE_UNSAFE, "The member is a link or a device.")
        elif flags & _ENCRYPTED:
            refused = (Code.UNSUPPORTED, "The member is encrypted.")
        elif place.method not in (_STORED, _DEFLATED):
            refused = (
                Code.UNSUPPORTED,
                f"The member is packed with method {place.method}; only deflate can be unpacked.",
            )
        elif limits.too_dense(place.packed, place.size):
            refused = (Code.LIMIT, f"{place.packed:,} bytes unpack to {place.size:,}, a ratio over the limit.")
        yield _ZipMember(name=name, at=place, refused=refused, most_bytes=limits.max_bytes, archive=archive)


_Found = Iterator[tuple[str, int, int, _Place]]  # name, flags, attributes, place


def _directory(archive: Opened) -> tuple[int, int, int] | None:
    """Where the central directory begins and ends, and how far its offsets are out; None when there is none."""
    tail_size = min(archive.size, (1 << 16) + 22 + 20)
    archive.seek(archive.size - tail_size)
    tail = archive.read(tail_size)
    archive.check()
    found = tail.rfind(_END)
    while found >= 0 and not _ends_here(tail, found):
        found = tail.rfind(_END, 0, found)
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


def _with_directory(archive: Opened, begin: int, end: int, shift: int) -> _Found:
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
        yield _name(raw_name, flags), flags, attributes, _Place(header + shift, method, packed, size, checksum)
        position += 46 + name_length + extra_length + comment_length


def _without_directory(archive: Opened, limits: SourceLimits) -> _Found:
    """The members as they follow each other, as far as they are whole; then the error."""
    position = 0
    while True:
        archive.seek(position)
        block = archive.read(30)
        archive.check()
        if len(block) < 30 or not block.startswith(_LOCAL):
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
        yield _name(raw_name, flags), flags, 0, _Place(position, method, packed, size, checksum)
        position = after
    sentence = "The archive is cut off: it has no directory; the members that are whole are read."
    raise ClipError(Code.ARCHIVE_CORRUPT, sentence, position)


def _measured(archive: Opened, start: int, method: int, limits: SourceLimits) -> tuple[int, int, int, int] | None:
    """Packed size, size, checksum and end of a deflated member whose header leaves them to a descriptor behind it."""
    if method != _DEFLATED:
        return None
    inflate = _Inflate(Window(archive, start, archive.size - start))
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


def _places(archive: Opened, sources: Sequence[Source], limits: SourceLimits) -> dict[str, _Place]:
    """The places of members that do not say where they are, by name."""
    wanted = {source.member for source in sources if source.place is None}
    found: dict[str, _Place] = {}
    if wanted:
        for member in _members(archive, limits):
            if member.name in wanted and member.refused is None:
                found.setdefault(member.name, member.at)
    return found


def _open(archive: Opened, place: _Place) -> Opened:
    data = _data(archive, place)
    if place.method == _STORED or place.size > _HELD:
        return Opened(data)
    with Opened(data) as opened:
        content = opened.read()
        opened.check()
    if zlib.crc32(content) != place.checksum:
        raise ClipError(Code.ARCHIVE_CORRUPT, "The member is damaged: its checksum is wrong.", place.header)
    return in_memory(content)


def _data(archive: Opened, place: _Place) -> Raw:
    """The bytes of a member, unpacked."""
    archive.seek(min(place.header, archive.size))
    block = archive.read(30)
    archive.check()
    if len(block) < 30 or not block.startswith(_LOCAL):
        raise ClipError(Code.ARCHIVE_CORRUPT, "There is no member where the archive's directory says.", place.header)
    name_length, extra_length = struct.unpack_from("<HH", block, 26)
    start = place.header + 30 + name_length + extra_length
    if start + place.packed > archive.size or (place.method == _STORED and place.packed != place.size):
        raise ClipError(Code.ARCHIVE_CORRUPT, "The archive's directory is wrong about the member.", place.header)
    if place.method == _STORED:
        return Window(archive, start, place.size)
    return Unpacked(lambda: _Inflate(Window(archive, start, place.packed)), place.size)


class _Inflate:
    """Deflated bytes, to be read on. `packed` counts the bytes that they took."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._tail = b""
        self.packed = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end.

        Raises:
            ClipError: ARCHIVE_CORRUPT.
        """
        while not self._inflate.eof:
            source = self._tail or self._window.read(_CHUNK) or b""
            if self._window.problem is not None:
                raise self._window.problem
            try:
                data = self._inflate.decompress(source, size)
            except zlib.error as error:
                raise ClipError(Code.ARCHIVE_CORRUPT, f"The member is damaged ({error}).") from error
            self._tail = self._inflate.unconsumed_tail
            self.packed += len(source) - len(self._tail) - len(self._inflate.unused_data)
            if data:
                return data
            if not source:
                raise ClipError(Code.ARCHIVE_CORRUPT, "The member is damaged: its packed bytes end early.")
        return b""
