"""SIGKILL at random moments for a command that is given again until it ends by itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np


class Killer:
    """Kills a command's process group after random times.

    Args:
        folder: for the command's output and its temporary files; `NOTES` in its environment names a file there.
        kills: how many in all.
        seed: of the times.

    Attributes:
        done: kills so far.
        notes: what the command itself writes of its work.
    """

    def __init__(self, folder: Path, *, kills: int, seed: int) -> None:
        self._folder, self._kills, self._chance = folder, kills, np.random.default_rng(seed)
        self.done = 0
        self.notes = folder / "notes"

    @property
    def goes_on(self) -> bool:
        """Are there kills left?"""
        return self.done < self._kills

    def undisturbed(self, command: Sequence[str]) -> float:
        """Seconds of a run that nobody kills."""
        began = time.perf_counter()
        self._check(self._start(command), None)
        return time.perf_counter() - began

    def until_done(
        self, command: Sequence[str], times: tuple[float, float], killed: Callable[[], None] = lambda: None
    ) -> None:
        """Give the command until it ends by itself.

        Args:
            command: what is run; once all kills are done, nobody disturbs it.
            times: the least and the most seconds until a kill.
            killed: is called after each kill.
        """
        while not self._check(self._start(command), self._chance.uniform(*times) if self.goes_on else None):
            self.done += 1
            killed()

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        shutil.rmtree(self._folder / "tmp", ignore_errors=True)
        (self._folder / "tmp").mkdir()
        environment = {**os.environ, "TMPDIR": str(self._folder / "tmp"), "NOTES": str(self.notes)}
        with (self._folder / "log.txt").open("ab") as sink:
            return subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True, env=environment)

    def _check(self, attempt: subprocess.Popen[bytes], seconds: float | None) -> bool:
        """Wait for the end; False where the attempt was killed."""
        try:
            if attempt.wait(seconds):
                raise SystemExit((self._folder / "log.txt").read_text()[-2000:])
        except subprocess.TimeoutExpired:
            os.killpg(attempt.pid, signal.SIGKILL)
            attempt.wait()
            return False
        return True
