"""Streams that unpack as they are read: gzip and zstd, which stop where the ratio is that of a bomb, and deflate."""

from __future__ import annotations

import gzip
import zlib
from typing import IO, cast

import zstandard

from sonogloss.errors import ClipError, Code
from sonogloss.sources.handles import Opened, Raw, Reader, Window
from sonogloss.sources.source import SourceLimits

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ZSTD_WINDOW = 128 << 20  # what zstd itself unpacks unless told otherwise; more is memory that a stranger chooses
_ARCHIVE_SCALE = 64
_CHUNK = 1 << 18


class Packed:
    """The unpacked bytes of a file, to be read on.

    Args:
        packed: the file, gzip or zstd.
        limits: what is accepted.

    Raises:
        ClipError: (while reading) ARCHIVE_CORRUPT, LIMIT, or READ_ERROR of the file.
    """

    def __init__(self, packed: Opened, limits: SourceLimits) -> None:
        self._counted = _Counted(packed)
        self._limits = limits
        self._stream = _unpacking(self._counted)
        self._member_from = (0, 0)
        self.position = 0

    def begin_member(self) -> None:
        """From here on a new member's ratio is measured."""
        self._member_from = (self._counted.count, self.position)

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        try:
            data = self._stream.read(size)
        except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
            self._counted.check()
            sentence = f"The archive is cut off or damaged ({error})."
            raise ClipError(Code.ARCHIVE_CORRUPT, sentence, self._counted.count) from error
        self._counted.check()
        self.position += len(data)
        packed, unpacked = self._counted.count, self.position
        if self._limits.too_dense(packed - self._member_from[0], unpacked - self._member_from[1]) or (
            self._limits.too_dense(packed, unpacked, _ARCHIVE_SCALE)
        ):
            sentence = (
                f"{packed:,} bytes unpack to more than {unpacked:,}, a ratio over the limit; the rest is not read."
            )
            raise ClipError(Code.LIMIT, sentence, packed)
        return data


def is_packed(head: bytes) -> bool:
    """Are these the first bytes of something that is unpacked here?"""
    return head.startswith((_GZIP, _ZSTD))


class _Counted(Raw):
    """The packed file, with a count of the bytes that were taken from it."""

    def __init__(self, packed: Opened) -> None:
        super().__init__(packed.size)
        packed.seek(0)
        self._packed = packed
        self.count = 0

    def _read_at(self, position: int, count: int) -> bytes:
        self._packed.seek(position)
        data = self._packed.read(count)
        self._packed.check()
        self.count = position + len(data)
        return data

    def check(self) -> None:
        if self.problem is not None:
            raise self.problem


def _unpacking(packed: _Counted) -> Reader:
    head = packed.read(len(_ZSTD)) or b""
    packed.seek(0)
    if head.startswith(_GZIP):
        return gzip.GzipFile(fileobj=packed, mode="rb")
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    return cast(Reader, unpacker.stream_reader(cast(IO[bytes], packed), read_across_frames=True, closefd=False))


class Inflate:
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
