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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pickle import UnpicklingError
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from sonogloss.audio.decoder_frames import (
    ANSWER,
    HEAD,
    INLINE,
    SHARED_BYTES,
    Kind,
    advance,
    next_buffers,
    out_of_memory,
    pack_request,
    unpack,
    unreadable,
)
from sonogloss.audio.decoder_spawner import spawner
from sonogloss.errors import ClipError, Code, SonoglossError

_START_S = 60.0
_OUTPUT_BYTES = 4096  # of what the libraries printed last
_MESSAGE_CHARACTERS = 200  # of it, in a dead letter
_LARGEST_READ = 1 << 20


@dataclass(frozen=True, kw_only=True)
class DecoderLimits:
    """What the decoding of one file may take. Time counts while the worker waits for the decoder, and only then.

    Attributes:
        stall_s: seconds until the first item, and from one item to the next.
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
        self._printed = b""
        self._idle = True
        self._child = spawner(os.getpid()).start()
        self._end = weakref.finalize(self, self._child.end, os.getpid())
        self._answers = select.poll()
        self._answers.register(self._child.responses, select.POLLIN)
        self._answers.register(self._child.output, select.POLLIN)
        self._room = select.poll()
        self._room.register(self._child.requests, select.POLLOUT)
        self._stall_left = self._total_left = _START_S
        try:
            self._write(pack_request((function, limits.memory_bytes)))
            kind, _ = self._receive()
        except (ClipError, DecoderLostError) as error:
            printed = self._printed.decode(errors="replace")
            raise RuntimeError(f"the decoder process does not start: {error}\n{printed}") from error
        assert kind is Kind.READY

    @property
    def pid(self) -> int:
        """The id of the child process."""
        return self._child.process.pid

    @property
    def usable(self) -> bool:
        """Is it alive, and not in the middle of a file?"""
        return self._idle and self._end.alive and self._child.process.poll() is None

    def kill(self) -> None:
        """End the child process and wait for its end."""
        self._end()

    def decode(self, source: str | IO[bytes], options: Any) -> Iterator[Any]:
        """The items of the decoding function for one file.

        Args:
            source: a local path, or a seekable file that this process has open.
            options: second argument of the decoding function.

        Raises:
            ClipError: the decoding function raised it, or TIMEOUT.
            DecoderLostError: the process died, or ran out of memory.
        """
        path, size = (source, 0) if isinstance(source, str) else (None, _size(source))
        self._idle = False
        self._stall_left, self._total_left = self._limits.stall_s, self._limits.total_s
        self._drain()
        self._printed = b""
        self._write(pack_request((path, size, options)))
        failure: SonoglossError | None = None
        while True:
            kind, record = self._receive()
            if kind is Kind.READ:
                failure = failure or self._send_part(source, record)
                continue
            if kind is Kind.ROOM:
                self._write([memoryview(ANSWER.pack(0))])
                continue
            self._stall_left = self._limits.stall_s
            self._idle = kind in (Kind.END, Kind.FAILED)
            if kind is Kind.OUT_OF_MEMORY:
                raise DecoderLostError(self._with_output(out_of_memory(self._limits.memory_bytes)))
            if self._idle and failure is not None:
                raise failure
            if kind is Kind.FAILED:
                raise self._with_output(record)
            if kind is Kind.END:
                return
            if kind is Kind.ITEM and failure is None:  # not what was made of a file with a hole in it
                yield record

    def _send_part(self, source: Any, part: Any) -> SonoglossError | None:
        """Answer READ. The time it takes is not the decoder's; an error is raised when the decoder is done."""
        try:
            offset, size = part
            source.seek(offset)
            data = source.read(min(size, _LARGEST_READ))
        except Exception as error:  # noqa: BLE001  # every file system raises its own
            self._write([memoryview(ANSWER.pack(-1))])
            return unreadable(error)
        self._write([memoryview(ANSWER.pack(len(data)) + data)])
        return None

    def _receive(self) -> tuple[Kind, Any]:
        try:
            kind, body_size, count, offset = HEAD.unpack(self._read(HEAD.size))
            sizes = struct.unpack(f"<{count}Q", self._read(8 * count))
            self._check_size(sum(sizes))
            body = self._read(body_size)
            arrays = self._arrays(sizes, offset)
            record = unpack(body, arrays)
            if isinstance(record, SonoglossError) != (kind == Kind.FAILED):
                raise ValueError("an error out of place")
            return Kind(kind), record
        except (ValueError, UnpicklingError, struct.error) as error:
            raise self._lost(f"answered what is no record: {error}") from error

    def _arrays(self, sizes: Sequence[int], offset: int) -> list[npt.NDArray[np.uint8]]:
        """The arrays of a frame, copied from the shared memory or read from the pipe."""
        if offset == INLINE:
            arrays = [np.empty(size, dtype=np.uint8) for size in sizes]
            self._fill([array.data for array in arrays if array.size])
            return arrays
        ends = list(accumulate(sizes, initial=offset))
        if offset < 0 or ends[-1] > SHARED_BYTES:
            raise ValueError(f"arrays at {ends}")
        shared = np.frombuffer(self._child.shared, dtype=np.uint8)
        return [shared[begin:end].copy() for begin, end in pairwise(ends)]

    def _check_size(self, size: int) -> None:
        """The decoder cannot hold an item larger than its memory; what announces one is broken."""
        if size > max(self._limits.memory_bytes, SHARED_BYTES):
            raise ValueError(f"an item of {size} bytes")

    def _read(self, size: int) -> bytes:
        self._check_size(size)
        data = bytearray(size)
        self._fill([memoryview(data)])
        return bytes(data)

    def _fill(self, buffers: list[memoryview]) -> None:
        while any(map(len, buffers)):
            try:
                count = os.readv(self._child.responses, next_buffers(buffers))
            except BlockingIOError:
                self._wait(self._answers)
                continue
            if count == 0:
                raise self._lost()
            advance(buffers, count)

    def _write(self, buffers: list[memoryview]) -> None:
        while buffers:
            try:
                advance(buffers, os.writev(self._child.requests, next_buffers(buffers)))
            except BlockingIOError:
                self._wait(self._room)
            except BrokenPipeError:
                raise self._lost() from None

    def _wait(self, events: select.poll) -> None:
        """Until the child is ready or its time is over; what it prints is read meanwhile."""
        begun = time.monotonic()
        ready = events.poll(1000 * max(0.0, min(self._stall_left, self._total_left)))
        if any(file == self._child.output for file, _ in ready):
            self._drain()
        elapsed = time.monotonic() - begun
        self._stall_left -= elapsed
        self._total_left -= elapsed
        if min(self._stall_left, self._total_left) <= 0:
            self._collect()
            limits, stalled = self._limits, self._stall_left <= 0
            what = f"gave nothing for {limits.stall_s:g} s" if stalled else f"took more than {limits.total_s:g} s"
            raise self._with_output(ClipError(Code.TIMEOUT, f"Decoding {what} and was stopped."))

    def _lost(self, what: str | None = None) -> DecoderLostError:
        if what is None:
            with suppress(subprocess.TimeoutExpired):  # it closed its pipe and is about to end, by a signal or not
                self._child.process.wait(1.0)
        self._collect()
        what = what or f"ended ({self._child.how_it_ended()})"
        return DecoderLostError(
            self._with_output(ClipError(Code.CRASHED, f"The process that decoded the file {what}."))
        )

    def _collect(self) -> None:
        """Kill, and keep what was printed until then."""
        self._child.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._child.process.wait(1.0)
        self._drain()
        self.kill()

    def _drain(self) -> None:
        """Read what the libraries printed, and keep the end of it."""
        with suppress(BlockingIOError, KeyError):
            for _ in range(2):  # not for ever: it may print faster than this reads
                printed = os.read(self._child.output, 1 << 16)
                if not printed:
                    self._answers.unregister(self._child.output)
                    return
                self._printed = (self._printed + printed)[-_OUTPUT_BYTES:]

    def _with_output(self, error: Any) -> Any:
        """The error, with the last line that was printed in its message."""
        if not isinstance(error, ClipError):
            return error
        if self._end.alive:
            self._drain()
        lines = [line for line in self._printed.decode(errors="replace").splitlines() if line.strip()]
        if not lines:
            return error
        printed = "".join(c if c.isprintable() else " " for c in lines[-1].strip())[:_MESSAGE_CHARACTERS]
        return ClipError(error.code, f"{error.message} The decoder printed: {printed}", error.byte_offset)


def _size(source: IO[bytes]) -> int:
    try:
        return source.seek(0, os.SEEK_END)
    except Exception as error:
        raise unreadable(error) from error
