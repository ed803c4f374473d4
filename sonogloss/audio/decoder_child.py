"""The program of a decoder process: import a decoding function, then decode file after file until the worker is gone.

It is started as a new interpreter, never by fork. The worker decides when it ends: it ignores Ctrl-C and SIGTERM, and
the kernel kills it when the worker dies. When memory runs out on the machine, the kernel kills it before others.
"""

from __future__ import annotations

import ctypes
import io
import mmap
import os
import pickle
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import IO, Any

from sonogloss.audio.decoder_frames import (
    ANSWER,
    HEAD,
    INLINE,
    SHARED_BYTES,
    Kind,
    advance,
    clip_error,
    next_buffers,
    pack,
    pack_head,
    unreadable,
)

_PR_SET_PDEATHSIG = 1
_READ_AHEAD = 1 << 18  # bytes of a file of the worker's that are asked for at once


def main(requests: int, responses: int, shared: int, parent: int) -> None:
    """Serve requests until there are no more.

    Args:
        requests: file descriptor to read them from.
        responses: file descriptor to answer on.
        shared: file descriptor of the shared memory.
        parent: process id of the worker.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    worker = _Worker(requests, responses, mmap.mmap(shared, SHARED_BYTES))
    first = worker.request()
    if first is None:
        return
    function, memory_bytes = first
    _limit_memory(memory_bytes)
    worker.send(Kind.READY)
    while (request := worker.request()) is not None:
        _decode(worker, function, *request)


def _decode(
    worker: _Worker, function: Callable[[IO[bytes], Any], Iterator[Any]], path: str | None, size: int, options: Any
) -> None:
    try:
        with _opened(worker, path, size) as handle:
            for item in function(handle, options):
                if item is None:
                    worker.send(Kind.ALIVE)
                else:
                    worker.send(Kind.ITEM, item)
    except MemoryError:
        worker.send(Kind.OUT_OF_MEMORY)
    except Exception as error:  # noqa: BLE001  # a decoder that breaks in an unforeseen way costs one file
        worker.send(Kind.FAILED, clip_error(error))
    else:
        worker.send(Kind.END)


def _opened(worker: _Worker, path: str | None, size: int) -> AbstractContextManager[IO[bytes]]:
    if path is None:
        return io.BufferedReader(_FileOfWorker(worker, size), _READ_AHEAD)
    try:
        return open(path, "rb")
    except OSError as error:
        raise unreadable(error) from error


def _limit_memory(more: int) -> None:
    """Let this process allocate so many bytes more than it has now (its private memory, not what it maps)."""
    with open("/proc/self/status") as file:
        now = next(int(line.split()[1]) << 10 for line in file if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (now + more, now + more))


class _Worker:
    """The worker at the other end of the pipes."""

    def __init__(self, requests: int, responses: int, shared: mmap.mmap) -> None:
        self._requests = requests
        self._responses = responses
        self._shared = memoryview(shared)
        self._used = 0  # bytes of the shared memory that the worker may not have read yet

    def request(self) -> Any:
        """The next request; None when there will be no more. The worker has read everything when it makes one."""
        head = self._read(HEAD.size)
        self._used = 0
        if head is None:
            return None
        body = self._read(HEAD.unpack(head)[1])
        return None if body is None else pickle.loads(body)  # noqa: S301  # from the worker that started us

    def send(self, kind: Kind, record: Any = None) -> None:
        """Send a frame; waits while the worker is far behind."""
        body, arrays = pack(record)
        sizes = [array.nbytes for array in arrays]
        offset = self._share(arrays, sum(sizes))
        buffers = [pack_head(kind, body, sizes, offset), *(arrays if offset == INLINE else ())]
        while buffers:
            advance(buffers, os.writev(self._responses, next_buffers(buffers)))

    def _share(self, arrays: Sequence[memoryview], size: int) -> int:
        """Copy arrays to the shared memory; where they begin."""
        if size > SHARED_BYTES:
            return INLINE
        if self._used + size > SHARED_BYTES:
            self.send(Kind.ROOM)
            self._answer()
            self._used = 0
        offset = self._used
        for array in arrays:
            self._shared[self._used : self._used + array.nbytes] = array
            self._used += array.nbytes
        return offset

    def read_file(self, offset: int, target: memoryview) -> int:
        """Fill the target with bytes of the worker's file; the number of bytes that came, 0 at its end."""
        self.send(Kind.READ, (offset, len(target)))
        size = self._answer()
        if size < 0 or not self._fill(target[:size]):
            raise OSError("the bytes of the file cannot be read")
        return size

    def _answer(self) -> int:
        answer = self._read(ANSWER.size)
        return -1 if answer is None else int(ANSWER.unpack(answer)[0])

    def _read(self, size: int) -> bytearray | None:
        data = bytearray(size)
        return data if self._fill(memoryview(data)) else None

    def _fill(self, target: memoryview) -> bool:
        while len(target):
            count = os.readv(self._requests, [target])
            if count == 0:
                return False
            target = target[count:]
        return True


class _FileOfWorker(io.RawIOBase):
    """A file that the worker has open, for example a member of an archive; read through the pipes."""

    def __init__(self, worker: _Worker, size: int) -> None:
        super().__init__()
        self._worker = worker
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + (0, self._position, self._size)[whence]
        if position < 0:
            raise OSError(f"negative seek position {position}")
        self._position = position
        return position

    def tell(self) -> int:
        return self._position

    def readinto(self, target: Any) -> int:
        wanted = min(len(target), self._size - self._position)
        if wanted <= 0:
            return 0
        count = self._worker.read_file(self._position, memoryview(target)[:wanted])
        self._position += count
        return count

    def readall(self) -> bytes:
        data = bytearray(max(0, self._size - self._position))
        filled = 0
        while count := self.readinto(memoryview(data)[filled:]):
            filled += count
        return bytes(data[:filled])
