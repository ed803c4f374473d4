"""Text-only training, from top to bottom, whatever the method.

A mapper and a language model learn to rebuild a caption from a CLAP *text* embedding and what stands beside it in the
prompt. No sound is heard; at inference the embedding of a sound takes the text's place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from sonogloss import files
from sonogloss.errors import OptionError
from sonogloss.training.batches import Examples, Source, collate
from sonogloss.training.checkpoint import Progress, load_checkpoint, save_checkpoint, trainable
from sonogloss.training.config import TrainingConfig
from sonogloss.training.objective import answer_losses, check_fit, check_trunk, prepare
from sonogloss.training.parallel import ProcessGroup, join_process_group
from sonogloss.training.precision import DIGEST_NAMES, choose_precision, describe_precision

CURVE = "loss.csv"


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRecord:
    """What a run did.

    `loss` is the mean over the last hundred steps, in nats a token; `validation_loss` and `score` are those of the
    weights that were kept, and `best_step` the number of steps after which they were measured (None where nothing was);
    `left_out` counts captions too long for the language model; `seconds` is this process's share. `language_model` is
    the trained model, with its adapter if any.
    """

    steps: int
    samples: int
    left_out: int
    seconds: float
    loss: float
    validation_loss: float | None
    score: float | None
    best_step: int | None
    config: TrainingConfig
    language_model: PreTrainedModel

    def as_json(self) -> dict[str, Any]:
        """Everything but the model, for a captioner's `training` entry."""
        values = {name: value for name, value in vars(self).items() if name not in ("language_model", "config")}
        return values | {"config": asdict(self.config)}


def train(
    source: Source,
    *,
    language_model: PreTrainedModel,
    mapper: nn.Module | None,
    config: TrainingConfig,
    directory: str,
    score: Callable[[Any, nn.Module | None], float] | None = None,
    resume: bool = False,
    log: Callable[[str], None] = print,
    group: ProcessGroup | None = None,
) -> TrainingRecord:
    """Train a mapper and a language model on captions alone.

    The modules learn in place. What is left in them are the weights of the highest score or, without one, of the lowest
    validation loss; the last weights where nothing is measured. The directory receives `loss.csv` (step, loss,
    validation_loss, score, lr, samples_per_s) and `checkpoint.safetensors`. The same arguments give the same weights on
    the same kind of device and number of threads, with or without an interruption. Several processes give those of one,
    but for rounding and for dropout, of which each has its own.

    Args:
        source: what each step learns from.
        language_model: a causal language model on its device; in float32 when all its weights are to learn.
        mapper: fills the prompt's audio slots; None when it has none.
        config: the numbers.
        directory: where the run keeps its files.
        score: looks at model and mapper, in evaluation mode, every `config.eval_every` steps; the larger the better.
        resume: go on from the directory's checkpoint, when there is one.
        log: receives a line now and then.
        group: the processes that train together; by default those that a launcher started.

    Raises:
        OptionError: the arguments do not fit together, or the loss is no longer finite (the last checkpoint stays).
        ModelFormatError: the tokenizer is not the language model's, or the latter's logits are not its trunk's outputs
            times its output matrix.
        OutputError: a file cannot be written (the last checkpoint stays).
    """
    check_fit(source, language_model, mapper, config)
    group = group or join_process_group(language_model.device.type)
    device = language_model.device
    first_line = f"{describe_precision(config.precision, device.type)}, device {device}, {config.steps:,} steps"
    config = replace(config, precision=choose_precision(config.precision, device.type))  # type: ignore[arg-type]

    # What learns.
    with _own_randomness(device):
        torch.manual_seed(config.seed)  # an adapter begins with random numbers
        model = prepare(language_model, config)
    modules = {"language_model": model} if mapper is None else {"mapper": mapper, "language_model": model}
    if mapper is not None:
        mapper.to(device).requires_grad_(True).train()
    model.train()
    parameters = trainable(**modules)
    matrices = [p for p in parameters.values() if p.ndim >= 2]
    others = [p for p in parameters.values() if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
    )
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
    log(f"{first_line}, {sum(p.numel() for p in parameters.values()):,} trainable parameters")
    if source.left_out:
        log(f"{source.left_out} captions are too long for the language model and are left out")
    held_out = source.held_out()
    check_trunk(model, mapper, collate(source.at(0)))

    # Where an earlier run stopped.
    progress, best = Progress(), dict[str, Tensor]()
    rows: list[str] = []
    run = run_fingerprint(source, config, looked_at=bool(held_out) or score is not None)
    if resume and (found := load_checkpoint(directory, parameters, optimiser, scaler, run)) is not None:
        progress, best = found
        rows = _read_rows(directory)[: progress.step]
        log(f"going on after step {progress.step}")

    # The steps.
    began, first, samples = time.perf_counter(), progress.step, 0
    losses = [float(row.split(",")[1]) for row in rows[-100:]]
    with _own_randomness(device):
        for step in range(first, config.steps):
            tick = time.perf_counter()
            rate = config.learning_rate_at(step)
            for options in optimiser.param_groups:
                options["lr"] = rate
            examples = source.at(step)
            mine, answers = examples.part(group.rank, group.world_size), examples.answers
            total = torch.zeros((), device=device)
            for number in range(config.accumulation):
                part = mine.part(number, config.accumulation)
                if not part.sequences:
                    continue
                torch.manual_seed(_dropout_seed(config.seed, step, number * group.world_size + group.rank))
                loss = answer_losses(model, mapper, collate(part), precision=config.precision).sum() / answers
                scaler.scale(loss).backward()
                total += loss.detach()
            _all_reduce(group, parameters.values(), total)
            scaler.unscale_(optimiser)
            norm = nn.utils.clip_grad_norm_(list(parameters.values()), config.grad_clip or math.inf)
            value = total.item()
            # With a scaled loss an infinite gradient is only a sign that the scale is too large: the step is left out.
            if not math.isfinite(value) or not (scaler.is_enabled() or torch.isfinite(norm)):
                if group.is_main_process:
                    _write_rows(directory, rows)
                raise _not_finite(step, rate, directory)
            scaler.step(optimiser)
            scaler.update()
            optimiser.zero_grad(set_to_none=True)
            losses.append(value)
            samples += len(examples.sequences)
            speed = len(examples.sequences) / (time.perf_counter() - tick)

            # A look at what it has not seen.
            done, seen, scored = step + 1, "", ""
            if (held_out or score) and (done % config.eval_every == 0 or done == config.steps):
                look = _look(model, mapper, held_out, score, config, group)
                seen, scored = (f"{number:.6f}" if number is not None else "" for number in look)
                if progress.is_beaten_by(*look):
                    progress = replace(progress, best_loss=look[0], best_score=look[1], best_step=done)
                    best = {name: p.detach().clone() for name, p in parameters.items()}
            rows.append(f"{done},{value:.6f},{seen},{scored},{rate:.4e},{speed:.1f}")

            # What is kept.
            if done % config.checkpoint_every == 0 or done == config.steps:
                progress = replace(progress, step=done)
                if group.is_main_process:
                    save_checkpoint(directory, parameters, optimiser, scaler, best, progress, run)
                    _write_rows(directory, rows)
            if done % max(1, config.steps // 50) == 0 or seen or scored:
                pace = samples / (time.perf_counter() - began)
                looks = "".join(f", {name} {text}" for name, text in (("validation", seen), ("score", scored)) if text)
                log(f"step {done}: loss {np.mean(losses[-100:]):.4f}{looks}, {pace:.0f} samples/s")

    with torch.no_grad():
        for name, tensor in best.items():
            parameters[name].copy_(tensor)
    for module in modules.values():
        module.eval()
    return TrainingRecord(
        steps=config.steps,
        samples=config.steps * len(source.at(0).sequences),
        left_out=source.left_out,
        seconds=time.perf_counter() - began,
        loss=float(np.mean(losses[-100:])),
        validation_loss=progress.best_loss,
        score=progress.best_score,
        best_step=progress.best_step,
        config=config,
        language_model=model,
    )


def run_fingerprint(source: Source, config: TrainingConfig, *, looked_at: bool) -> str:
    """Which run is this? Settings that do not touch the weights, but for rounding, are left out."""
    shaping = replace(config, checkpoint_every=1, eval_every=config.eval_every * looked_at or 1)
    return repr((source.fingerprint, shaping)).replace(repr(config.precision), repr(DIGEST_NAMES[config.precision]))


def _dropout_seed(seed: int, step: int, part: int) -> int:
    return ((seed * 1_000_003 + step) * 4_099 + part) % 2**63


def _all_reduce(group: ProcessGroup, parameters: Any, total: Tensor) -> None:
    """Gradients and loss over all processes; one that had no examples adds nothing."""
    if group.world_size == 1:
        return
    tensors = [total]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        tensors.append(parameter.grad)
    group.all_reduce(tensors)


@torch.no_grad()
def _look(
    model: Any,
    mapper: nn.Module | None,
    held_out: Sequence[Examples],
    score: Callable[[Any, nn.Module | None], float] | None,
    config: TrainingConfig,
    group: ProcessGroup,
) -> tuple[float | None, float | None]:
    """The loss over all tokens of all held-out batches, and the score; each None where there is nothing to measure."""
    training = [module for module in (model, mapper) if module is not None]
    for module in training:
        module.eval()
    loss = scored = None
    if held_out:
        total = torch.zeros(2, dtype=torch.float64)
        for examples in held_out[group.rank :: group.world_size]:
            losses = answer_losses(model, mapper, collate(examples), precision=config.precision)
            total += torch.tensor([losses.double().sum().item(), len(losses)])
        on_device = total.to(model.device)
        group.all_reduce([on_device])
        loss = (on_device[0] / on_device[1]).item()
    if score is not None:
        given = torch.tensor([score(model, mapper) if group.is_main_process else 0.0], device=model.device)
        group.all_reduce([given])
        scored = given.item()
    for module in training:
        module.train()
    return loss, scored


def _not_finite(step: int, rate: float, directory: str) -> OptionError:
    return OptionError(
        f"The loss is no longer finite at step {step + 1} (learning rate {rate:g}); "
        f"the last checkpoint in {directory!r} is kept.",
        "Lower the learning rate or clip the gradient. Such a change begins a new run: name another directory.",
    )


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leave the global generators as they were found."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


_HEADER = "step,loss,validation_loss,score,lr,samples_per_s"


def _write_rows(directory: str, rows: Sequence[str]) -> None:
    files.write_bytes(files.join(directory, CURVE), "\n".join([_HEADER, *rows, ""]).encode())


def _read_rows(directory: str) -> list[str]:
    path = files.join(directory, CURVE)
    return files.read_bytes(path).decode().splitlines()[1:] if files.exists(path) else []
