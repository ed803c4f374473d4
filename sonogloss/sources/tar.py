"""Tar, plain or packed with gzip or zstd: WebDataset shards, and whatever else people keep in it.

The headers of a plain tar are read with seeks, and its members are windows on the file. A packed tar is read through
once. A member's version is its size, its time and a checksum: of its first 512 bytes in a plain tar, which lie beside
the header, and of all of it in a packed one. Neither its place nor the archive's own size and time take part.

What a tar says is read here rather than by `tarfile`, which keeps every header in memory, ends without a word where a
tar is cut off between two members, and believes any size.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sonogloss.errors import ClipError, Code
from sonogloss.sources.handles import Opened, Raw, Window, read_exactly
from sonogloss.sources.members import sources_of
from sonogloss.sources.packed import Packed, is_packed
from sonogloss.sources.places import Entry, open_file
from sonogloss.sources.source import Skipped, Source, SourceLimits
from sonogloss.sources.tar_headers import BLOCK, Plain, TarMember, TarReader

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.zstd")


def recognizes(head: bytes, handle: Opened) -> bool:
    """A first header with a right checksum, behind gzip or zstd too."""
    if is_packed(head):
        try:
            head = read_exactly(Packed(handle, SourceLimits()), BLOCK)
        except ClipError:
            return False
    try:
        tarfile.TarInfo.frombuf(head[:BLOCK], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def list_members(entry: Entry, limits: SourceLimits) -> Iterator[Source | Skipped]:
    """Every member, in order. A tar that is cut off gives its whole members, then what is wrong."""
    try:
        with tar_reader(entry.uri, limits) as reader:
            yield from sources_of(entry.uri, "tar", reader.members(), limits)
    except ClipError as error:
        yield Skipped(uri=entry.uri, code=error.code, reason=error.message, byte_offset=error.byte_offset)


def open_members(
    uri: str, sources: Sequence[Source], limits: SourceLimits
) -> Iterator[tuple[Source, Opened | ClipError]]:
    """Windows on a plain tar, in the order of `sources`; the members of a packed one, in the archive's, in one pass."""
    with ExitStack() as stack:
        try:
            reader = stack.enter_context(tar_reader(uri, limits))
        except ClipError as error:
            yield from ((source, error) for source in sources)
            return
        if reader.file is not None and all(source.place for source in sources):
            yield from _windows(reader.file, sources)
        else:
            yield from _in_order(reader, sources)


@contextmanager
def tar_reader(uri: str, limits: SourceLimits) -> Iterator[TarReader]:
    """A tar whose headers can be walked.

    Raises:
        ClipError: it cannot be opened.
    """
    with open_file(uri) as opened:
        head = opened.read(4)
        opened.check()
        if is_packed(head):
            yield TarReader(Packed(opened, limits), None, limits)
        else:
            raw = opened.raw
            assert isinstance(raw, Raw)
            yield TarReader(Plain(raw), raw, limits)


def _windows(file: Raw, sources: Sequence[Source]) -> Iterator[tuple[Source, Opened | ClipError]]:
    for source in sources:
        assert source.place is not None
        start, size = source.place[0], source.bytes or 0
        with Opened(Window(file, start, size)) as opened:
            first = opened.read(min(size, BLOCK))
            opened.seek(0)
            if f"{zlib.crc32(first):08x}" != (source.version or "").rpartition("-")[2]:
                yield source, ClipError(Code.READ_ERROR, "The archive changed after it was listed.", start)
            else:
                yield source, opened


def _in_order(reader: TarReader, sources: Sequence[Source]) -> Iterator[tuple[Source, Opened | ClipError]]:
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


def _opener(reader: TarReader, member: TarMember) -> Callable[[], Opened] | ClipError:
    """What opens a member that was just reached, or why nothing does."""
    if member.refused is not None:
        return ClipError(*member.refused)
    if member.size > member.most_bytes:
        return ClipError(Code.LIMIT, f"The member has {member.size:,} bytes; the limit is {member.most_bytes:,}.")
    if (file := reader.file) is not None:
        return lambda: Opened(Window(file, member.place[0], member.size))
    held = io.BytesIO()
    held.write(member.first)
    for chunk in reader.chunks(member):
        held.write(chunk)
    return lambda: Opened(Window(held, 0, member.size))
