"""Decoder processes, reused for file after file; a process that is lost costs one file a second try."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import IO, Any

from sonogloss.audio.decoder_frames import clip_error, out_of_memory, unreadable
from sonogloss.audio.decoder_process import DecoderLimits, DecoderLostError, DecoderProcess
from sonogloss.errors import ClipError

DecodeFunction = Callable[[IO[bytes], Any], Iterator[Any]]


class DecoderPool:
    """Runs a decoding function in child processes that can be killed.

    The function takes a seekable binary file and options, and yields items: arrays, records with arrays, plain values.
    Where it works for long without an item it yields None, which shows that it is alive and goes no further. It stands
    in an importable module, and gives the same items each time: after a crash it runs again, and the items that have
    been delivered are dropped.

    A process is started when all others are busy, and kept. Threads may share a pool. Where the system is not Linux the
    function runs in this process, without limits.

    A pickled pool is a name: in each process there is one pool of a function and its limits.

    Args:
        function: what decodes.
        limits: what one file may take.

    Raises:
        ValueError: other processes cannot import the function.
    """

    def __init__(self, function: DecodeFunction, limits: DecoderLimits | None = None) -> None:
        importable = getattr(sys.modules.get(function.__module__), function.__name__, None) is function
        if not importable or function.__module__ == "__main__":
            raise ValueError(f"{function!r} does not stand in an importable module")
        self.processes_started = 0
        self._function = function
        self._limits = limits or DecoderLimits()
        self._idle: list[DecoderProcess] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def __reduce__(self) -> Any:
        return shared_pool, (self._function, self._limits)

    def decode(self, source: str | bytes | IO[bytes], options: Any = None) -> Iterator[Any]:
        """The items of the decoding function for one file, as they come.

        No more than a pipe full of them waits in memory. The process is killed when the iteration is left early.

        Args:
            source: a local path, which the child opens; the content; or a seekable file that is open here, which is
                read as the child asks for it.
            options: second argument of the decoding function; it is pickled.

        Raises:
            ClipError: what the function raised; CORRUPT where it raised something foreign; READ_ERROR; TIMEOUT; LIMIT
                (memory); CRASHED, when the process died on this file, and a fresh one too. Its message ends in what the
                libraries printed last. Items that came before are good.
        """
        if isinstance(source, bytes):
            source = io.BytesIO(source)
        if not isolated():
            yield from _decode_here(self._function, self._limits, source, options)
            return
        delivered = 0
        failure: ClipError | None = None
        for fresh in (False, True):
            process = self._take(fresh=fresh)
            try:
                for number, item in enumerate(process.decode(source, options)):
                    if number == delivered:
                        delivered += 1
                        yield item
                return
            except DecoderLostError as lost:
                failure = lost.failure
            finally:
                self._give_back(process)
        assert failure is not None
        raise failure

    def close(self) -> None:
        """End the idle processes. A pool that is used again starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.kill()

    def _take(self, *, fresh: bool) -> DecoderProcess:
        while not fresh:
            with self._lock:
                if self._owner != os.getpid():  # a fork copies the list, not the right to use it
                    self._idle, self._owner = [], os.getpid()
                process = self._idle.pop() if self._idle else None
            if process is None:
                break
            if process.usable:
                return process
            process.kill()
        process = DecoderProcess(self._function, self._limits)
        with self._lock:
            self.processes_started += 1
        return process

    def _give_back(self, process: DecoderProcess) -> None:
        if process.usable:
            with self._lock:
                self._idle.append(process)
        else:
            process.kill()


@cache
def shared_pool(function: DecodeFunction, limits: DecoderLimits) -> DecoderPool:
    """The pool of this process for a function and its limits."""
    return DecoderPool(function, limits)


def isolated() -> bool:
    """Can decoding run in processes of its own here? It needs a child that dies with its parent, which is Linux's."""
    return sys.platform == "linux" and bool(sys.executable)


def _decode_here(
    function: DecodeFunction, limits: DecoderLimits, source: str | IO[bytes], options: Any
) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            handle = stack.enter_context(open(source, "rb")) if isinstance(source, str) else source
            handle.seek(0)
        except Exception as error:
            raise unreadable(error) from error
        try:
            yield from (item for item in function(handle, options) if item is not None)
        except MemoryError as error:
            raise out_of_memory(limits.memory_bytes) from error
        except Exception as error:
            raise clip_error(error) from error
