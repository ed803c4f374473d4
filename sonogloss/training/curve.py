"""The loss curve as a picture."""

from __future__ import annotations

import csv
import io

from sonogloss import files
from sonogloss.training.loop import CURVE

PICTURE = "loss.png"


def draw_curve(directory: str, *, title: str) -> None:
    """Draw a run's `loss.csv` as `loss.png` beside it: loss, validation loss and, on an axis of its own, the score."""
    from matplotlib.figure import Figure  # a second to import, for a picture at the end; no window system is touched

    text = files.read_bytes(files.join(directory, CURVE)).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="nats a token", title=title)
    steps, losses = [int(row["step"]) for row in rows], [float(row["loss"]) for row in rows]
    axes.plot(steps, losses, color="0.8", linewidth=0.8, label="loss of a step")
    axes.plot(steps, _smooth(losses), color="C0", label="smoothed")
    handles, labels = axes.get_legend_handles_labels()
    for column, color in (("validation_loss", "C1"), ("score", "C2")):
        seen = [row for row in rows if row[column]]
        if not seen:
            continue
        on = axes if column == "validation_loss" else axes.twinx()
        name = column.replace("_", " ")
        on.set_ylabel("nats a token" if on is axes else name)
        points = [int(row["step"]) for row in seen], [float(row[column]) for row in seen]
        handles += on.plot(*points, color=color, marker="o", markersize=3)
        labels.append(name)
    axes.legend(handles, labels)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=120)
    files.write_bytes(files.join(directory, PICTURE), target.getvalue())


def _smooth(values: list[float], share: float = 0.05) -> list[float]:
    """A running mean that forgets."""
    keep, smoothed = max(share, 1 / max(1, len(values))), list[float]()
    for value in values:
        smoothed.append(value if not smoothed else smoothed[-1] + keep * (value - smoothed[-1]))
    return smoothed
