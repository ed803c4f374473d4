"""The processes that a job has started on this machine: are they alive, and end them.

Beam's local runner waits for ever for a worker process that was killed or stopped.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sonogloss.errors import SonoglossError
from sonogloss.pipelines.running.signals import cleaning

_BEAM_WORKER = b"sdk_worker_main"
_STOPPED_FOR_S = 20.0
_ENDS_WITHIN_S = 5.0


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


def end(pids: set[int]) -> None:
    """Kill processes of ours; those that have ended are left alone."""
    for pid in pids & children().keys():
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def owned() -> Iterator[None]:
    """Whatever worker process Beam starts in here has ended afterwards."""
    before = set(children())

    def end_new() -> None:
        end({pid for pid in children().keys() - before if _is_worker(pid)})

    with cleaning(end_new):
        yield


class Watch:
    """Looks after Beam's worker processes while a job runs."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._since: dict[int, float] = {}

    def look(self) -> None:
        """Raise when a worker process has died, or has been stopped for long.

        Beam ends its workers at the end of a job: only a worker whose end is not followed by the job's is missed.

        Raises:
            SonoglossError: the job would wait for ever.
        """
        now = time.monotonic()
        found = children()
        self._seen |= {pid for pid in found.keys() - self._seen if _is_worker(pid)}
        gone = {pid for pid in self._seen if found.get(pid, "Z") in "ZX"}
        stopped = {pid for pid in self._seen if found.get(pid) in ("T", "t")}
        self._since = {pid: self._since.get(pid, now) for pid in gone | stopped}
        for pid, since in self._since.items():
            if pid in gone and now - since > _ENDS_WITHIN_S:
                raise SonoglossError(
                    f"The worker process {pid} died (killed, or out of memory); what is committed stays valid, the same "
                    "command continues."
                )
            if pid in stopped and now - since > _STOPPED_FOR_S:
                raise SonoglossError(
                    f"The worker process {pid} was stopped for {_STOPPED_FOR_S:.0f} s; what is committed stays valid, "
                    "the same command continues."
                )


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            return handle.read()
    except OSError:
        return b""


def _is_worker(pid: int) -> bool:
    return _BEAM_WORKER in _command(pid)
