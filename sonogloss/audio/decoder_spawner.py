"""Starting and ending the child processes of decoders."""

from __future__ import annotations

import mmap
import os
import queue
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from functools import cache
from typing import NamedTuple

from sonogloss.audio.decoder_frames import SHARED_BYTES

# Ctrl-C may come while the interpreter starts. The path is the worker's: both must import the same code.
_PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = {path!r}; "
    "from sonogloss.audio.decoder_child import main; main{arguments!r}"
)
# Threads of linear algebra are of no use; memory is kept from file to file instead of being asked for page by page.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}

# libsndfile looks for a file `._` in the working folder, even for what is in memory, and refuses MP3 if it finds one.
_NO_FILES = "/proc"


class Child(NamedTuple):
    """A child process, our ends of its pipes, and the memory that it shares with us."""

    process: subprocess.Popen[bytes]
    requests: int
    responses: int
    printed: int
    shared: mmap.mmap

    def end(self, owner: int) -> None:
        """Kill it, wait for its end, close what connects us. In a forked copy of its worker `owner`: only forget it."""
        if os.getpid() == owner:
            self.process.kill()
            with suppress(subprocess.TimeoutExpired):  # stuck in the kernel, perhaps on a file system that is gone
                self.process.wait(5.0)
        else:
            self.process.returncode = 0
        for pipe in (self.requests, self.responses, self.printed):
            os.close(pipe)
        self.shared.close()

    def how_it_ended(self) -> str:
        """The exit code or the signal."""
        code = self.process.returncode
        if code is None:
            return "no longer answers"
        if code >= 0:
            return f"exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:  # a real-time signal
            return f"signal {-code}"
        return f"{name}, perhaps for lack of memory" if name == "SIGKILL" else name


class Spawner:
    """A thread that starts all children and lives as long as this process.

    The kernel kills a child when the *thread* that started it ends; the threads of a runner come and go.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Future[Child]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="decoder-spawner", daemon=True).start()

    def start(self) -> Child:
        """A new child, and our ends of its pipes: requests, responses and what it prints."""
        job: Future[Child] = Future()
        self._jobs.put(job)
        return job.result()

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job.set_result(_start_child())
            except Exception as error:  # noqa: BLE001  # it belongs to the thread that asked
                job.set_exception(error)


@cache
def spawner(_process: int) -> Spawner:
    """The spawner of this process; threads do not survive a fork."""
    return Spawner()


def _start_child() -> Child:
    with ExitStack() as theirs, ExitStack() as ours:
        requests_in, requests = _pipe(theirs, ours)
        responses, responses_out = _pipe(ours, theirs)
        printed, printed_out = _pipe(ours, theirs)
        for pipe in (requests, responses, printed, printed_out):
            os.set_blocking(pipe, False)  # what a full pipe does not take of the messages of libraries is lost
        shared = os.memfd_create("decoder")
        theirs.callback(os.close, shared)
        os.ftruncate(shared, SHARED_BYTES)
        passed = (requests_in, responses_out, shared, printed)
        path = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(path=path, arguments=(*passed, os.getpid()))],
            stdin=subprocess.DEVNULL,
            stdout=printed_out,
            stderr=printed_out,
            pass_fds=passed,
            cwd=_NO_FILES,
            env={**os.environ, **_ENVIRONMENT},
        )
        ours.pop_all()
        return Child(process, requests, responses, printed, mmap.mmap(shared, SHARED_BYTES))


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    reader.callback(os.close, ends[0])
    writer.callback(os.close, ends[1])
    return ends
