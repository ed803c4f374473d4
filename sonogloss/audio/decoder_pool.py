"""Decoder processes, reused for file after file; a process that is lost costs one file a second try."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import IO, Any

from sonogloss.audio.decoder_frames import clip_error, out_of_memory, unreadable
from sonogloss.audio.decoder_process import DecoderLimits, DecoderLostError, DecoderProcess
from sonogloss.audio.decoding_journal import DecodingJournal
from sonogloss.errors import ClipError, SonoglossError

_HELD_BYTES = 4 << 20  # files that somebody else closes are read at once, to be decoded in advance

DecodeFunction = Callable[[IO[bytes], Any], Iterator[Any]]
Source = str | bytes | IO[bytes] | Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodeRequest:
    """A file to decode.

    Attributes:
        source: a local path, which the child opens; the content; a seekable file that is open here at least until the
            next request is asked for; or a function that opens such a file, which is closed when it is decoded.
        options: second argument of the decoding function; it is pickled.
        key: what the journal calls it, the same in every run.
    """

    source: Source
    options: Any = None
    key: str = ""


class DecoderPool:
    """Runs a decoding function in child processes that can be killed.

    The function takes a seekable binary file and options, and yields items: arrays, records with arrays, plain values.
    Where it works for long without an item and without reading on in its file it calls the file's `at_work`, or yields
    None, which shows that it is alive and goes no further. It stands in an importable module, and gives the same items
    each time: after a crash it runs again, and the items that have been delivered are dropped.

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

    def decode(self, source: Source, options: Any = None) -> Iterator[Any]:
        """The items of one file, see :meth:`decode_each`."""
        for items in self.decode_each([DecodeRequest(source=source, options=options)]):
            yield from items

    def decode_each(
        self, requests: Iterable[DecodeRequest], journal: DecodingJournal | None = None
    ) -> Generator[Iterator[Any], None, None]:
        """The items of the decoding function, as they come, file by file.

        While the items of a file are used the child decodes on, into the next file of `requests`: up to eight megabytes
        wait in memory. A file whose items are not used up ends its process.

        Args:
            requests: the files; asked for one in advance, but not while a long file is open.
            journal: is told what is being decoded, and refuses what workers have died of.

        Yields:
            For each file an iterator, to be used before the next is asked for. It raises ClipError: what the function
            raised; CORRUPT where it raised something foreign; READ_ERROR; TIMEOUT; LIMIT (memory); CRASHED, when the
            process died on this file, and a fresh one too. The message ends in what libraries printed last. Items that
            came before are good.
        """
        if not isolated():
            for request in requests:
                yield _decode_here(self._function, self._limits, request, journal)
            return
        upcoming = map(_held, requests)
        current = next(upcoming, None)
        decoder = _Decoder(self, journal)
        try:
            while current is not None:
                in_advance = isinstance(current.source, str | bytes) or callable(current.source)
                following = next(upcoming, None) if in_advance else None
                yield decoder.items(current, following)
                current = following if in_advance else next(upcoming, None)
        finally:
            decoder.leave()

    @contextmanager
    def started_ahead(self) -> Iterator[None]:
        """Start a process in a thread, so that it is there when the first file comes; end the idle ones at the end."""
        thread = threading.Thread(target=self._start_one, name="decoder-start", daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join()
            self.close()

    def _start_one(self) -> None:
        if isolated():
            with suppress(RuntimeError, OSError):  # whoever needs a process meets the error again
                self.give_back(self.take(fresh=False))

    def close(self) -> None:
        """End the idle processes. A pool that is used again starts new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.kill()

    def take(self, *, fresh: bool) -> DecoderProcess:
        """A process for one thread to use, to be given back."""
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

    def give_back(self, process: DecoderProcess) -> None:
        """Keep a process for the next, or end it when it is not done."""
        if process.usable:
            with self._lock:
                self._idle.append(process)
        else:
            process.kill()


class _Decoder:
    """One process at a time, the one or two files that are requested of it, and their notes in the journal."""

    def __init__(self, pool: DecoderPool, journal: DecodingJournal | None) -> None:
        self._pool = pool
        self._journal = journal
        self._process: DecoderProcess | None = None
        self._requested: list[tuple[DecodeRequest, ExitStack]] = []

    def items(self, request: DecodeRequest, following: DecodeRequest | None) -> Iterator[Any]:
        """The items of a file, tried twice; at the first try the following one is requested too."""
        if self._requested and self._requested[0][0] is not request:  # the one before was left in the middle
            self.leave()
        if self._journal is not None:
            self._journal.check(request.key)
        delivered = 0
        failure: ClipError | None = None
        for fresh in (False, True):
            try:
                for number, item in enumerate(self._try(request, None if fresh else following, fresh=fresh)):
                    if number == delivered:
                        delivered += 1
                        yield item
            except DecoderLostError as lost:
                failure = lost.failure
                self.leave()
            except SonoglossError:
                self._finish(request)
                raise
            else:
                self._finish(request)
                return
        assert failure is not None
        raise failure

    def leave(self) -> None:
        """Part with the process; what it has not finished ends it."""
        if self._process is not None:
            self._pool.give_back(self._process)
            self._process = None
        while self._requested:
            self._end(to_its_end=False)

    def _try(self, request: DecodeRequest, following: DecodeRequest | None, *, fresh: bool) -> Iterator[Any]:
        if self._process is None:
            self._process = self._pool.take(fresh=fresh)
        if not self._requested:
            self._request(self._process, request)
        if following is not None and not self._suspected(request) and not self._suspected(following):
            with suppress(SonoglossError):  # when its turn comes
                self._request(self._process, following)
        return self._process.items()

    def _request(self, process: DecoderProcess, request: DecodeRequest) -> None:
        with ExitStack() as stack:
            source = _opened(request.source, stack)
            if self._journal is not None:
                self._journal.begin(request.key)
                stack.callback(self._journal.end, request.key)
            if process.submit(source, request.options):
                self._requested.append((request, stack.pop_all()))

    def _suspected(self, request: DecodeRequest) -> bool:
        """Was it being decoded when a worker died? Then it is decoded alone, so that no other is blamed for it."""
        return self._journal is not None and self._journal.crashes(request.key) > 0

    def _finish(self, request: DecodeRequest) -> None:
        """The file is over, with or without an error."""
        if self._requested and self._requested[0][0] is request:
            self._end(to_its_end=True)
        if self._process is not None and not self._process.alive:
            self.leave()

    def _end(self, *, to_its_end: bool) -> None:
        request, stack = self._requested.pop(0)
        if to_its_end and self._journal is not None:
            self._journal.clear(request.key)
        with nullcontext() if to_its_end else suppress(SonoglossError):
            stack.close()  # a file may tell only now that it could not be read


@cache
def shared_pool(function: DecodeFunction, limits: DecoderLimits) -> DecoderPool:
    """The pool of this process for a function and its limits."""
    return DecoderPool(function, limits)


def isolated() -> bool:
    """Can decoding run in processes of its own here? It needs a child that dies with its parent, which is Linux's."""
    return sys.platform == "linux" and bool(sys.executable)


def _held(request: DecodeRequest) -> DecodeRequest:
    """The request of a short open file with its content instead: it may be closed."""
    source = request.source
    if isinstance(source, str | bytes) or callable(source):
        return request
    with suppress(Exception):  # which comes again when it is decoded
        size = source.seek(0, os.SEEK_END)
        if size <= _HELD_BYTES:
            source.seek(0)
            content = source.read(size)
            return replace(request, source=content) if len(content) == size else request
    return request


def _opened(source: Source, stack: ExitStack) -> str | IO[bytes]:
    """A path or an open file; what is opened here is closed by the stack."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not callable(source):
        return source
    try:
        return stack.enter_context(source())
    except Exception as error:
        raise unreadable(error) from error


def _decode_here(
    function: DecodeFunction, limits: DecoderLimits, request: DecodeRequest, journal: DecodingJournal | None
) -> Iterator[Any]:
    with ExitStack() as stack:
        if journal is not None:
            journal.check(request.key)
            journal.begin(request.key)
            stack.callback(journal.end, request.key)
        source = _opened(request.source, stack)
        try:
            handle = stack.enter_context(open(source, "rb")) if isinstance(source, str) else source
            handle.seek(0)
        except Exception as error:
            raise unreadable(error) from error
        try:
            yield from (item for item in function(handle, request.options) if item is not None)
        except MemoryError as error:
            raise out_of_memory(limits.memory_bytes) from error
        except Exception as error:
            raise clip_error(error) from error
    if journal is not None:
        journal.clear(request.key)
