"""Handles of recordings: seekable, capped, and never the whole recording at once where that can be avoided."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, Any, Protocol

from sonogloss.errors import ClipError, Code, TransientError
from sonogloss.retries import retry

_BUFFER = 1 << 17
_CHUNK = 1 << 18


class Raw(io.RawIOBase):
    """A seekable stretch of `size` bytes. Reads beyond it end, whatever lies there.

    A read that fails is noted in `problem` and ends the bytes: decoders call from C, where an exception would only be
    printed.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.problem: ClipError | TransientError | None = None
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; behind the end is allowed, before the beginning is not."""
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if position < 0:
            raise OSError(f"negative position {position}")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, fewer bytes than it holds only at the end."""
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self.size - self._position)
        if wanted <= 0 or self.problem is not None:
            return 0
        try:
            data = self._read_at(self._position, wanted)
        except ClipError as error:
            self.problem = error
            return 0
        except Exception as error:  # noqa: BLE001  # every file system raises its own errors
            self.problem = unreadable(error)
            return 0
        if not data:
            sentence = f"The bytes end at {self._position:,} of {self.size:,}: they were cut while they were read."
            self.problem = ClipError(Code.READ_ERROR, sentence, self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read_at(self, position: int, count: int) -> bytes:
        """At least one and at most `count` bytes from `position`; none is an error."""
        raise NotImplementedError


class Window(Raw):
    """A stretch of a seekable file. It owns the file only when told to close it.

    Args:
        base: the file.
        offset: where the stretch begins.
        size: its bytes.
        close_base: close the file with the window.
        url: of a file on a store, whose reads are tried again.
    """

    def __init__(
        self, base: IO[bytes] | io.RawIOBase, offset: int, size: int, *, close_base: bool = False, url: str = ""
    ) -> None:
        super().__init__(size)
        self._base, self._offset, self._close_base, self._url = base, offset, close_base, url

    def _read_at(self, position: int, count: int) -> bytes:
        if self._url:
            return retry(lambda: self._read_base(position, count), what=self._url)
        return self._read_base(position, count)

    def _read_base(self, position: int, count: int) -> bytes:
        self._base.seek(self._offset + position)
        data = self._base.read(count) or b""
        problem: ClipError | TransientError | None = getattr(self._base, "problem", None)
        if not data and problem is not None:
            raise problem
        return data

    def close(self) -> None:
        """Close the window, and the file if it is owned."""
        if not self.closed and self._close_base:
            self._base.close()
        super().close()


class Reader(Protocol):
    """What can only be read on."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class Unpacked(Raw):
    """Bytes that come out of a stream. A seek back starts the stream again, so memory does not grow with the size."""

    def __init__(self, start: Callable[[], Reader], size: int) -> None:
        super().__init__(size)
        self._start = start
        self._stream, self._at = start(), 0

    def _read_at(self, position: int, count: int) -> bytes:
        if position < self._at:
            self._stream, self._at = self._start(), 0
        while self._at < position:
            passed = len(self._stream.read(min(_CHUNK, position - self._at)))
            if not passed:
                return b""
            self._at += passed
        data = self._stream.read(count)
        self._at += len(data)
        return data


class Opened(io.BufferedReader):
    """An open recording: `read`, `readinto`, `seek`, `tell`, and its `size` in bytes.

    A read that fails looks like the end of the bytes, so whoever has read must :meth:`check`.
    """

    def __init__(self, raw: Raw) -> None:
        super().__init__(raw, _BUFFER)
        self.size = raw.size
        self._whole = raw

    @property
    def problem(self) -> ClipError | TransientError | None:
        """Why a read gave less than there is; None while none did."""
        return self._whole.problem

    def check(self) -> None:
        """Did every read so far give what is there?

        Raises:
            ClipError: one did not.
            TransientError: one did not, and might on another try.
        """
        if self.problem is not None:
            raise self.problem


def in_memory(data: bytes) -> Opened:
    """A handle on bytes that are in memory."""
    return Opened(Window(io.BytesIO(data), 0, len(data), close_base=True))


def read_exactly(stream: Reader, count: int) -> bytes:
    """Read `count` bytes, fewer only where the stream ends. Memory is taken for what is there, not for `count`."""
    parts: list[bytes] = []
    while count and (data := stream.read(min(count, _CHUNK)) or b""):
        parts.append(data)
        count -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def unreadable(error: BaseException) -> ClipError | TransientError:
    """The error of a source whose bytes cannot be fetched; what may pass stays an error of the job."""
    if isinstance(error, TransientError):
        return error
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ClipError(Code.READ_ERROR, f"The bytes cannot be read ({type(error).__name__}: {words}).")
