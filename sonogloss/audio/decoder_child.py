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
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import IO, Any

from sonogloss.audio.decoder_frames import (
    ARRAY_BYTES,
    HEAD,
    INLINE,
    SHARED_BYTES,
    Kind,
    clip_error,
    frame,
    pack,
    unreadable,
    window,
)

_PR_SET_PDEATHSIG = 1
_BUFFER_BYTES = 1 << 16
_MOST_PASSES = 8
_SIGN_S = 0.25

DecodeFunction = Callable[[IO[bytes], Any], Iterator[Any]]


def main(requests: int, responses: int, shared: int, printed: int, parent: int) -> None:
    """Serve requests until there are no more.

    Args:
        requests: file descriptor to read them from.
        responses: file descriptor to answer on.
        shared: file descriptor of the shared memory.
        printed: file descriptor where everything that is printed can be read.
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
    sys.stdout = sys.stderr = io.TextIOWrapper(_Lossy(2, "w"), errors="backslashreplace", write_through=True)
    worker = _Worker(requests, responses, mmap.mmap(shared, SHARED_BYTES))
    first = worker.request()
    if first is None:
        return
    function, memory_bytes = first
    _limit_memory(memory_bytes)
    worker.send(Kind.READY)
    number = 0
    while (request := worker.request()) is not None:
        _read_printed(printed)
        _decode(worker, function, number, printed, *request)
        number += 1


def _decode(
    worker: _Worker, function: DecodeFunction, number: int, printed: int, path: str | None, size: int, options: Any
) -> None:
    try:
        with _opened(worker, number, path, size) as handle:
            for item in function(handle, options):
                if item is None:
                    worker.send(Kind.ALIVE)
                else:
                    worker.send(Kind.ITEM, item)
    except MemoryError:
        worker.send(Kind.OUT_OF_MEMORY)
    except Exception as error:  # noqa: BLE001  # a decoder that breaks in an unforeseen way costs one file
        worker.send(Kind.FAILED, (clip_error(error), _read_printed(printed)))
    else:
        worker.send(Kind.END)


def _opened(worker: _Worker, number: int, path: str | None, size: int) -> AbstractContextManager[IO[bytes]]:
    if path is None:
        return _Handle(_FileOfWorker(worker, number, size))
    try:
        return _Handle(_LocalFile(worker, path))
    except OSError as error:
        raise unreadable(error) from error


def _limit_memory(more: int) -> None:
    """Let this process allocate so many bytes more than it has now (its private memory, not what it maps)."""
    with open("/proc/self/status") as file:
        now = next(int(line.split()[1]) << 10 for line in file if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (now + more, now + more))


def _read_printed(printed: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(printed, _BUFFER_BYTES)
    return b""


class _Lossy(io.FileIO):
    """Where Python prints: what does not fit into the pipe is dropped, as it is for the libraries."""

    def write(self, data: Any) -> int:
        super().write(data)
        return len(data)


class _Worker:
    """The worker at the other end of the pipes."""

    def __init__(self, requests: int, responses: int, shared: mmap.mmap) -> None:
        self.shared = memoryview(shared)
        self._requests = requests
        self._responses = responses
        self._used = 0  # bytes of the room for arrays that the worker may not have read yet
        self._early: deque[bytearray] = deque()  # requests that came before an answer

    def request(self) -> Any:
        """The next request; None when there will be no more."""
        body = self._early.popleft() if self._early else self._receive(Kind.REQUEST)
        return pickle.loads(body) if body else None  # noqa: S301  # from the worker that started us

    def send(self, kind: Kind, record: Any = None) -> None:
        """Send a frame; waits while the worker is far behind."""
        body, arrays = pack(record)
        sizes = [array.nbytes for array in arrays]
        value = self._share(arrays, sum(sizes))
        self._write(memoryview(frame(kind, body, sizes, value)))
        if value == INLINE:
            for array in arrays:
                self._write(array)

    def ask(self, kind: Kind, value: int = 0) -> int:
        """The answer to READ or FULL; -1 also when the worker is gone."""
        self._write(memoryview(frame(kind, value=value)))
        answer = self._receive(Kind.ANSWER)
        return -1 if answer is None else answer

    def _share(self, arrays: Sequence[memoryview], size: int) -> int:
        """Copy arrays to the shared memory; where they begin."""
        if size > ARRAY_BYTES:
            return INLINE
        if self._used + size > ARRAY_BYTES:
            self.ask(Kind.FULL)
            self._used = 0
        begin = self._used
        for array in arrays:
            self.shared[self._used : self._used + array.nbytes] = array
            self._used += array.nbytes
        return begin

    def _receive(self, wanted: Kind) -> Any:
        """The pickle of the next request or the value of the next answer; None when the worker is gone."""
        while head := self._read(HEAD.size):
            kind, size, _, value = HEAD.unpack(head)
            if kind == Kind.ANSWER:
                return value
            body = self._read(size)
            if wanted == kind:
                return body
            self._early.append(body)
        return None

    def _read(self, size: int) -> bytearray:
        """So many bytes, or none when the worker is gone."""
        data = bytearray()
        while len(data) < size:
            part = os.read(self._requests, size - len(data))
            if not part:
                return bytearray()
            data += part
        return data

    def _write(self, data: memoryview) -> None:
        while data.nbytes:
            data = data[os.write(self._responses, data) :]


class _SignsOfLife:
    """Who reads on in a file is alive, until it has been read so often that it must be a loop."""

    def __init__(self, worker: _Worker, size: int) -> None:
        self._worker = worker
        self._bytes_left = _MOST_PASSES * size
        self._last = time.monotonic()

    def read(self, count: int) -> None:
        """So many bytes have been read."""
        self._bytes_left -= count
        if self._bytes_left > 0:
            self.give()

    def give(self) -> None:
        """Say so, but not all the time."""
        if time.monotonic() - self._last > _SIGN_S:
            self._worker.send(Kind.ALIVE)
            self._last = time.monotonic()


class _LocalFile(io.FileIO):
    """A file that the child opens."""

    def __init__(self, worker: _Worker, path: str) -> None:
        super().__init__(path)
        self.signs = _SignsOfLife(worker, os.fstat(self.fileno()).st_size)

    def readinto(self, target: Any) -> int | None:
        count = super().readinto(target)
        self.signs.read(count or 0)
        return count


class _FileOfWorker(io.RawIOBase):
    """A file that the worker has open, for example a member of an archive, seen through a window of shared memory."""

    def __init__(self, worker: _Worker, number: int, size: int) -> None:
        super().__init__()
        self._worker = worker
        self._window = worker.shared[window(number)]
        self._begin, self._end = 0, min(size, len(self._window))  # what the window shows: the worker fills it first
        self._size = size
        self._position = 0
        self.signs = _SignsOfLife(worker, size)

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
        if self._position >= self._size:
            return 0
        if not self._begin <= self._position < self._end:
            shown = self._worker.ask(Kind.READ, self._position)
            if shown < 0:
                raise OSError("the bytes of the file cannot be read")
            self._begin, self._end = self._position, self._position + shown
        part = self._window[self._position - self._begin : self._end - self._begin][: len(target)]
        memoryview(target)[: len(part)] = part
        self._position += len(part)
        self.signs.read(len(part))
        return len(part)

    def readall(self) -> bytes:
        data = bytearray(max(0, self._size - self._position))
        filled = 0
        while count := self.readinto(memoryview(data)[filled:]):
            filled += count
        return bytes(data[:filled])


class _Handle(io.BufferedReader):
    """What a decoding function reads. It may call `at_work` where it works for long without reading."""

    def __init__(self, file: _LocalFile | _FileOfWorker) -> None:
        super().__init__(file, _BUFFER_BYTES)
        self.at_work = file.signs.give
