"""Tar, plain or packed with gzip or zstd: WebDataset shards, and whatever else people keep in it.

The headers of a plain tar are read with seeks, and its members are windows on the file. A packed tar is read through
once. A member's version is its size, its time and a checksum: of its first 512 bytes in a plain tar, which lie beside
the header, and of all of it in a packed one. Neither its place nor the archive's own size and time take part.

What a tar says is read here rather than by `tarfile`, which keeps every header in memory, ends without a word where a
tar is cut off between two members, and believes any size.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from sonogloss.errors import ClipError, Code
from sonogloss.sources.doors import Entry, open_file
from sonogloss.sources.handles import Opened, Raw, Window, in_memory, read_exactly
from sonogloss.sources.members import sources_of
from sonogloss.sources.packed import Packed, is_packed
from sonogloss.sources.source import Skipped, Source, SourceLimits

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.zstd")

_BLOCK = 512
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


def recognizes(head: bytes, handle: Opened) -> bool:
    """A first header with a right checksum, behind gzip or zstd too."""
    if is_packed(head):
        try:
            head = read_exactly(Packed(handle, SourceLimits()), _BLOCK)
        except ClipError:
            return False
    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def list_members(entry: Entry, limits: SourceLimits) -> Iterator[Source | Skipped]:
    """Every member, in order. A tar that is cut off gives its whole members, then what is wrong."""
    try:
        with _reader(entry.uri, limits) as reader:
            yield from sources_of(entry.uri, "tar", reader.members(), limits)
    except ClipError as error:
        yield Skipped(uri=entry.uri, code=error.code, reason=error.message, byte_offset=error.byte_offset)


def open_members(
    uri: str, sources: Sequence[Source], limits: SourceLimits
) -> Iterator[tuple[Source, Opened | ClipError]]:
    """Windows on a plain tar, in the order of `sources`; the members of a packed one, in the archive's, in one pass."""
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(_reader(uri, limits))
        except ClipError as error:
            yield from ((source, error) for source in sources)
            return
        if reader.file is not None and all(source.place for source in sources):
            yield from _windows(reader.file, sources)
        else:
            yield from _in_order(reader, sources)


class _Stream(Protocol):
    position: int

    def read(self, size: int, /) -> bytes: ...


class _Plain:
    """A tar that is read in place: what is passed over is not read."""

    def __init__(self, raw: Raw) -> None:
        self.raw, self.position = raw, 0

    def read(self, size: int, /) -> bytes:
        self.raw.seek(self.position)
        data = self.raw.read(size) or b""
        if self.raw.problem is not None:
            raise self.raw.problem
        self.position += len(data)
        return data


@dataclass(kw_only=True)
class _TarMember:
    """A member whose header was read: a `Member`. The stream stands behind `first`."""

    name: str
    size: int
    place: tuple[int, ...]
    refused: tuple[Code, str] | None
    most_bytes: int
    mtime: int
    first: bytes
    reader: _Reader = field(repr=False)

    def head(self) -> bytes:
        return self.first

    def content(self) -> bytes:
        return self.first + self.reader.rest(self)

    def version(self) -> str:
        checksum = zlib.crc32(self.first)
        if self.reader.file is None:
            for chunk in self.reader.chunks(self):
                checksum = zlib.crc32(chunk, checksum)
        return f"{self.size}-{self.mtime}-{checksum:08x}"


@contextmanager
def _reader(uri: str, limits: SourceLimits) -> Iterator[_Reader]:
    with open_file(uri) as opened:
        head = opened.read(4)
        opened.check()
        if is_packed(head):
            yield _Reader(Packed(opened, limits), None, limits)
        else:
            raw = opened.raw
            assert isinstance(raw, Raw)
            yield _Reader(_Plain(raw), raw, limits)


class _Reader:
    """Walks the headers of a tar. `file` is the tar itself when it is plain."""

    def __init__(self, stream: _Stream, file: Raw | None, limits: SourceLimits) -> None:
        self.file = file
        self._stream = stream
        self._limits = limits

    def members(self) -> Iterator[_TarMember]:
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
            self._pass(-(-end // _BLOCK) * _BLOCK, end, info.name)

    def rest(self, member: _TarMember) -> bytes:
        """What lies behind a member's first bytes."""
        return b"".join(self.chunks(member))

    def chunks(self, member: _TarMember) -> Iterator[bytes]:
        """The same, in pieces.

        Raises:
            ClipError: the tar ends before the member does.
        """
        end = member.place[0] + member.size
        while self._stream.position < end:
            chunk = self._stream.read(min(_CHUNK, end - self._stream.position))
            if not chunk:
                raise _cut(member.name, self._stream.position)
            yield chunk

    def _member(self, info: tarfile.TarInfo, size: int, start: int) -> _TarMember:
        refused = None
        if info.type in _REFUSED:
            refused = (Code.ARCHIVE_UNSAFE, _REFUSED[info.type])
        elif info.type in (tarfile.GNUTYPE_SPARSE, b"M") or any(
            key.startswith("GNU.sparse") for key in info.pax_headers
        ):
            refused = (Code.UNSUPPORTED, "A sparse member or one in several volumes cannot be read here.")
        first = b"" if info.type in _WITHOUT_DATA else read_exactly(self._stream, min(size, _BLOCK))
        if len(first) < min(size, _BLOCK) and info.type not in _WITHOUT_DATA:
            raise _cut(info.name, self._stream.position)
        return _TarMember(
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
            block = read_exactly(self._stream, _BLOCK)
            if not any(block) and (zeros or len(block) == _BLOCK):
                if not block:
                    return None
                zeros += 1
                continue
            if len(block) < _BLOCK:
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
        content = read_exactly(self._stream, -(-info.size // _BLOCK) * _BLOCK)
        if len(content) < info.size:
            raise _cut(info.name, self._stream.position)
        return content[: info.size]

    def _pass_sparse_map(self, name: str, more: int) -> None:
        while more:
            block = read_exactly(self._stream, _BLOCK)
            if len(block) < _BLOCK:
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


def _windows(file: Raw, sources: Sequence[Source]) -> Iterator[tuple[Source, Opened | ClipError]]:
    for source in sources:
        assert source.place is not None
        start, size = source.place[0], source.bytes or 0
        with Opened(Window(file, start, size)) as opened:
            first = opened.read(min(size, _BLOCK))
            opened.seek(0)
            if f"{zlib.crc32(first):08x}" != (source.version or "").rpartition("-")[2]:
                yield source, ClipError(Code.READ_ERROR, "The archive changed after it was listed.", start)
            else:
                yield source, opened


def _in_order(reader: _Reader, sources: Sequence[Source]) -> Iterator[tuple[Source, Opened | ClipError]]:
    """One pass over the tar; several sources may be ranges of one member."""
    wanted: dict[str, list[Source]] = {}
    for source in sources:
        wanted.setdefault(source.member or "", []).append(source)
    problem = ClipError(Code.READ_ERROR, "The archive has no such member.")
    members = reader.members()
    while wanted:
        try:
            member = next(members, None)
            if member is None:
                break
            if member.name not in wanted:
                continue
            found = _opener(reader, member)
        except ClipError as error:
            problem = error
            break
        for source in wanted.pop(member.name):
            if isinstance(found, ClipError):
                yield source, found
                continue
            with found() as opened:
                yield source, opened
    for ranges in wanted.values():
        yield from ((source, problem) for source in ranges)


def _opener(reader: _Reader, member: _TarMember) -> Callable[[], Opened] | ClipError:
    """What opens a member that was just reached, or why nothing does."""
    if member.refused is not None:
        return ClipError(*member.refused)
    if member.size > member.most_bytes:
        return ClipError(Code.LIMIT, f"The member has {member.size:,} bytes; the limit is {member.most_bytes:,}.")
    if (file := reader.file) is not None:
        return lambda: Opened(Window(file, member.place[0], member.size))
    content = member.content()
    return lambda: in_memory(content)
