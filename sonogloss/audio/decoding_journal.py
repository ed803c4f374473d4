"""What was being decoded when a worker died: noted before, so that the next run knows a file that kills workers.

A decoder process contains what a file does to it. What is left is a machine or container whose memory ends: the kernel
may then kill the worker with its decoder, and every run would die at the same file. A worker that somebody killed says
nothing about the file: where Linux tells that memory did not run out, the notes of that worker are dropped.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from sonogloss.errors import ClipError, Code

MOST_CRASHES = 2  # a file that was being decoded at so many crashes is not tried again
_UNREADABLE = (OSError, ValueError, LookupError, TypeError)  # it is locked by a living worker, gone, or not a journal
_SUFFIX = ".decoding.jsonl"


class DecodingJournal:
    """A folder with one small file a living worker: a line about the machine, then a line a recording in progress.

    The file of a worker that ends well is removed; those of workers that died stay and are counted by the next ones.
    Remove the folder when the run is complete. Threads may share a journal; each process opens its own.

    Args:
        directory: on a local disk; made when it is missing.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._in_progress: Counter[str] = Counter()
        self._machine = _machine()
        self._crashes = self._count()
        self._path = self._directory / f"{uuid.uuid4().hex}{_SUFFIX}"
        self._file = open(self._path, "w+b", buffering=0)  # noqa: SIM115  # lives as long as the worker
        fcntl.flock(self._file, fcntl.LOCK_EX)  # until this process ends, however it ends
        self._write()

    def crashes(self, key: str) -> int:
        """How many workers died while they decoded this recording, since it was last decoded to its end."""
        return self._crashes[key]

    def check(self, key: str) -> None:
        """Refuse a recording that workers die of.

        Raises:
            ClipError: CRASHED.
        """
        if self.crashes(key) >= MOST_CRASHES:
            raise ClipError(Code.CRASHED, f"{self.crashes(key)} workers died while they decoded this file.")

    def begin(self, key: str) -> None:
        """Note that decoding begins."""
        self._note(key, +1)

    def end(self, key: str) -> None:
        """Note that it is over, or left."""
        self._note(key, -1)

    def clear(self, key: str) -> None:
        """Forget the crashes of a recording that was decoded to its end, good or bad."""
        with self._lock:
            if not self._crashes.pop(key, 0):
                return
        for path in self._directory.glob(f"*{_SUFFIX}"):
            with suppress(*_UNREADABLE), open(path, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lines = [line for line in _lines(file) if line != key]
                file.seek(0)
                file.write("".join(f"{json.dumps(line)}\n" for line in lines).encode())
                file.truncate()

    def close(self) -> None:
        """This worker ends well."""
        with self._lock:
            if not self._file.closed:
                self._path.unlink(missing_ok=True)
                self._file.close()

    def _note(self, key: str, change: int) -> None:
        with self._lock:
            self._in_progress[key] += change
            self._in_progress += Counter()  # drops zeros
            self._write()

    def _write(self) -> None:
        lines = [json.dumps(self._machine), *map(json.dumps, self._in_progress)]
        content = "".join(f"{line}\n" for line in lines).encode()
        with suppress(OSError):  # a disk that is full is for the writer of rows to tell
            os.pwrite(self._file.fileno(), content, 0)
            os.ftruncate(self._file.fileno(), len(content))

    def _count(self) -> Counter[str]:
        crashes: Counter[str] = Counter()
        for path in self._directory.glob(f"*{_SUFFIX}"):
            with suppress(*_UNREADABLE), open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                machine, *keys = _lines(file)
                if keys and _may_be_their_fault(machine, self._machine):
                    crashes.update(keys)
                else:
                    path.unlink()
        return crashes


def _lines(file: IO[bytes]) -> list[Any]:
    return [json.loads(line) for line in file]


def _may_be_their_fault(then: dict[str, Any], now: dict[str, Any]) -> bool:
    """Could a worker have died of a file? Not if memory never ran out on its machine since it began."""
    return then["out_of_memory"] is None or then != now


def _machine() -> dict[str, Any]:
    """This machine since it started, and how often its memory ran out; None where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return {"boot": boot, "out_of_memory": int(counts["oom_kill"])}
    except (OSError, ValueError, KeyError):
        return {"boot": None, "out_of_memory": None}
