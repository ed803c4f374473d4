"""The loss curve: rows that survive a resume, and the picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.training.curve import CURVE, PICTURE, LossCurve, _smooth, draw_curve, read_table

COLUMNS = ("stage", "step", "loss", "validation_loss", "score")


def curve(directory: Path) -> LossCurve:
    return LossCurve(str(directory / CURVE), COLUMNS)


def filled(directory: Path, stages: str = "AB", steps: int = 5, *, validate: bool = True) -> LossCurve:
    found = curve(directory)
    for stage in stages:
        for step in range(1, steps + 1):
            measured = {"validation_loss": f"{1 / step:.6f}", "score": "0.500000"} if validate and step % 2 == 0 else {}
            found.add(stage=stage, step=str(step), loss=f"{step + ord(stage):.6f}", **measured)
    return found


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    written = filled(tmp_path)
    written.write()
    text = (tmp_path / CURVE).read_text()
    assert text.splitlines()[0] == "stage,step,loss,validation_loss,score"
    assert text.splitlines()[1:3] == ["A,1,66.000000,,", "A,2,67.000000,0.500000,0.500000"]
    assert text.endswith("\n")
    assert read_table(str(tmp_path / CURVE)) == written.rows
    again = curve(tmp_path)
    again.load(5)
    again.write()
    assert (tmp_path / CURVE).read_text() == text


def test_a_resumed_run_takes_the_rows_of_its_stage_up_to_its_step(tmp_path: Path) -> None:
    filled(tmp_path).write()
    resumed = curve(tmp_path)
    resumed.load(5, stage="A")
    resumed.load(3, stage="B")
    assert [(row["stage"], row["step"]) for row in resumed.rows] == [
        *(("A", str(step)) for step in range(1, 6)),
        *(("B", str(step)) for step in range(1, 4)),
    ]
    resumed.load(3, stage="C")
    assert len(resumed.rows) == 8


def test_without_a_file_there_are_no_rows(tmp_path: Path) -> None:
    empty = curve(tmp_path)
    empty.load(9)
    assert empty.rows == []
    assert empty.last("loss", 3) == []
    empty.write()
    assert (tmp_path / CURVE).read_text().count("\n") == 1


@given(
    cells=st.lists(st.tuples(st.sampled_from("AB"), st.none() | st.integers(0, 99)), max_size=30),
    count=st.integers(1, 9),
)
def test_the_last_values_of_a_stage(cells: list[tuple[str, int | None]], count: int) -> None:
    found = LossCurve("nowhere", COLUMNS)
    for stage, value in cells:
        found.add(stage=stage, step="1", **({} if value is None else {"loss": str(value)}))
    for stage in "AB":
        values = [float(value) for own, value in cells if own == stage and value is not None]
        assert found.last("loss", count, stage=stage) == values[-count:]
    assert found.last("loss", count) == [float(value) for _, value in cells if value is not None][-count:]


@pytest.mark.parametrize("stages", ["", "A", "AB"])
@pytest.mark.parametrize("validate", [True, False])
def test_a_picture_is_drawn_of_any_run(tmp_path: Path, stages: str, validate: bool) -> None:
    columns = COLUMNS if stages else COLUMNS[1:]
    found = LossCurve(str(tmp_path / CURVE), columns)
    for row in filled(tmp_path, stages or "A", validate=validate).rows:
        found.add(**{name: row[name] for name in columns})
    found.write()
    draw_curve(str(tmp_path), title="a run")
    height, width, _ = matplotlib.image.imread(tmp_path / PICTURE).shape
    assert (width, height) == (840, 480)


def test_the_picture_shows_the_values_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn: list[tuple[list[float], list[float], str]] = []
    plot = Axes.plot

    def watched(self: Axes, *args: object, **options: object) -> object:
        steps, values = args
        drawn.append((list(steps), list(values), str(options.get("label", ""))))  # type: ignore[call-overload]
        return plot(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Axes, "plot", watched)
    rows = filled(tmp_path)
    rows.write()
    draw_curve(str(tmp_path), title="a run", unit="nats", score="score")
    by_label = {label: (steps, values) for steps, values, label in drawn}
    assert drawn[0][:2] == ([1, 2, 3, 4, 5], rows.last("loss", 5, stage="A"))
    assert by_label["loss of stage B, smoothed"][0] == [6, 7, 8, 9, 10]
    assert by_label["validation loss"] == ([2, 4, 7, 9], [0.5, 0.25, 0.5, 0.25])
    assert by_label["score"] == ([2, 4, 7, 9], [0.5] * 4)


@given(values=st.lists(st.floats(-100, 100), min_size=1, max_size=60))
def test_the_smoothed_curve_is_an_exponential_moving_average(values: list[float]) -> None:
    weight = max(0.05, 1 / len(values))
    expected = [
        values[0] * (1 - weight) ** end
        + sum(weight * (1 - weight) ** (end - at) * values[at] for at in range(1, end + 1))
        for end in range(len(values))
    ]
    assert _smooth(values) == pytest.approx(expected, abs=1e-6)
