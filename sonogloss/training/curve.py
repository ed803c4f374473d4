"""How a run goes: the loss curve, a table that grows with the steps, its picture, and the log of the steps."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from sonogloss import files

CURVE, PICTURE = "loss.csv", "loss.png"
_SMOOTHING = 0.05


class LossCurve:
    """Rows of a csv table, kept in memory until they are written.

    Args:
        path: of the table.
        columns: their names; `step` is one of them.

    Attributes:
        rows: cells by column, as text. A cell without a value is empty.
    """

    def __init__(self, path: str, columns: Sequence[str]) -> None:
        self._path, self._columns = path, tuple(columns)
        self.rows: list[dict[str, str]] = []

    def add(self, **cells: str) -> None:
        """Append a row; columns that are not named stay empty."""
        self.rows.append(dict.fromkeys(self._columns, "") | cells)

    def last(self, column: str, count: int, **equal: str) -> list[float]:
        """The last `count` values of a column in rows with these other cells; empty cells are skipped."""
        found: list[float] = []
        for row in reversed(self.rows):
            if len(found) == count:
                break
            if row[column] and _matches(row, equal):
                found.append(float(row[column]))
        return found[::-1]

    def load(self, last_step: int, **equal: str) -> None:
        """Append the rows on disk up to a step that have these other cells."""
        if files.exists(self._path):
            rows = read_table(self._path)
            self.rows += [row for row in rows if _matches(row, equal) and int(row["step"]) <= last_step]

    def write(self) -> None:
        """Write all rows."""
        lines = [self._columns, *([row[name] for name in self._columns] for row in self.rows)]
        files.write_bytes(self._path, "".join(",".join(cells) + "\n" for cells in lines).encode())


def read_table(path: str) -> list[dict[str, str]]:
    """The rows of a curve on disk."""
    head, *rows = files.read_bytes(path).decode().splitlines()
    return [dict(zip(head.split(","), row.split(","), strict=True)) for row in rows]


def draw_curve(directory: str, *, title: str, unit: str = "nats a token", score: str = "score") -> None:
    """Draw a run's `loss.csv` as `loss.png` beside it.

    Args:
        directory: of the run.
        title: of the picture.
        unit: of the loss.
        score: the column that gets an axis of its own.
    """
    from matplotlib.figure import Figure  # a second to import; opens no window

    rows = read_table(files.join(directory, CURVE))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel=unit, title=title)
    handles = []
    for number, stage in enumerate(dict.fromkeys(row.get("stage", "") for row in rows)):
        points = [(step, float(row["loss"])) for step, row in enumerate(rows, 1) if row.get("stage", "") == stage]
        steps, losses = zip(*points, strict=True)
        axes.plot(steps, losses, color="0.8", linewidth=0.8)
        name = f"loss of stage {stage}, smoothed" if stage else "loss, smoothed"
        handles += axes.plot(steps, _smooth(losses), color=f"C{number}", label=name)
    for column, color in (("validation_loss", "C3"), (score, "C4")):
        measured = [(step, float(row[column])) for step, row in enumerate(rows, 1) if row[column]]
        if not measured:
            continue
        own = axes if column == "validation_loss" else axes.twinx()
        name = column.replace("_", " ")
        if own is not axes:
            own.set_ylabel(name)
        handles += own.plot(*zip(*measured, strict=True), color=color, marker="o", markersize=3, label=name)
    axes.legend(handles=handles)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=120)
    files.write_bytes(files.join(directory, PICTURE), target.getvalue())


def _matches(row: dict[str, str], cells: dict[str, str]) -> bool:
    return all(row[name] == cell for name, cell in cells.items())


def _smooth(values: Sequence[float]) -> list[float]:
    """An exponential moving average."""
    weight, smoothed = max(_SMOOTHING, 1 / len(values)), list[float]()
    for value in values:
        smoothed.append(value if not smoothed else smoothed[-1] + weight * (value - smoothed[-1]))
    return smoothed


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


def print_line(line: str) -> None:
    """Print to standard error at once: what a training logs with, unless told otherwise."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201  # the one place
