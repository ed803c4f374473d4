"""A decoder process: a decoding function runs apart from the worker, within limits of time and memory.

Decoding libraries read files of unknown origin. Some files make them loop for ever, take all memory or end their
process. All of that happens in a child that is killed and replaced; the worker gets an error for that file and goes on.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pickle import UnpicklingError
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sonogloss.audio.decoder_frames import (
    ARRAY_BYTES,
    HEAD,
    INLINE,
    WINDOW_BYTES,
    Kind,
    frame,
    out_of_memory,
    request,
    unpack,
    unreadable,
    window,
)
from sonogloss.audio.decoder_spawner import spawner
from sonogloss.errors import ClipError, Code, SonoglossError

_START_S = 60.0
_PIPE_BYTES = 1 << 16
_MESSAGE_CHARACTERS = 200  # of what libraries printed, in a dead letter


@dataclass(frozen=True, kw_only=True)
class DecoderLimits:
    """What the decoding of one file may take. Time counts while the worker waits for the decoder, and only then.

    Attributes:
        stall_s: seconds without a sign of life: an item, None, or a read of the file until that has been read eight
            times over.
        total_s: seconds a file.
        memory_bytes: private memory of the decoder process, beyond that of an idle one.
    """

    stall_s: float = 30.0
    total_s: float = 3600.0
    memory_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")


class DecoderLostError(Exception):
    """The decoder process is gone, perhaps through no fault of the file: it may be tried once more.

    Args:
        failure: what the file's dead letter says if it is not.
    """

    def __init__(self, failure: ClipError) -> None:
        super().__init__(str(failure))
        self.failure = failure


class _File(NamedTuple):
    number: int
    handle: IO[bytes] | None


class DecoderProcess:
    """One child process that decodes file after file. Not for two threads at once.

    Args:
        function: see :class:`sonogloss.audio.decoder_pool.DecoderPool`.
        limits: what one file may take.

    Raises:
        RuntimeError: it does not start.
    """

    def __init__(self, function: Any, limits: DecoderLimits) -> None:
        self._limits = limits
        self._files: deque[_File] = deque()  # requested and not decoded to their end
        self._number = 0
        self._received = bytearray()
        self._child = spawner(os.getpid()).start()
        self._end = weakref.finalize(self, self._child.end, os.getpid())
        self._answers = select.poll()
        self._answers.register(self._child.responses, select.POLLIN)
        self._room = select.poll()
        self._room.register(self._child.requests, select.POLLOUT)
        self._stall_left = self._total_left = _START_S
        try:
            self._write(request((function, limits.memory_bytes)))
            self._receive()
        except (ClipError, DecoderLostError) as error:
            raise RuntimeError(f"a decoder process does not start: {error}") from error

    @property
    def pid(self) -> int:
        """The id of the child process."""
        return self._child.process.pid

    @property
    def alive(self) -> bool:
        """Has it not been killed here?"""
        return self._end.alive

    @property
    def usable(self) -> bool:
        """Is it alive, and done with all files?"""
        return not self._files and self.alive and self._child.process.poll() is None

    def kill(self) -> None:
        """End the child process and wait for its end."""
        self._end()

    def submit(self, source: str | IO[bytes], options: Any) -> bool:
        """Request a file: the first one, or the one after the file that is being decoded.

        Args:
            source: a local path, or a seekable file that this process has open.
            options: second argument of the decoding function.

        Returns:
            Whether it was requested: a request may be too long to be made ahead, or the child may be gone.

        Raises:
            ClipError: the file cannot be read.
            DecoderLostError: the process died.
        """
        path, size = (os.path.abspath(source), 0) if isinstance(source, str) else (None, _size(source))
        file = _File(self._number, None if isinstance(source, str) else source)
        if file.handle is not None:
            self._show(file, 0)
        message = request((path, size, options))
        self._files.append(file)
        if len(self._files) == 1:
            self._stall_left, self._total_left = self._limits.stall_s, self._limits.total_s
            self._write(message)
        elif not self._write_at_once(message):
            self._files.pop()
            return False
        self._number += 1
        return True

    def items(self) -> Iterator[Any]:
        """The items of the decoding function for the oldest file that was requested.

        Raises:
            ClipError: the decoding function raised it, or TIMEOUT.
            DecoderLostError: the process died, or ran out of memory.
        """
        self._stall_left, self._total_left = self._limits.stall_s, self._limits.total_s
        failure: SonoglossError | None = None
        while True:
            kind, value, record = self._receive()
            if kind is Kind.READ:
                shown, failure = self._move_window(value) if failure is None else (-1, failure)
                self._write(frame(Kind.ANSWER, value=shown))
                continue
            if kind is Kind.FULL:
                self._write(frame(Kind.ANSWER))
                continue
            self._stall_left = self._limits.stall_s
            if kind in (Kind.END, Kind.FAILED):
                self._files.popleft()
                if failure is not None:
                    raise failure
                if kind is Kind.FAILED:
                    raise _with_printed(*record)
                return
            if kind is Kind.OUT_OF_MEMORY:
                raise DecoderLostError(out_of_memory(self._limits.memory_bytes))
            if kind is Kind.ITEM and failure is None:  # not what was made of a file with a hole in it
                yield record

    def _move_window(self, offset: int) -> tuple[int, SonoglossError | None]:
        """The answer to READ, and the error, raised when the decoder is done. Its time is not the decoder's."""
        try:
            return self._show(self._files[0], offset), None
        except SonoglossError as error:
            return -1, error

    def _show(self, file: _File, offset: int) -> int:
        """Fill the window of a file; the number of bytes that are in it."""
        try:
            assert file.handle is not None, "a path is not read here"
            file.handle.seek(offset)
            data = file.handle.read(WINDOW_BYTES)
        except Exception as error:
            raise unreadable(error) from error
        view = memoryview(self._child.shared)[window(file.number)]
        view[: len(data)] = data
        return len(data)

    def _receive(self) -> tuple[Kind, int, Any]:
        """The next frame: its kind, its value, its record."""
        try:
            number, body_size, count, value = HEAD.unpack(self._read(HEAD.size))
            kind = Kind(number)
            sizes = struct.unpack(f"<{count}Q", self._read(8 * count))
            if body_size + sum(sizes) > max(self._limits.memory_bytes, ARRAY_BYTES):
                raise ValueError("an item larger than its memory")
            body = self._read(body_size)
            if not body:
                return kind, value, None
            record = unpack(bytes(body), self._arrays(sizes, value))
            if kind is Kind.FAILED:
                error, printed = record
                if not (isinstance(error, SonoglossError) and isinstance(printed, bytes)):
                    raise ValueError("an error that is none")
            return kind, value, record
        except (ValueError, TypeError, UnpicklingError, struct.error) as error:
            raise self._lost(f"answered what is no record: {error}") from error

    def _arrays(self, sizes: Sequence[int], begin: int) -> list[npt.NDArray[np.uint8]]:
        """The arrays of a frame, copied from the shared memory or read from the pipe."""
        if begin == INLINE:
            return [np.frombuffer(self._read(size), dtype=np.uint8) for size in sizes]
        ends = list(accumulate(sizes, initial=begin))
        if begin < 0 or ends[-1] > ARRAY_BYTES:
            raise ValueError(f"arrays at {ends}")
        shared = np.frombuffer(self._child.shared, dtype=np.uint8)
        return [shared[begin:end].copy() for begin, end in pairwise(ends)]

    def _read(self, size: int) -> bytearray:
        while len(self._received) < size:
            try:
                part = os.read(self._child.responses, _PIPE_BYTES)
            except BlockingIOError:
                self._wait(self._answers)
                continue
            if not part:
                raise self._lost()
            self._received += part
        data = self._received[:size]
        del self._received[:size]
        return data

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._child.requests, data) :]
            except BlockingIOError:
                self._wait(self._room)
            except BrokenPipeError:
                raise self._lost() from None

    def _write_at_once(self, data: bytes) -> bool:
        """Write all or nothing, and let a child that is gone be found when its last items are read."""
        try:
            return len(data) <= select.PIPE_BUF and os.write(self._child.requests, data) > 0
        except (BlockingIOError, BrokenPipeError):
            return False

    def _wait(self, events: select.poll) -> None:
        """Until the child is ready or its time is over."""
        begun = time.monotonic()
        events.poll(1000 * max(0.0, min(self._stall_left, self._total_left)))
        elapsed = time.monotonic() - begun
        self._stall_left -= elapsed
        self._total_left -= elapsed
        if min(self._stall_left, self._total_left) <= 0:
            printed = self._post_mortem()
            limits, stalled = self._limits, self._stall_left <= 0
            what = f"gave nothing for {limits.stall_s:g} s" if stalled else f"took more than {limits.total_s:g} s"
            raise _with_printed(ClipError(Code.TIMEOUT, f"Decoding {what} and was stopped."), printed)

    def _lost(self, what: str | None = None) -> DecoderLostError:
        if what is None:
            with suppress(subprocess.TimeoutExpired):  # it closed its pipe and is about to end, by a signal or not
                self._child.process.wait(1.0)
        printed = self._post_mortem()
        what = what or f"ended ({self._child.how_it_ended()})"
        failure = _with_printed(ClipError(Code.CRASHED, f"The process that decoded the file {what}."), printed)
        return DecoderLostError(failure)

    def _post_mortem(self) -> bytes:
        """Kill the child; what was printed until then."""
        self._child.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._child.process.wait(1.0)
        printed = b""
        with suppress(BlockingIOError):
            printed = os.read(self._child.printed, _PIPE_BYTES)
        self.kill()
        return printed


def _size(source: IO[bytes]) -> int:
    try:
        return source.seek(0, os.SEEK_END)
    except Exception as error:
        raise unreadable(error) from error


def _with_printed(error: Any, printed: bytes) -> Any:
    """A ClipError with the last line that was printed in its message; other errors as they are."""
    lines = [line for line in printed.decode(errors="replace").splitlines() if line.strip()]
    if not lines or not isinstance(error, ClipError):
        return error
    last = "".join(c if c.isprintable() else " " for c in lines[-1].strip())[:_MESSAGE_CHARACTERS]
    return ClipError(error.code, f"{error.message} The decoder printed: {last}", error.byte_offset)
