"""How far a training has come, on a clock that the tests turn."""

from __future__ import annotations

import itertools
import re

import pytest

from sonogloss.training.curve import StepLog


class Run:
    """Steps that take a given time each."""

    def __init__(self, steps: int, first: int = 0, **options: str) -> None:
        self.now, self.lines = 0.0, list[str]()
        self._done = first
        self._log = StepLog(self.lines.append, steps, first, clock=lambda: self.now, **options)

    def step(self, seconds: float, *, validated: bool = False, count: int = 4) -> None:
        self.now += seconds
        self._done += 1
        row = {"step": str(self._done), "loss": str(self._done), "score": "", "lr": "1e-3", "samples_per_s": "3"}
        self._log.show(row, count=count, validated=validated)

    @property
    def shown(self) -> list[int]:
        return [int(re.match(r"step ([\d,]+) of", line)[1].replace(",", "")) for line in self.lines]  # type: ignore[index]


def test_slow_steps_are_shown_each_with_the_time_that_remains() -> None:
    run = Run(5)
    for _ in range(5):
        run.step(70.0)
    assert run.lines[0] == "step 1 of 5: loss 1, 0 samples/s, 0:04:40 left"
    assert run.lines[-1] == "step 5 of 5: loss 5, 0 samples/s, 0:00:00 left"
    assert run.shown == [1, 2, 3, 4, 5]


def test_fast_steps_are_shown_every_ten_seconds_and_the_last_always() -> None:
    run = Run(2000)
    for _ in range(2000):
        run.step(1 / 64)
    assert run.shown == [640, 1280, 1920, 2000]
    assert run.lines[0] == "step 640 of 2,000: loss 640, 256 samples/s, 0:00:21 left"


def test_a_validation_is_shown_but_never_two_lines_a_second() -> None:
    run = Run(1000)
    times = []
    for step in range(1, 1001):
        before = len(run.lines)
        run.step(0.25, validated=step % 2 == 0)
        if len(run.lines) > before:
            times.append(run.now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(gaps[:-1]) >= 1.0
    assert max(gaps) <= 1.0
    assert run.shown[0] == 4


def test_a_resumed_run_counts_its_own_steps_only() -> None:
    run = Run(100, first=90)
    run.step(10.0, count=50)
    assert run.lines == ["step 91 of 100: loss 91, 5 samples/s, 0:01:30 left"]


@pytest.mark.parametrize(("remaining", "text"), [(1, "0:00:20"), (200, "1:06:40"), (5000, "1 day, 3:46:40")])
def test_long_runs_show_hours_and_days(remaining: int, text: str) -> None:
    run = Run(remaining + 1, unit="sounds")
    run.step(20.0)
    assert run.lines == [f"step 1 of {remaining + 1:,}: loss 1, 0 sounds/s, {text} left"]


def test_no_time_at_all_divides_by_nothing() -> None:
    run = Run(1)
    run.step(0.0)
    assert run.shown == [1]


def test_a_line_has_all_cells_of_the_row_but_rate_and_speed_of_the_step() -> None:
    lines: list[str] = []
    row = {"stage": "B", "step": "3", "loss": "1.250000", "validation_loss": "2.000000", "validation_order": "0.5000"}
    StepLog(lines.append, 3, 2, unit="sounds", clock=lambda: 0.0).show(row | {"lr": "1", "sounds_per_s": "7"}, count=0)
    words = "stage B, loss 1.250000, validation loss 2.000000, validation order 0.5000"
    assert lines == [f"step 3 of 3: {words}, 0 sounds/s, 0:00:00 left"]
