"""How far a training has come: the last row of its curve, its speed and the time that remains."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta

_EVERY_S = 10.0
_SHORTEST_PAUSE_S = 1.0
_NOT_SHOWN = {"step", "lr", "samples_per_s", "sounds_per_s"}


class StepLog:
    """Prints a line every ten seconds, after a validation, and after the last step, but never two a second.

    Args:
        log: prints a line.
        steps: number of steps of the run.
        first: steps that were done before.
        unit: what the speed counts.
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

    def show(self, row: Mapping[str, str], *, count: int, validated: bool = False) -> None:
        """Report a step: the loss of the line is that of the curve.

        Args:
            row: of the curve.
            count: samples since the last row.
            validated: a validation followed the step.
        """
        self._count += count
        step, now = int(row["step"]), self._clock()
        if now - self._printed < (_SHORTEST_PAUSE_S if validated else _EVERY_S) and step < self._steps:
            return
        self._printed = now
        seconds = max(now - self._began, 1e-9)
        left = timedelta(seconds=round(seconds / (step - self._first) * (self._steps - step)))
        cells = [f"{name.replace('_', ' ')} {cell}" for name, cell in row.items() if cell and name not in _NOT_SHOWN]
        speed = f"{self._count / seconds:,.0f} {self._unit}/s"
        self._log(", ".join([f"step {step:,} of {self._steps:,}: {cells[0]}", *cells[1:], speed, f"{left} left"]))
