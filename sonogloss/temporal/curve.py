"""The curve of a post-training run as a picture."""

from __future__ import annotations

import csv
import io

from sonogloss import files
from sonogloss.temporal.post_train import CURVE

PICTURE = "loss.png"


def draw_curve(directory: str, *, title: str) -> None:
    """Draw `loss.csv` as `loss.png` beside it: each stage's loss and validation loss, and order on its own axis."""
    from matplotlib.figure import Figure  # a second to import, for a picture at the end; no window system is touched

    rows = list(csv.DictReader(io.StringIO(files.read_bytes(files.join(directory, CURVE)).decode())))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step, stage after stage", ylabel="loss in nats", title=title)
    order = axes.twinx()
    order.set(ylabel="share of sequences in the right order", ylim=(0.4, 1.0))
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    for number, stage in enumerate(stages):
        steps = [step for step, row in enumerate(rows, 1) if row["stage"] == stage]
        losses = [float(row["loss"]) for row in rows if row["stage"] == stage]
        axes.plot(steps, losses, color=f"C{number}", linewidth=0.8, label=f"stage {stage}")
    seen = [(step, row) for step, row in enumerate(rows, 1) if row["validation_loss"]]
    if seen:
        steps = [step for step, _ in seen]
        axes.plot(steps, [float(row["validation_loss"]) for _, row in seen], "k.", label="validation loss")
        order.plot(steps, [float(row["validation_order"]) for _, row in seen], color="0.4", marker="o", label="order")
    axes.legend(loc="upper left")
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=120)
    files.write_bytes(files.join(directory, PICTURE), target.getvalue())
