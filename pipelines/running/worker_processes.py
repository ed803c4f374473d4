"""The processes that a job has started on this machine: are they alive, and end them.

Beam's local runner waits for ever for a worker process that was killed or stopped.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from sonogloss.errors import SonoglossError
from sonogloss.pipelines.running.signals import cleaning

_WORKER = b"worker_main"  # ours, and Beam's own sdk_worker_main
_DIED = re.compile(r"Worker subprocess exited with return code (-?\d+)")
_GOES_ON = "what is committed stays valid, the same command continues."
STOPPED_FOR_S = 20.0
_ENDS_WITHIN_S = 1.0  # a job that ends by itself needs no warning

_deaths: list[str] = []
_others: list[Callable[[threading.ExceptHookArgs], object]] = []


def children() -> dict[int, str]:
    """The processes below this one, and their states as the kernel names them (`R`, `S`, `T` stopped, `Z` ended).

    Empty where there is no /proc to ask.
    """
    parents: dict[int, list[int]] = {}
    states: dict[int, str] = {}
    for name in _listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat") as handle:
                fields = handle.read().rpartition(")")[2].split()
                states[int(name)] = fields[0]
                parents.setdefault(int(fields[1]), []).append(int(name))
    found: dict[int, str] = {}
    ahead = [os.getpid()]
    while ahead:
        for pid in parents.get(ahead.pop(), []):
            found[pid] = states[pid]
            ahead.append(pid)
    return found


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


class Workers:
    """Looks after Beam's worker processes while a job runs, and ends those that are left."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._before = set(children())
        self._stopped: dict[int, float] = {}
        self._died: float | None = None

    def __enter__(self) -> Workers:
        _listen_to_threads()
        _deaths.clear()
        self._cleaning = cleaning(self._end)
        self._cleaning.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleaning.__exit__(kind, error, trace)

    def look(self) -> None:
        """Raise when a worker process has died, or has been stopped for long.

        Raises:
            SonoglossError: the job would wait for ever.
        """
        now = time.monotonic()
        found = children()
        self._seen |= {pid for pid in found.keys() - self._seen - self._before if _is_worker(pid)}
        self._stopped = {pid: self._stopped.get(pid, now) for pid in self._seen if found.get(pid) in ("T", "t")}
        self._died = (self._died or now) if _deaths else None
        if self._died is not None and now - self._died >= _ENDS_WITHIN_S:
            raise SonoglossError(f"A worker process {_deaths[0]}; {_GOES_ON}")
        for pid, since in self._stopped.items():
            if now - since >= STOPPED_FOR_S:
                raise SonoglossError(f"The worker process {pid} was stopped for {STOPPED_FOR_S:.0f} s; {_GOES_ON}")

    def _end(self) -> None:
        for pid in self._seen | (children().keys() - self._before):
            if _is_worker(pid):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


def _listen_to_threads() -> None:
    """Beam's thread that waits for a worker process raises when it dies, and nobody but this hook hears it."""
    before = threading.excepthook
    if before is not _hear:
        _others.append(before)
        threading.excepthook = _hear


def _hear(said: threading.ExceptHookArgs) -> None:
    match = _DIED.match(str(said.exc_value))
    if match:
        code = int(match[1])
        _deaths.append(f"was killed (signal {-code})" if code < 0 else f"ended with code {code}")
    else:
        _others[-1](said)


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            return handle.read()
    except OSError:
        return b""


def _is_worker(pid: int) -> bool:
    return _WORKER in _command(pid)
