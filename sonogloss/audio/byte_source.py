"""The bytes of a recording: read once for their digest, held only while they are few, and shown in pieces."""

from __future__ import annotations

import bisect
import hashlib
import io
from collections.abc import Callable
from typing import Any, Protocol

_HELD_BYTES = 8 << 20  # sources up to this size are read at once
_READ_BYTES = 1 << 18  # the least that is read from a larger one

Piece = bytes | tuple[int, int]  # new bytes, or a range of the source


class BinaryHandle(Protocol):
    """A seekable binary file, opened for reading."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes from the present position, none at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move the position and return it."""


class ByteSource:
    """Random access to bytes or to a file handle, whose size is taken once and never exceeded.

    Args:
        data: the bytes, or a seekable handle. The handle stays the caller's: it is read while clips are cut.

    Attributes:
        size: number of bytes.
        at_work: to be called while decoding goes on without reading; a decoder process shows so that it is alive.
    """

    def __init__(self, data: bytes | BinaryHandle) -> None:
        self._handle: BinaryHandle = io.BytesIO(data) if isinstance(data, bytes) else data
        self.size = len(data) if isinstance(data, bytes) else self._handle.seek(0, io.SEEK_END)
        self.at_work: Callable[[], object] = getattr(data, "at_work", lambda: None)
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._start, self._window = 0, b""
        if isinstance(data, bytes):
            self._window = data
        elif 0 < self.size <= _HELD_BYTES:
            self._window = self._fetch(0, self.size)

    def read(self, start: int, count: int) -> bytes:
        """At most `count` bytes from `start`; fewer at the end of the source."""
        count = min(count, self.size - start)
        if count <= 0:
            return b""
        at = start - self._start
        if at < 0 or at + count > len(self._window):
            self._start, self._window, at = start, self._fetch(start, max(count, _READ_BYTES)), 0
        return self._window[at : at + count]

    def find(self, pattern: bytes, start: int, stop: int | None = None) -> int:
        """The position of the next `pattern` between `start` and `stop`; -1 if there is none."""
        stop = self.size if stop is None else min(stop, self.size)
        overlap = len(pattern) - 1
        while start + overlap < stop:
            block = self.read(start, min(_READ_BYTES, stop - start))
            found = block.find(pattern)
            if found >= 0:
                return start + found
            if len(block) <= overlap:
                break
            start += len(block) - overlap
        return -1

    def sha256(self) -> str:
        """Hex digest of all bytes; those that were not read in order yet are read now."""
        while self._hashed < self.size:
            before = self._hashed
            if len(self._window) == self.size:
                self._update(0, self._window)
            else:
                self._fetch(self._hashed, 1 << 20)
            if self._hashed == before:
                break
        return self._hash.hexdigest()

    def open(self, *pieces: Piece) -> io.RawIOBase | io.BytesIO:
        """A seekable file of these pieces in a row; of the whole source if there are none."""
        pieces = pieces or ((0, self.size),)
        if len(self._window) == self.size or _length(pieces) <= _HELD_BYTES:
            parts = [
                piece if isinstance(piece, bytes) else self.read(piece[0], piece[1] - piece[0]) for piece in pieces
            ]
            return _HeldFile(parts[0] if len(parts) == 1 else b"".join(parts))
        return _PiecedFile(self, pieces)

    def _fetch(self, start: int, count: int) -> bytes:
        self._handle.seek(start)
        parts, missing = [], min(count, self.size - start)
        while missing > 0 and (part := self._handle.read(missing)):
            parts.append(part)
            missing -= len(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._update(start, data)
        return data

    def _update(self, start: int, data: bytes) -> None:
        """Digest what follows the bytes that were digested before."""
        if start <= self._hashed < start + len(data):
            self._hash.update(memoryview(data)[self._hashed - start :])
            self._hashed = start + len(data)


def _length(pieces: tuple[Piece, ...]) -> int:
    return sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)


class _HeldFile(io.BytesIO):
    """Bytes as a file. A decoder that seeks before the start stays where it is: it must not raise inside a callback."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


class _PiecedFile(io.RawIOBase):
    """Pieces of a large source as one file."""

    def __init__(self, source: ByteSource, pieces: tuple[Piece, ...]) -> None:
        self._source, self._pieces = source, pieces
        self._starts = [0]
        for piece in pieces:
            self._starts.append(self._starts[-1] + _length((piece,)))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move the position; a place before the start is ignored, as an error inside a decoder's callback is."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        if base + offset >= 0:
            self._position = base + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer as far as the pieces reach."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._position < self._starts[-1]:
            number = bisect.bisect_right(self._starts, self._position) - 1
            piece, at = self._pieces[number], self._position - self._starts[number]
            count = min(len(view) - done, self._starts[number + 1] - self._position)
            data = piece[at : at + count] if isinstance(piece, bytes) else self._source.read(piece[0] + at, count)
            if not data:
                break
            view[done : done + len(data)] = data
            done += len(data)
            self._position += len(data)
        return done
