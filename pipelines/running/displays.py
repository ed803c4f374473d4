"""Show on standard error, and in the log of the run, how far a job is."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sonogloss.pipelines.running.progress import Tally, Work
from sonogloss.pipelines.running.run_log import log_event
from sonogloss.pipelines.running.terminal import plain

EXAMPLES = 5  # shown as they come
_SAY_EVERY_S, _SAY_AT_LEAST_EVERY_S = 10.0, 300.0


def pause_s(seconds: float) -> float:
    """How long to wait for the next line of a job that has run for some seconds: long jobs need fewer lines."""
    return min(_SAY_AT_LEAST_EVERY_S, max(_SAY_EVERY_S, seconds / 20))


class Display:
    """Shows the tally of a job as long as it is entered: a line that changes on a terminal, else one now and then.

    Args:
        noun: what is counted ("clips").
        work: how much there is to do.
        quiet: show nothing.
    """

    def __init__(self, noun: str, work: Work | None, *, quiet: bool = False) -> None:
        self._noun, self._work, self._quiet = noun, work, quiet
        self._start = self._said = time.monotonic()
        self._examples = 0
        self._bar = _Bar(noun, work) if sys.stderr.isatty() and not quiet else None

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, tally: Tally) -> None:
        """What the workers have noted."""
        now = time.monotonic()
        seconds = now - self._start
        self._show_examples(tally)
        if self._bar is not None:
            self._bar.show(tally, seconds)
        if now - self._said < pause_s(seconds):
            return
        self._said = now
        line = tally.say(self._noun, seconds, self._work)
        log_event("progress", line, level=logging.INFO, **tally.as_json(seconds, self._work))
        if self._bar is None and not self._quiet:
            print(line, file=sys.stderr, flush=True)

    def _show_examples(self, tally: Tally) -> None:
        """The first ones as they come, above the bar."""
        for text in [] if self._quiet else tally.examples[self._examples : EXAMPLES]:
            line = plain(text)
            if self._bar is not None:
                self._bar.print(line)
            else:
                print(line, file=sys.stderr, flush=True)
            self._examples += 1


class _Bar:
    def __init__(self, noun: str, work: Work | None) -> None:
        self._noun, self._work = noun, work
        self._progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task(noun, total=1.0 if work is not None else None)
        self.start: Callable[[], None] = self._progress.start
        self.stop: Callable[[], None] = self._progress.stop

    def print(self, line: str) -> None:
        """A line above the bar."""
        self._progress.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def show(self, tally: Tally, seconds: float) -> None:
        share = tally.share(self._work) if self._work is not None else 0.0
        self._progress.update(self._task, completed=share, description=tally.say(self._noun, seconds, self._work))
