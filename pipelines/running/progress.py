"""Live progress of a job on this machine: workers append to a file, the driver follows it while the job runs.

Beam's own metrics exist only when a local job is over, and counters in memory do not reach other processes; a file
does.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sonogloss.errors import InputError, SonoglossError
from sonogloss.pipelines.running.beam_options import from_worker, is_local
from sonogloss.pipelines.running.signals import cleaning
from sonogloss.pipelines.running.worker_processes import Workers
from sonogloss.transforms.progress_file import read_failure

_LOOK_EVERY_S = 0.25
_SAY_EVERY_S = 10.0
_WATCH_EVERY_S = 1.0
_ENDS_AFTER_FAILURE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What there is to do: units of work and, where known, their bytes; `before` were done by an earlier run."""

    units: int
    noun: str = "units"
    size: int | None = None
    before: int = 0


@dataclass
class Tally:
    """What the workers have noted so far: records done and failed, units of work finished, and their bytes.

    `total` is how many records there are, where a step has counted them, and `counted` the moment it did.
    """

    done: int = 0
    failed: int = 0
    units: int = 0
    size: int = 0
    total: int | None = None
    counted: float = 0.0

    def say(self, noun: str, seconds: float, work: Work | None) -> str:
        """One line for a person."""
        words = [f"{self.done:,} {noun}", f"{self.done / max(seconds, 1e-9):,.1f} a second"]
        if self.failed:
            words.append(f"{self.failed:,} failed")
        if work is not None and work.units:
            words.append(f"{work.before + self.units:,} of {work.before + work.units:,} {work.noun}")
            if work.before:
                words[-1] += f" ({work.before:,} done before)"
            share = self.share(work)
            words.append(f"about {seconds / share * (1 - share):,.0f} s to go" if share else "time to go not known yet")
        if self.total:
            words[0] = f"{self.done:,} of {self.total:,} {noun}"
            if self.done:
                seconds_each = (time.monotonic() - self.counted) / self.done
                words.append(f"about {max(0, self.total - self.done) * seconds_each:,.0f} s to go")
        return ", ".join(words)

    def share(self, work: Work) -> float:
        """How much of the work is done, from 0 to 1: by bytes where they are known."""
        return min(1.0, self.size / work.size if work.size else self.units / max(work.units, 1))


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
            if line.startswith(b"of "):
                self.tally.total = (self.tally.total or 0) + int(line[3:])
                self.tally.counted = self.tally.counted or time.monotonic()
                continue
            done, failed, units, size = (int(word) for word in line.split())
            self.tally.done += done
            self.tally.failed += failed
            self.tally.units += units
            self.tally.size += size
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
    folder = tempfile.mkdtemp(prefix="sonogloss-job-")
    with cleaning(partial(shutil.rmtree, folder, ignore_errors=True)):
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
    pipeline: beam.Pipeline,
    *,
    noun: str,
    path: str | None = None,
    work: Work | None = None,
    quiet: bool = False,
    watch: Callable[[], None] | None = None,
) -> None:
    """Run a pipeline to its end and show how far it is on standard error.

    Args:
        pipeline: built, not yet started.
        noun: what is counted ("clips").
        path: the progress file the transforms were given; None shows nothing.
        work: how much there is to do, for the time that is left.
        quiet: show nothing.
        watch: is called now and then and raises when the job must not go on.

    Raises:
        InputError: a worker met a user's mistake.
        SonoglossError: a worker process died, or a remote job did not end well; its own log says more.
        KeyboardInterrupt: the user had enough; what is committed stays valid.
    """
    failures: list[Exception] = []

    def run() -> None:
        try:
            state = pipeline.run().wait_until_finish()
            if state is not None and state != PipelineState.DONE:
                raise SonoglossError(f"The job ended as {state}; the runner's log says why.")
        except Exception as error:  # noqa: BLE001  # raised again below, in the thread that the user waits for
            failures.append(error)

    thread = threading.Thread(target=run, name="sonogloss-job", daemon=True)
    display: _Display = _display(noun, work) if path is not None and not quiet else _Nothing()
    tail = Tail(path) if path is not None else None
    with Workers() as workers, display:
        thread.start()
        looked, failed_at = time.monotonic(), 0.0
        while thread.is_alive():
            thread.join(_LOOK_EVERY_S)
            if tail is not None:
                display.show(tail.look())
            if time.monotonic() - looked >= _WATCH_EVERY_S:
                looked = time.monotonic()
                if path is not None and (sentence := read_failure(path)) is not None:
                    failed_at = failed_at or looked
                    if (
                        looked - failed_at >= _ENDS_AFTER_FAILURE_S
                    ):  # Beam waits for its other workers, perhaps for ever
                        raise InputError(sentence, "")
                workers.look()
                if watch is not None:
                    watch()
    if failures:
        raise from_worker(failures[0]) or failures[0]


class _Display(Protocol):
    """Shows how far a job is, as long as it is entered."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, tally: Tally) -> None:
        """What the workers have noted."""
        ...


class _Nothing(nullcontext[None]):
    """For a job that is part of another."""

    def show(self, tally: Tally) -> None:
        pass


class _Lines:
    """For a log: a plain line every few seconds."""

    def __init__(self, noun: str, work: Work | None) -> None:
        self._noun, self._work = noun, work
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
            print(tally.say(self._noun, now - self._start, self._work), file=sys.stderr, flush=True)


class _Bar:
    """For a terminal: one line that changes."""

    def __init__(self, noun: str, work: Work | None) -> None:
        self._noun, self._work = noun, work
        self._start = time.monotonic()
        self._progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task(noun, total=1.0 if work is not None else None)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, tally: Tally) -> None:
        words = tally.say(self._noun, time.monotonic() - self._start, self._work)
        share = tally.share(self._work) if self._work is not None else 0.0
        self._progress.update(self._task, completed=share, description=words)


def _display(noun: str, work: Work | None) -> _Lines | _Bar:
    return _Bar(noun, work) if sys.stderr.isatty() else _Lines(noun, work)
