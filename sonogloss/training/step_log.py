"""How far a training has come: its loss, its speed and the time that remains, a line at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

_EVERY_S = 10.0
_SHORTEST_PAUSE_S = 1.0


class StepLog:
    """Prints a line every ten seconds, after a validation, and after the last step, but never two a second.

    Args:
        log: prints a line.
        steps: number of steps of the run.
        first: steps that were done before.
        unit: what speed counts, `samples`.
        clock: seconds; another one in tests.
    """

    def __init__(
        self,
        log: Callable[[str], None],
        steps: int,
        first: int = 0,
        *,
        unit: str = "samples",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._steps, self._first, self._unit, self._clock = log, steps, first, unit, clock
        self._began = self._printed = clock()
        self._count = 0

    def show(self, step: int, text: str, *, count: int, validated: bool = False) -> None:
        """Report a step.

        Args:
            step: steps done.
            text: what the line says of it.
            count: samples of this step.
            validated: a validation followed this step.
        """
        self._count += count
        now = self._clock()
        pause = now - self._printed
        due = pause >= (_SHORTEST_PAUSE_S if validated else _EVERY_S)
        if not due and step < self._steps:
            return
        self._printed = now
        seconds = max(now - self._began, 1e-9)
        left = timedelta(seconds=round(seconds / (step - self._first) * (self._steps - step)))
        self._log(f"step {step:,} of {self._steps:,}: {text}, {self._count / seconds:,.0f} {self._unit}/s, {left} left")
