"""SIGKILL at random moments for a job that is given again until it ends by itself.

Every attempt is a process of its own, forked from one in which everything is imported, so that kills meet work.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

_LOOK_EVERY_S = 0.01


class Killer:
    """Kills the process group of a job after random times.

    Args:
        folder: for the job's log and its temporary files.
        job: takes arguments, returns an exit code, and may write of its work to :attr:`notes`.
        kills: how many in all.
        seed: of the times.

    Attributes:
        done: kills so far.
        notes: a file.
    """

    def __init__(self, folder: Path, job: Callable[[Sequence[str], Path], int], *, kills: int, seed: int) -> None:
        self._folder, self._job, self._kills, self._chance = folder, job, kills, np.random.default_rng(seed)
        self.done = 0
        self.notes = folder / "notes"

    @property
    def goes_on(self) -> bool:
        """Are there kills left?"""
        return self.done < self._kills

    def undisturbed(self, arguments: Sequence[str]) -> float:
        """Seconds of a run that nobody kills."""
        began = time.perf_counter()
        self._attempt(arguments, None)
        return time.perf_counter() - began

    def until_done(
        self, arguments: Sequence[str], times: tuple[float, float], killed: Callable[[], None] = lambda: None
    ) -> None:
        """Run the job until it ends by itself.

        Args:
            arguments: of the job; once all kills are done, nobody disturbs it.
            times: the least and the most seconds until a kill.
            killed: is called after each kill.
        """
        while not self._attempt(arguments, self._chance.uniform(*times) if self.goes_on else None):
            self.done += 1
            killed()

    def _attempt(self, arguments: Sequence[str], seconds: float | None) -> bool:
        """Run the job; False where it was killed."""
        shutil.rmtree(self._folder / "tmp", ignore_errors=True)
        (self._folder / "tmp").mkdir()
        process = os.fork()
        if process == 0:
            self._run(arguments)
        end = None if seconds is None else time.monotonic() + seconds
        while not (found := os.waitpid(process, os.WNOHANG))[0]:
            if end is not None and time.monotonic() > end:
                os.killpg(process, signal.SIGKILL)
                os.waitpid(process, 0)
                return False
            time.sleep(_LOOK_EVERY_S)
        if found[1]:
            raise SystemExit((self._folder / "log.txt").read_text()[-2000:])
        return True

    def _run(self, arguments: Sequence[str]) -> None:
        os.setsid()
        tempfile.tempdir = str(self._folder / "tmp")
        sink = os.open(self._folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(sink, sys.stdout.fileno())
        os.dup2(sink, sys.stderr.fileno())
        try:
            code = self._job(arguments, self.notes)
        except BaseException:  # noqa: BLE001  # whatever ends the job goes to the log
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
