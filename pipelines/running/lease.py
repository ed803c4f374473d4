"""One output, one writer: a file in the output directory says who writes there, and a second job is refused.

The holder renews the file every few seconds. A lease is out of date when its process on this machine is gone, or, of
another machine, when it is no longer renewed. Where a file system cannot create a file exclusively, two jobs that begin
within the same second may both pass; the one that lost notices it when it next looks.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from sonogloss import files
from sonogloss.errors import FormatError, InputError, OutputError
from sonogloss.pipelines.running.remote_job import RemoteJob
from sonogloss.pipelines.running.signals import cleaning

LEASE_FILE = ".sonogloss-lease.json"
RENEW_EVERY_S = 5.0
EXPIRES_AFTER_S = 60.0
WATCH_S = 12.0
"""How long a lease of another machine is watched before it is taken over."""


class Lease:
    """The lease that this job holds; :attr:`lost` says in a sentence that it holds it no longer."""

    def __init__(self, output: str, command: str) -> None:
        self.path = files.join(output, LEASE_FILE)
        self.lost: str | None = None
        self._output = output
        self._content: dict[str, Any] = {
            "format": "sonogloss-lease",
            "command": command,
            "host": _host(),
            "machine": platform.node(),
            "pid": os.getpid(),
            "process": _process(os.getpid()),
            "token": uuid.uuid4().hex,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._renew, name="sonogloss-lease", daemon=True)

    def take(self, *, by_force: bool = False) -> None:
        """Take the lease.

        Args:
            by_force: from whoever holds it.

        Raises:
            OutputError: another job holds it, or the place cannot be written.
        """
        for _ in range(3):
            if files.create_new(self.path, self._bytes()):
                self._thread.start()
                return
            if not by_force:
                refuse_held(self._output)
            files.remove(self.path)
        raise _held(self._output, _read(self.path) or {})

    def note_job(self, job: dict[str, Any], *, alone: bool = False) -> None:
        """From now on the lease is that of a job on other machines, too; `alone` when this process leaves it."""
        with self._lock:
            self._content |= {"job": job, "alone": alone}
            files.overwrite(self.path, self._bytes())

    def release(self) -> None:
        """Remove the lease if it is still ours and nobody else's; a second call does nothing."""
        self._ended.set()
        if self._content.get("alone"):
            return
        with self._lock, suppress(Exception):  # whatever is wrong there, the job has ended
            if self._is_ours(_read(self.path)):
                files.remove(self.path)

    def check(self, *, look: bool = True) -> None:
        """Raise if the lease was lost.

        Args:
            look: now, and do not rely on what was seen when it was last renewed.

        Raises:
            OutputError: the output was removed, or another job took it over.
        """
        if look:
            with self._lock:
                self._look()
        if self.lost:
            raise OutputError(self.lost, "Run the same command again, and leave the directory alone.")

    def watch(self) -> None:
        """Look often at a local file, where that costs nothing; see :meth:`check`."""
        self.check(look=files.local_path(self.path) is not None)

    def _look(self) -> None:
        if self._ended.is_set() or self.lost:
            return
        try:
            content = _read(self.path)
        except Exception:  # noqa: BLE001  # a network that is down for a moment is no lost lease
            return
        if content is None:
            self.lost = f"--output {self._output!r} was removed while the job ran."
        elif not self._is_ours(content):
            self.lost = f"--output {self._output!r} was taken over by another job."

    def _is_ours(self, content: dict[str, Any] | None) -> bool:
        return content is not None and content.get("token") == self._content["token"]

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_EVERY_S):
            with self._lock:
                self._look()
                if self.lost or self._ended.is_set():
                    return
                with suppress(Exception):  # the next time may succeed
                    files.overwrite(self.path, self._bytes())

    def _bytes(self) -> bytes:
        return (json.dumps({**self._content, "renewed": time.time()}) + "\n").encode()


@contextmanager
def lease(output: str, command: str, *, by_force: bool = False) -> Iterator[Lease]:
    """Hold the lease of an output.

    Args:
        output: the directory; it is made if need be.
        command: what the second job is told.
        by_force: take it from whoever holds it.

    Raises:
        OutputError: another job holds it, or the place cannot be written.
    """
    held = Lease(output, command)
    held.take(by_force=by_force)
    with cleaning(held.release):
        yield held


def refuse_held(output: str) -> None:
    """Refuse an output that another job writes; nothing is changed.

    Raises:
        OutputError: there is a lease, and its holder lives.
    """
    path = files.join(output, LEASE_FILE)
    content = _read(path)
    if content is None:
        return
    if "job" in content and RemoteJob(**content["job"]).runs():
        raise _held(output, content)
    if content.get("alone"):
        return
    if content.get("host") == _host():
        holder = _process(int(content.get("pid", 0)))
        if holder is None or content.get("process") != holder:
            return
        raise _held(output, content)
    if abs(time.time() - float(content.get("renewed", 0))) < EXPIRES_AFTER_S:
        raise _held(output, content)
    end = time.monotonic() + WATCH_S  # the clocks of two machines may differ: see whether it is renewed
    while time.monotonic() < end:
        time.sleep(RENEW_EVERY_S / 10)
        now = _read(path)
        if now is None:
            return
        if now != content:
            raise _held(output, content)


def _held(output: str, content: dict[str, Any]) -> InputError:
    if "job" in content:
        job = RemoteJob(**content["job"])
        remedy = "Wait until it ends, or cancel it; or name another directory."
        return OutputError(f"--output {output!r} is being written by {job} since {content.get('since', '?')}.", remedy)
    return OutputError(
        f"--output {output!r} is being written by `sonogloss {content.get('command', '?')}` on "
        f"{content.get('machine', '?')} (process {content.get('pid', '?')}) since {content.get('since', '?')}.",
        "Wait until it ends, name another directory, or write there all the same with --break-lease.",
    )


def _read(path: str) -> dict[str, Any] | None:
    """The content of a lease; None when there is none. One that is just being written is read again."""
    for _ in range(20):
        try:
            content = files.read_json(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except FormatError:
            time.sleep(0.05)
            continue
        return _usable(content)
    return {}


def _usable(content: Any) -> dict[str, Any]:
    """What a lease says, without what it cannot mean: a damaged one names no process and is out of date."""
    kinds = {"pid": int, "renewed": int | float}
    found = content if isinstance(content, dict) else {}
    return {key: value for key, value in found.items() if isinstance(value, kinds.get(key, object))}


def _host() -> str:
    """This machine since it was started, and the container, within which process numbers mean something."""
    said = [platform.node()]
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as handle:
        said.append(handle.read().strip())
    with suppress(OSError):
        said.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(said)


def _process(pid: int) -> str | None:
    """A process by its number and the time it started, for numbers are used again; None when there is none."""
    if pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass  # it lives, and belongs to somebody else
    try:
        with open(f"/proc/{pid}/stat") as handle:
            fields = handle.read().rpartition(")")[2].split()
    except OSError:
        return str(pid)
    return None if fields[0] in "ZX" else f"{pid} {fields[19]}"
