"""Zip: members that are stored or deflated, listed by the central directory.

The directory is read as a stream, for `zipfile` keeps all of it in memory. An archive without it, which is one that was
cut off, is read from its beginning, member by member. A stored member is a window on the archive. A deflated one is
unpacked into memory when it is short, and read as a stream that can start again when it is long. A member's version is
its size and its checksum.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from sonogloss.errors import ClipError, Code
from sonogloss.sources.handles import Opened, Raw, Unpacked, Window, in_memory
from sonogloss.sources.members import MemberError, sources_of
from sonogloss.sources.packed import Inflate
from sonogloss.sources.places import Entry, open_file
from sonogloss.sources.source import Skipped, Source, SourceLimits
from sonogloss.sources.zip_directory import DEFLATED, END, LOCAL, STORED, Place, items

ENDINGS = (".zip",)

_ENCRYPTED = 0x1
_HEAD = 512
_HELD = 32 << 20  # deflated members up to this size are unpacked into memory


def recognizes(head: bytes, handle: Opened) -> bool:
    """A first member, or the end of an archive without any."""
    return head.startswith((LOCAL, END))


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
                place = places.get(source.member or "") if source.place is None else Place(*source.place)
                if place is None:
                    raise ClipError(Code.READ_ERROR, "The archive has no such member.")
                opened = _open(archive, place)
            except ClipError as error:
                yield source, error
                continue
            with opened:
                yield source, opened


@dataclass(frozen=True, kw_only=True)
class _ZipMember:
    """A `Member`."""

    name: str
    at: Place
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
    """The members, folders left out."""
    for item in items(archive, limits):
        place = item.place
        if item.name.endswith("/"):
            continue
        refused = None
        if stat.S_IFMT(item.attributes >> 16) not in (0, stat.S_IFREG):
            refused = (Code.ARCHIVE_UNSAFE, "The member is a link or a device.")
        elif item.flags & _ENCRYPTED:
            refused = (Code.UNSUPPORTED, "The member is encrypted.")
        elif place.method not in (STORED, DEFLATED):
            refused = (Code.UNSUPPORTED, f"The member is packed with method {place.method}; only deflate is unpacked.")
        elif limits.too_dense(place.packed, place.size):
            refused = (Code.LIMIT, f"{place.packed:,} bytes unpack to {place.size:,}, a ratio over the limit.")
        yield _ZipMember(name=item.name, at=place, refused=refused, most_bytes=limits.max_bytes, archive=archive)


def _places(archive: Opened, sources: Sequence[Source], limits: SourceLimits) -> dict[str, Place]:
    """The places of members that do not say where they are, by name."""
    wanted = {source.member for source in sources if source.place is None}
    found: dict[str, Place] = {}
    if wanted:
        for member in _members(archive, limits):
            if member.name in wanted and member.refused is None:
                found.setdefault(member.name, member.at)
    return found


def _open(archive: Opened, place: Place) -> Opened:
    data = _data(archive, place)
    if place.method == STORED or place.size > _HELD:
        return Opened(data)
    with Opened(data) as opened:
        content = opened.read()
        opened.check()
    if zlib.crc32(content) != place.checksum:
        raise ClipError(Code.ARCHIVE_CORRUPT, "The member is damaged: its checksum is wrong.", place.header)
    return in_memory(content)


def _data(archive: Opened, place: Place) -> Raw:
    """The bytes of a member, unpacked."""
    archive.seek(min(place.header, archive.size))
    block = archive.read(30)
    archive.check()
    if len(block) < 30 or not block.startswith(LOCAL):
        raise ClipError(Code.ARCHIVE_CORRUPT, "There is no member where the archive's directory says.", place.header)
    name_length, extra_length = struct.unpack_from("<HH", block, 26)
    start = place.header + 30 + name_length + extra_length
    if start + place.packed > archive.size or (place.method == STORED and place.packed != place.size):
        raise ClipError(Code.ARCHIVE_CORRUPT, "The archive's directory is wrong about the member.", place.header)
    if place.method == STORED:
        return Window(archive, start, place.size)
    return Unpacked(lambda: Inflate(Window(archive, start, place.packed)), place.size)
