"""The headers of a tar, read one after the other, and the members that they announce."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from sonogloss.errors import ClipError, Code
from sonogloss.sources.handles import Raw, read_exactly
from sonogloss.sources.packed import Packed
from sonogloss.sources.source import SourceLimits

BLOCK = 512

_LONGEST_HEADER = 1 << 20  # of the extended headers that hold long names
_ZEROS = 2048  # blocks of zeros behind the end, 1 MiB, in which another tar may be joined on
_CHUNK = 1 << 18
_REFUSED = {
    tarfile.SYMTYPE: "The member is a link.",
    tarfile.LNKTYPE: "The member is a link.",
    tarfile.CHRTYPE: "The member is a device.",
    tarfile.BLKTYPE: "The member is a device.",
    tarfile.FIFOTYPE: "The member is a named pipe.",
}
_WITHOUT_DATA = {*_REFUSED, tarfile.DIRTYPE}
_IGNORED = {tarfile.DIRTYPE, b"V", b"D"}  # folders, the label of a volume, GNU's lists of names
_EXTENDED = {
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


class _Stream(Protocol):
    position: int

    def read(self, size: int, /) -> bytes: ...


class Plain:
    """A tar that is read in place: what is passed over is not read."""

    def __init__(self, raw: Raw) -> None:
        self.raw, self.position = raw, 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes from `position` on; none at the end."""
        self.raw.seek(self.position)
        data = self.raw.read(size) or b""
        if self.raw.problem is not None:
            raise self.raw.problem
        self.position += len(data)
        return data


@dataclass(kw_only=True)
class TarMember:
    """A member whose header was read: a `Member`. The stream stands behind `first`."""

    name: str
    size: int
    place: tuple[int, ...]
    refused: tuple[Code, str] | None
    most_bytes: int
    mtime: int
    first: bytes
    reader: TarReader = field(repr=False)

    def head(self) -> bytes:
        """Its first bytes, a block at most."""
        return self.first

    def content(self) -> bytes:
        """All of it."""
        return b"".join([self.first, *self.reader.chunks(self)])

    def version(self) -> str:
        """Size, time and checksum, see :mod:`sonogloss.sources.tar`."""
        checksum = zlib.crc32(self.first)
        if self.reader.file is None:
            for chunk in self.reader.chunks(self):
                checksum = zlib.crc32(chunk, checksum)
        return f"{self.size}-{self.mtime}-{checksum:08x}"


class TarReader:
    """Walks the headers of a tar. `file` is the tar itself when it is plain."""

    def __init__(self, stream: _Stream, file: Raw | None, limits: SourceLimits) -> None:
        self.file = file
        self._stream = stream
        self._limits = limits

    def members(self) -> Iterator[TarMember]:
        """The members, folders left out; each must be read before the next is asked for.

        Raises:
            ClipError: ARCHIVE_CORRUPT, where the tar is cut off or damaged; LIMIT; READ_ERROR.
        """
        while (header := self._header()) is not None:
            info, size, start = header
            end = start + (0 if info.type in _WITHOUT_DATA else size)
            if self.file is not None and end > self.file.size:
                raise _cut(info.name, self.file.size)
            if isinstance(self._stream, Packed):
                self._stream.begin_member()
            if info.type not in _IGNORED and not info.name.endswith("/"):
                yield self._member(info, size, start)
            self._pass(-(-end // BLOCK) * BLOCK, end, info.name)

    def chunks(self, member: TarMember) -> Iterator[bytes]:
        """What lies behind a member's first bytes, in pieces.

        Raises:
            ClipError: the tar ends before the member does.
        """
        end = member.place[0] + member.size
        while self._stream.position < end:
            chunk = self._stream.read(min(_CHUNK, end - self._stream.position))
            if not chunk:
                raise _cut(member.name, self._stream.position)
            yield chunk

    def _member(self, info: tarfile.TarInfo, size: int, start: int) -> TarMember:
        refused = None
        if info.type in _REFUSED:
            refused = (Code.ARCHIVE_UNSAFE, _REFUSED[info.type])
        elif info.type in (tarfile.GNUTYPE_SPARSE, b"M") or any(
            key.startswith("GNU.sparse") for key in info.pax_headers
        ):
            refused = (Code.UNSUPPORTED, "A sparse member or one in several volumes cannot be read here.")
        first = b"" if info.type in _WITHOUT_DATA else read_exactly(self._stream, min(size, BLOCK))
        if len(first) < min(size, BLOCK) and info.type not in _WITHOUT_DATA:
            raise _cut(info.name, self._stream.position)
        return TarMember(
            name=info.name,
            size=size,
            place=(start,),
            refused=refused,
            most_bytes=self._limits.max_bytes if self.file is not None else self._limits.max_member_bytes,
            mtime=int(info.mtime),
            first=first,
            reader=self,
        )

    def _header(self) -> tuple[tarfile.TarInfo, int, int] | None:
        """The next header with what its extended headers say, its size, and where its data begin; None at the end."""
        long_name: str | None = None
        pax: dict[str, str] = {}
        while True:
            found = self._block()
            if found is None:
                return None
            info, block = found
            if info.type in _EXTENDED:
                content = self._extended(info)
                if info.type == tarfile.GNUTYPE_LONGNAME:
                    long_name = content.rstrip(b"\x00").decode("utf-8", "surrogateescape")
                elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                    pax = _pax_fields(content, self._stream.position)
                continue
            if info.type == tarfile.GNUTYPE_SPARSE:
                self._pass_sparse_map(info.name, more=block[482])
            info.pax_headers = pax
            info.name = pax.get("path", long_name if long_name is not None else info.name)
            try:
                size = int(pax.get("size", info.size))
                info.mtime = float(pax.get("mtime", info.mtime))
                int(info.mtime)
            except (ValueError, OverflowError) as error:
                raise _damaged(self._stream.position) from error
            if size < 0:
                raise _damaged(self._stream.position)
            return info, size, self._stream.position

    def _block(self) -> tuple[tarfile.TarInfo, bytes] | None:
        """The next header, parsed and as it is; None at the end, behind which another tar may be joined on."""
        zeros = 0
        while zeros < _ZEROS:
            start = self._stream.position
            block = read_exactly(self._stream, BLOCK)
            if not any(block) and (zeros or len(block) == BLOCK):
                if not block:
                    return None
                zeros += 1
                continue
            if len(block) < BLOCK:
                raise ClipError(
                    Code.ARCHIVE_CORRUPT, f"The archive ends at byte {start:,} without its end mark.", start
                )
            try:
                return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape"), block
            except tarfile.TarError as error:
                raise _damaged(start) from error
        return None

    def _extended(self, info: tarfile.TarInfo) -> bytes:
        start = self._stream.position
        if not 0 <= info.size <= _LONGEST_HEADER:
            raise ClipError(
                Code.LIMIT, f"The header at byte {start:,} is longer than {_LONGEST_HEADER:,} bytes.", start
            )
        content = read_exactly(self._stream, -(-info.size // BLOCK) * BLOCK)
        if len(content) < info.size:
            raise _cut(info.name, self._stream.position)
        return content[: info.size]

    def _pass_sparse_map(self, name: str, more: int) -> None:
        while more:
            block = read_exactly(self._stream, BLOCK)
            if len(block) < BLOCK:
                raise _cut(name, self._stream.position)
            more = block[504]

    def _pass(self, to: int, end: int, name: str) -> None:
        """Move on to the next header. What is missing of a member is an error; of its padding, none."""
        if self.file is not None:
            self._stream.position = to
            return
        while self._stream.position < to:
            if not self._stream.read(min(_CHUNK, to - self._stream.position)):
                if self._stream.position < end:
                    raise _cut(name, self._stream.position)
                return


def _pax_fields(content: bytes, position: int) -> dict[str, str]:
    """The records of an extended header: `length key=value` and a newline, each."""
    fields: dict[str, str] = {}
    while content.strip(b"\x00"):
        digits, _, _ = content.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 9 else 0
        key, equals, value = content[len(digits) + 1 : length - 1].partition(b"=")
        if not (equals and len(digits) + 1 < length <= len(content)):
            raise _damaged(position)
        fields[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        content = content[length:]
    return fields


def _cut(name: str, position: int) -> ClipError:
    sentence = f"The archive ends inside {name[:200]!r}; the members before it are read."
    return ClipError(Code.ARCHIVE_CORRUPT, sentence, position)


def _damaged(position: int) -> ClipError:
    sentence = f"The header at byte {position:,} is damaged; the members before it are read."
    return ClipError(Code.ARCHIVE_CORRUPT, sentence, position)
