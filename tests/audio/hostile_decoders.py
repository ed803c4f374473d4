"""Decoding functions that do what bad files make libraries do. Decoder processes import them by name."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import re
import signal
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile

from sonogloss.audio import Cutting, cut_clips
from sonogloss.errors import ClipError, Code, OptionError
from sonogloss.records import Clip, DeadLetter

ACTED = "/tmp/a-worker-unpickled-something-that-acts"


def echo(handle: IO[bytes], items: Any) -> Iterator[Any]:
    yield from items


def content(handle: IO[bytes], options: Any) -> Iterator[bytes]:
    yield handle.read()


def read_slowly(handle: IO[bytes], passes: int) -> Iterator[int]:
    """Read a file over and over, a piece of 64 kB in 50 ms."""
    for _ in range(passes):
        handle.seek(0)
        while handle.read(1 << 16):
            time.sleep(0.05)
    yield 1


def stubborn(handle: IO[bytes], options: Any) -> Iterator[int]:
    """Goes on when it cannot read, as libraries do that call back into Python."""
    for place in range(0, 1 << 20, 1 << 14):
        with contextlib.suppress(OSError):
            handle.seek(place)
            handle.read(10)
    yield 1


def process_id(handle: IO[bytes], options: Any) -> Iterator[int]:
    yield os.getpid()


def walk(handle: IO[bytes], places: Any) -> Iterator[tuple[bytes, int]]:
    """Bytes at (offset, whence, size)."""
    for offset, whence, size in places:
        handle.seek(offset, whence)
        yield handle.read(size), handle.tell()


def blocks(handle: IO[bytes], options: Any) -> Iterator[np.ndarray[Any, Any]]:
    """`(count, floats a block, file that says how many have been made)`."""
    count, size, progress = options
    with open(progress, "w") as file:
        for number in range(count):
            file.seek(0)
            file.write(str(number))
            file.flush()
            yield np.full(size, number, dtype=np.float32)


def sound(handle: IO[bytes], options: Any) -> Iterator[np.ndarray[Any, Any]]:
    """What libsndfile makes of a file, whatever it announces."""
    with soundfile.SoundFile(handle) as file:
        while len(block := file.read(1 << 14, dtype="float32", always_2d=True)):
            yield block


def records(handle: IO[bytes], options: Any) -> Iterator[Any]:
    yield Clip(
        clip_id="0",
        uri="a",
        member=None,
        start_s=0.0,
        end_s=1.0,
        duration_s=1.0,
        sample_rate=4,
        channels=1,
        samples=np.arange(4, dtype=np.float32),
        audio_sha256="",
        flags=("SHORT",),
    )
    yield DeadLetter(clip_id=None, uri="a", member=None, stage="s", code="C", message="m")


def misbehave(handle: IO[bytes], deed: str) -> Iterator[Any]:
    """One good block, then the deed. In one function, so that one pool sees all of them."""
    yield np.zeros(4, dtype=np.float32)
    yield from DEEDS[deed](handle)


def decode_clips_or_obey(handle: IO[bytes], cutting: Cutting) -> Iterator[Any]:
    """The clips of a recording; of a file that begins with `deed`, what it orders, perhaps after the clips it holds."""
    head = handle.read(40)
    handle.seek(0)
    if not head.startswith(b"deed "):
        yield from cut_clips(handle, cutting)
        return
    deed = head.split()[1].decode()
    if deed.endswith("_after"):
        yield from cut_clips(io.BytesIO(handle.read()[len(f"deed {deed} ") :]), cutting)
    yield from DEEDS[deed.removesuffix("_after")](handle)


def crash_once(handle: IO[bytes], marker: str) -> Iterator[int]:
    yield 0
    yield 1
    if not Path(marker).exists():
        Path(marker).touch()
        os._exit(3)
    yield 2


def _good(handle: IO[bytes]) -> Iterator[Any]:
    yield 1


def _sleep(handle: IO[bytes]) -> Iterator[Any]:
    time.sleep(1000)
    yield


def _spin_in_c(handle: IO[bytes]) -> Iterator[Any]:
    re.match(r"(a+)+$", "a" * 60 + "b")  # years, without giving up the interpreter lock
    yield


def _only_alive(handle: IO[bytes]) -> Iterator[Any]:
    while True:
        time.sleep(0.01)
        yield None


def _slowly_alive(handle: IO[bytes]) -> Iterator[Any]:
    for _ in range(6):
        time.sleep(0.1)
        yield None
    yield 1


def _at_work(handle: Any) -> Iterator[Any]:
    for _ in range(8):
        time.sleep(0.1)
        handle.at_work()
    yield 1


def _exit(handle: IO[bytes]) -> Iterator[Any]:
    os._exit(1)
    yield


def _system_exit(handle: IO[bytes]) -> Iterator[Any]:
    sys.exit(5)
    yield


def _segfault(handle: IO[bytes]) -> Iterator[Any]:
    ctypes.string_at(0)
    yield


def _kill(handle: IO[bytes]) -> Iterator[Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield


def _stop(handle: IO[bytes]) -> Iterator[Any]:
    os.kill(os.getpid(), signal.SIGSTOP)
    yield


def _allocate(handle: IO[bytes]) -> Iterator[Any]:
    held = []
    while True:
        held.append(np.ones(1 << 20))
        yield None


def _one_large_array(handle: IO[bytes]) -> Iterator[Any]:
    yield np.ones(1 << 34, dtype=np.uint8)


def _print(handle: IO[bytes]) -> Iterator[Any]:
    for number in range(10_000):
        _print_as_c_does(b"x" * 1000 + b" %d\n" % number)
        sys.stdout.write(f"and through Python {number}\n")
    yield 1


def _print_and_fail(handle: IO[bytes]) -> Iterator[Any]:
    _print_as_c_does(b"first line\n[mpg123] error: \x1b[31mgiving up \xff resync\n\n")
    raise ClipError(Code.UNSUPPORTED, "Not a sound.", 7)
    yield


def _print_for_ever(handle: IO[bytes]) -> Iterator[Any]:
    while True:
        _print_as_c_does(b"x" * 4096)
    yield


def _close_output(handle: IO[bytes]) -> Iterator[Any]:
    os.close(1)
    os.close(2)
    time.sleep(1000)
    yield


def _clip_error(handle: IO[bytes]) -> Iterator[Any]:
    yield 1
    raise ClipError(Code.CORRUPT, "Broken.", 99)


def _option_error(handle: IO[bytes]) -> Iterator[Any]:
    raise OptionError("--window 7 is too long.", "Give less.")
    yield


def _other_error(handle: IO[bytes]) -> Iterator[Any]:
    raise KeyError("frame")
    yield


def _something_that_acts(handle: IO[bytes]) -> Iterator[Any]:
    yield Acts()


def _garbage(handle: IO[bytes]) -> Iterator[Any]:
    _to_the_worker(np.random.default_rng(0).bytes(1 << 16))
    time.sleep(1000)
    yield


def _announce_too_much(handle: IO[bytes]) -> Iterator[Any]:
    _to_the_worker(struct.pack("<BIIqQ", 2, 1, 1, -1, 1 << 60))
    time.sleep(1000)
    yield


def _beyond_shared_memory(handle: IO[bytes]) -> Iterator[Any]:
    _to_the_worker(struct.pack("<BIIqQ", 2, 1, 1, 8 << 20, 1) + b"N")
    time.sleep(1000)
    yield


def _unknown_kind(handle: IO[bytes]) -> Iterator[Any]:
    _to_the_worker(struct.pack("<BIIq", 77, 2, 0, -1) + b"N.")
    time.sleep(1000)
    yield


def _to_the_worker(data: bytes) -> None:
    """Write to the pipe of answers, as a decoder that was taken over could."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        writable = number > 2 and os.path.exists(f"/proc/self/fd/{number}") and not _reads(number)
        if writable and stat.S_ISFIFO(os.fstat(number).st_mode):
            os.write(number, data)


def _reads(number: int) -> bool:
    flags = next(line for line in Path(f"/proc/self/fdinfo/{number}").read_text().splitlines() if "flags" in line)
    return int(flags.split()[1], 8) & os.O_ACCMODE == os.O_RDONLY


def _print_as_c_does(data: bytes) -> None:
    """A library does not look whether its message could be written."""
    ctypes.CDLL(None).write(2, data, len(data))


class Acts:
    """Runs a program when it is unpickled without care."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {ACTED}",)


DEEDS = {name.removeprefix("_"): deed for name, deed in list(globals().items()) if name.startswith("_")}
