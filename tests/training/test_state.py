"""A run's state: an interrupted run ends like one without a break, wherever it was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sonogloss.errors import ModelFormatError, OptionError
from sonogloss.training.curve import LossCurve
from sonogloss.training.state import (
    Progress,
    TrainingState,
    dropout_seed,
    parameter_groups,
    read_tensors,
    trainable_parameters,
    write_tensors,
)

STEPS = 6
COLUMNS = ("step", "loss", "validation_loss")


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Dropout(0.5), nn.Linear(4, 1))


def state_of(directory: Path, network: nn.Module, digest: str = "run", **options: Any) -> TrainingState:
    parameters = trainable_parameters(net=network)
    optimizer = torch.optim.AdamW(parameter_groups(parameters.values(), 0.1), lr=0.1)
    curve = LossCurve(str(directory / "loss.csv"), COLUMNS)
    return TrainingState(str(directory), digest, parameters, optimizer, curve, **options)


def train(directory: Path, steps: int = STEPS, *, resume: bool = False, save_every: int = 1) -> TrainingState:
    """A run whose batches and dropout follow from the step; validation prefers an early step."""
    network = model()
    state = state_of(directory, network)
    if resume:
        state.resume()
    for step in range(state.progress.step, steps):
        torch.manual_seed(dropout_seed(7, step, 0))
        batch = torch.randn(5, 3)
        state.set_learning_rate(0.1 / (step + 1))
        loss = (network(batch) - batch[:, :1]).square().mean()
        loss.backward()
        state.update(step, loss.item(), grad_clip=0.5)
        done = step + 1
        state.keep_if_best(done, abs(done - 3) + 0.5)
        state.curve.add(step=f"{done}", loss=f"{loss.item():.6f}")
        if done % save_every == 0 or done == steps:
            state.save(done)
    return state


def copies(state: TrainingState) -> dict[str, torch.Tensor]:
    found = {name: parameter.detach().clone() for name, parameter in state.parameters.items()}
    return found | {f"best/{name}": tensor.clone() for name, tensor in state.best.items()}


@pytest.mark.parametrize("stop", range(1, STEPS))
@pytest.mark.parametrize("save_every", [1, 2])
def test_a_run_interrupted_after_any_step_ends_with_the_same_bits(tmp_path: Path, stop: int, save_every: int) -> None:
    whole = train(tmp_path / "whole")
    train(tmp_path / "cut", stop, save_every=save_every)
    resumed = train(tmp_path / "cut", resume=True)
    expected, found = copies(whole), copies(resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert resumed.progress == whole.progress == Progress(step=STEPS, best_loss=0.5, best_step=3)
    assert (tmp_path / "cut" / "loss.csv").read_bytes() == (tmp_path / "whole" / "loss.csv").read_bytes()


def test_rows_after_the_last_checkpoint_are_cut_off(tmp_path: Path) -> None:
    train(tmp_path, 2)
    with (tmp_path / "loss.csv").open("a") as handle:
        handle.write("3,9.0,\n")  # a step whose checkpoint was not written
    state = state_of(tmp_path, model())
    assert state.resume()
    assert [row["step"] for row in state.curve.rows] == ["1", "2"]


def test_the_curve_is_written_before_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between the two leaves a row too many, which resuming cuts off, and never one too few."""

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    train(tmp_path, 2)
    monkeypatch.setattr("sonogloss.training.state.write_tensors", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, 3, resume=True)
    monkeypatch.undo()
    assert len((tmp_path / "loss.csv").read_text().splitlines()) == 4
    assert len(train(tmp_path, resume=True).curve.rows) == STEPS


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path: Path) -> None:
    state = state_of(tmp_path, model())
    assert not state.resume()
    assert state.progress == Progress()


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    train(tmp_path, 1)
    before = {name: parameter.clone() for name, parameter in model().named_parameters()}
    network = model()
    with pytest.raises(OptionError, match="other settings or data"):
        state_of(tmp_path, network, digest="another run").resume()
    assert all(torch.equal(parameter, before[name]) for name, parameter in network.named_parameters())
    with pytest.raises(ModelFormatError, match="weights of another model"):
        state_of(tmp_path, nn.Linear(3, 4)).resume()
    path = str(tmp_path / "checkpoint.safetensors")
    tensors, metadata = read_tensors(path)
    for missing in metadata:
        rest = {name: text for name, text in metadata.items() if name != missing}
        write_tensors(path, tensors, rest)
        with pytest.raises(ModelFormatError, match="not a checkpoint"):
            state_of(tmp_path, model()).resume()
    write_tensors(path, tensors, metadata | {"progress": '{"steps": 1}'})
    with pytest.raises(ModelFormatError, match="not a checkpoint"):
        state_of(tmp_path, model()).resume()


def test_a_checkpoint_of_the_first_release_is_read(tmp_path: Path) -> None:
    """Names and metadata as they were written then; safetensors itself writes the file."""
    whole = train(tmp_path / "whole", 1)
    tensors = {f"now/{name}": parameter.detach() for name, parameter in whole.parameters.items()}
    for name, parameter in whole.parameters.items():
        held = whole._optimizer.state[parameter]
        tensors |= {f"optimiser/{key}/{name}": held[key] for key in ("step", "exp_avg", "exp_avg_sq")}
    progress = '{"step": 1, "best_loss": null, "best_score": null, "best_step": null}'
    content = safetensors.torch.save(tensors, {"progress": progress, "scaler": "{}", "run": "run"})
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "checkpoint.safetensors").write_bytes(content)
    resumed = train(tmp_path / "old", resume=True)
    expected = copies(train(tmp_path / "again"))
    for name, tensor in copies(resumed).items():
        assert torch.equal(tensor, expected[name]) or name.startswith("best/")


def test_only_the_main_process_writes(tmp_path: Path) -> None:
    network = model()
    state = state_of(tmp_path / "run", network, is_main_process=False)
    state.curve.add(step="1", loss="1.0")
    network(torch.ones(1, 3)).sum().backward()
    with pytest.raises(OptionError, match="no longer finite"):
        state.update(0, float("nan"))
    state.save(1)
    assert state.progress.step == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("limit", [0.0, 1e-3, 1e3])
def test_gradients_are_clipped_to_their_norm(tmp_path: Path, limit: float) -> None:
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    state = TrainingState(str(tmp_path), "", {"w": weight}, optimizer, LossCurve(str(tmp_path / "c"), COLUMNS))
    weight.grad = torch.tensor([0.6, -0.8])
    state.update(0, 1.0, grad_clip=limit)
    shrunk = min(1.0, limit) if limit else 1.0
    assert torch.allclose(weight.detach(), torch.tensor([3.0 - 0.6 * shrunk, 4.0 + 0.8 * shrunk]), atol=1e-5)
    assert weight.grad is None


@pytest.mark.parametrize(("loss", "gradient"), [(float("nan"), 1.0), (float("inf"), 1.0), (1.0, float("nan"))])
def test_what_is_not_finite_changes_no_weight(tmp_path: Path, loss: float, gradient: float) -> None:
    network = model()
    state = state_of(tmp_path, network)
    before = copies(state)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    state.curve.add(step="1", loss="0.5")
    with pytest.raises(OptionError, match=r"no longer finite at step 8.*name another directory"):
        state.update(7, loss)
    assert all(torch.equal(tensor, before[name]) for name, tensor in copies(state).items())
    assert (tmp_path / "loss.csv").read_text().splitlines()[1:] == ["1,0.5,"]


def test_the_best_weights_are_put_back(tmp_path: Path) -> None:
    network = model()
    state = state_of(tmp_path, network)
    for step, loss in enumerate([0.9, 0.4, 0.4, 0.7], 1):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(step)
        state.keep_if_best(step, loss)
    state.load_best()
    assert all((parameter == 2).all() for parameter in network.parameters())  # of equal ones the first
    assert (state.progress.best_step, state.progress.best_loss) == (2, 0.4)


@given(losses=st.lists(st.floats(0, 9), max_size=8), scored=st.booleans(), data=st.data())
def test_the_score_decides_where_there_is_one(losses: list[float], scored: bool, data: st.DataObject) -> None:
    """A run has a score at every validation or at none."""
    scores = [data.draw(st.floats(0, 9)) if scored else None for _ in losses]
    progress = Progress()
    for step, (loss, score) in enumerate(zip(losses, scores, strict=True)):
        if progress.is_worse_than(loss, score):
            progress = Progress(best_loss=loss, best_score=score, best_step=step)
    values = [-score for score in scores if score is not None] if scored else losses
    assert progress.best_step == (values.index(min(values)) if values else None)
    if progress.best_step is not None:
        assert progress.best_loss == losses[progress.best_step]
    assert not progress.is_worse_than(None, None)


def test_a_group_s_rate_multiplies_the_learning_rate(tmp_path: Path) -> None:
    one, other = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([{"params": [one]}, {"params": [other], "rate": 20.0}], lr=9.0)
    curve = LossCurve(str(tmp_path / "c"), COLUMNS)
    state = TrainingState(str(tmp_path), "", {"one": one, "other": other}, optimizer, curve)
    state.set_learning_rate(0.01)
    one.grad, other.grad = torch.ones(1), torch.ones(1)
    state.update(0, 1.0)
    assert (one.item(), other.item()) == (pytest.approx(0.99), pytest.approx(0.8))


def test_only_matrices_decay_and_shared_weights_count_once() -> None:
    network = model()
    network.tied = network[0]
    network[3].weight.requires_grad_(False)
    parameters = trainable_parameters(net=network, again=network[1])
    assert list(parameters) == ["net.0.weight", "net.0.bias", "net.1.weight", "net.1.bias", "net.3.bias",
                                "again.weight", "again.bias"]  # fmt: skip
    matrices, others = parameter_groups(network.parameters(), 0.1)
    assert [p.ndim for p in matrices["params"]] == [2, 2]
    assert {p.ndim for p in others["params"]} == {1}
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.1, 0.0)


@given(steps=st.sets(st.tuples(st.integers(0, 10**6), st.integers(0, 4000)), max_size=50))
def test_every_part_of_every_step_has_a_dropout_of_its_own(steps: set[tuple[int, int]]) -> None:
    assert len({dropout_seed(1234, step, part) for step, part in steps}) == len(steps)
