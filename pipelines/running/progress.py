"""Live progress of a job on this machine: workers append to a file, the driver follows it while the job runs.

Beam's own metrics exist only when a local job is over, and counters in memory do not reach other processes; a file
does.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sonogloss.errors import SonoglossError
from sonogloss.pipelines.running.beam_options import from_worker, is_local

_LOOK_EVERY_S = 0.25
_SAY_EVERY_S = 10.0


@dataclass
class Tally:
    """What the workers have noted so far: records done and failed, and units of work finished."""

    done: int = 0
    failed: int = 0
    units: int = 0

    def say(self, noun: str, seconds: float, total_units: int | None) -> str:
        """One line for a person."""
        words = [f"{self.done:,} {noun}", f"{self.done / max(seconds, 1e-9):,.1f} a second"]
        if self.failed:
            words.append(f"{self.failed:,} failed")
        if total_units:
            left = seconds / self.units * (total_units - self.units) if self.units else None
            words.append(f"unit {self.units} of {total_units}")
            words.append(f"about {left:,.0f} s to go" if left is not None else "time to go not known yet")
        return ", ".join(words)


class Tail:
    """Follows a progress file; each look reads only what was appended since the last."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        self.tally = Tally()

    def look(self) -> Tally:
        """Read on and return the sum of all so far. A line that is not finished is left for the next look."""
        with open(self._path, "rb") as handle:
            handle.seek(self._offset)
            whole, newline, _ = handle.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            done, failed, units = (int(word) for word in line.split())
            self.tally.done += done
            self.tally.failed += failed
            self.tally.units += units
        return self.tally


@contextmanager
def progress_file(options: PipelineOptions) -> Iterator[str | None]:
    """A local file for the workers to note in; None where they are on other machines.

    As long as it is there, worker processes on this machine keep their own log to themselves, unless the user asked
    for it.
    """
    if not is_local(options):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="sonogloss-job-") as folder:
        path = os.path.join(folder, "progress")
        with open(path, "wb"):
            pass
        with _quiet_workers(os.path.join(folder, "options.json")):
            yield path


@contextmanager
def _quiet_workers(path: str) -> Iterator[None]:
    """Worker processes read their first options, the log level among them, from a file that the environment names."""
    name = "PIPELINE_OPTIONS_FILE"
    if name in os.environ or logging.getLogger().isEnabledFor(logging.INFO):
        yield
        return
    with open(path, "w", encoding="utf-8") as handle:
        json.dump({"beam:option:default_sdk_harness_log_level:v1": "ERROR"}, handle)
    os.environ[name] = path
    try:
        yield
    finally:
        del os.environ[name]


def run_pipeline(
    pipeline: beam.Pipeline, *, noun: str, path: str | None = None, total_units: int | None = None, quiet: bool = False
) -> None:
    """Run a pipeline to its end and show how far it is on standard error.

    Args:
        pipeline: built, not yet started.
        noun: what is counted ("clips").
        path: the progress file the transforms were given; None shows nothing.
        total_units: how many units of work there are, for the time that is left.
        quiet: show nothing.

    Raises:
        InputError: a worker met a user's mistake.
        SonoglossError: a remote job did not end well; its own log says more.
        KeyboardInterrupt: the user had enough; what is committed stays valid.
    """
    failures: list[Exception] = []

    def work() -> None:
        try:
            state = pipeline.run().wait_until_finish()
            if state is not None and state != PipelineState.DONE:
                raise SonoglossError(f"The job ended as {state}; the runner's log says why.")
        except Exception as error:  # noqa: BLE001  # raised again below, in the thread that the user waits for
            failures.append(error)

    thread = threading.Thread(target=work, name="sonogloss-job", daemon=True)
    display = _display(noun, total_units) if path is not None and not quiet else None
    thread.start()
    if path is None or display is None:
        while thread.is_alive():
            thread.join(_LOOK_EVERY_S)
    else:
        tail = Tail(path)
        with display:
            while thread.is_alive():
                thread.join(_LOOK_EVERY_S)
                display.show(tail.look())
    if failures:
        raise from_worker(failures[0]) or failures[0]


class _Lines:
    """For a log: a plain line every few seconds."""

    def __init__(self, noun: str, total_units: int | None) -> None:
        self._noun, self._total_units = noun, total_units
        self._start = self._said = time.monotonic()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY_S:
            self._said = now
            print(tally.say(self._noun, now - self._start, self._total_units), file=sys.stderr, flush=True)


class _Bar:
    """For a terminal: one line that changes."""

    def __init__(self, noun: str, total_units: int | None) -> None:
        self._noun, self._total_units = noun, total_units
        self._start = time.monotonic()
        self._progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task(noun, total=total_units)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, tally: Tally) -> None:
        words = tally.say(self._noun, time.monotonic() - self._start, None)
        self._progress.update(self._task, completed=tally.units, description=words)


def _display(noun: str, total_units: int | None) -> _Lines | _Bar:
    return _Bar(noun, total_units) if sys.stderr.isatty() else _Lines(noun, total_units)
