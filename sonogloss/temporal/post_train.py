"""TeminAL's post-training, from top to bottom: stage A tells one sound from two, stage B in which order they come.

A CLAP that exists goes on learning, from pairs of clips whose order is known because they were put together here
(arXiv 2408.09269). Only its last layers and projections move.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from sonogloss import files
from sonogloss.errors import OptionError
from sonogloss.temporal.batches import PairBatches
from sonogloss.temporal.clips import hold_out_sources
from sonogloss.temporal.config import PostTrainConfig
from sonogloss.temporal.features import ClipPowers
from sonogloss.temporal.objective import Anchor, Validation, make_anchor, stage_loss
from sonogloss.temporal.towers import POSITIONS, Towers
from sonogloss.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from sonogloss.training.precision import DIGEST_NAMES, describe_precision

CURVE = "loss.csv"
_HEADER = "stage,step,loss,validation_loss,validation_order,lr,sounds_per_s"


@dataclass(frozen=True, kw_only=True)
class PostTrainRecord:
    """What a run did, for the model card. Losses are means over each stage's last fifty steps, in nats.

    `validation_order` is the share of held-out forward and reverse clips nearer to their own sentence than to the other
    order's, after the last stage; None without validation clips. `seconds` is this process's share.
    """

    clips: int
    classes: int
    validation_clips: int
    losses: dict[str, float]
    validation_order: float | None
    seconds: float
    config: PostTrainConfig

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "config": asdict(self.config)}


def post_train(
    towers: Towers,
    powers: ClipPowers,
    config: PostTrainConfig,
    directory: str,
    *,
    resume: bool = False,
    log: Callable[[str], None] = print,
) -> PostTrainRecord:
    """Let a CLAP learn order; its towers change in place.

    The directory receives `loss.csv` and, a stage, `A/checkpoint.safetensors`. The same arguments give the same weights
    on the same kind of device and number of threads, with or without an interruption.

    Args:
        towers: the CLAP, in training mode or not.
        powers: the clips, at least two classes a collection.
        config: the numbers.
        directory: where the run keeps its files.
        resume: go on from the directory's checkpoints, when there are any.
        log: receives a line now and then.

    Raises:
        OptionError: too few classes, a loss that is no longer finite (the last checkpoint stays), or a checkpoint of
            another run.
    """
    began = time.perf_counter()
    log(
        f"{describe_precision(config.precision, towers.model.device.type)}, device {towers.model.device}, "
        f"{config.steps:,} steps a stage"
    )
    config = replace(config, precision=towers.precision)  # type: ignore[arg-type]
    learning, held_out = hold_out_sources(powers.clips, config.validation_share, config.seed)
    run = _run_digest(towers, powers, config)
    validation = Validation(powers, held_out, towers, config) if len({clip.label for clip in held_out}) > 1 else None
    anchor: Anchor | None = None
    rows: list[str] = []
    losses: dict[str, float] = {}
    order: float | None = None
    for stage in config.stages:
        batches = PairBatches(stage, powers, learning, towers.mel, config)
        if config.anchor and anchor is None:
            anchor = make_anchor(towers, batches, learning)
        losses[stage], order = _train_stage(
            stage, towers, batches, validation, anchor, config, directory, run, rows, resume=resume, log=log
        )
    towers.eval()
    return PostTrainRecord(
        clips=len(learning),
        classes=len({clip.label for clip in learning}),
        validation_clips=len(held_out),
        losses=losses,
        validation_order=order,
        seconds=time.perf_counter() - began,
        config=config,
    )


def _train_stage(
    stage: str,
    towers: Towers,
    batches: PairBatches,
    validation: Validation | None,
    anchor: Anchor | None,
    config: PostTrainConfig,
    directory: str,
    run: str,
    rows: list[str],
    *,
    resume: bool,
    log: Callable[[str], None],
) -> tuple[float, float | None]:
    """One stage; returns its last losses' mean and the order accuracy on held-out clips."""
    parameters = towers.parameters()
    optimiser = torch.optim.AdamW(_groups(parameters, config), lr=config.learning_rate, fused=True)
    # Where an earlier run stopped.
    own, first = files.join(directory, stage), 0
    scaler = torch.amp.GradScaler(enabled=False)
    if resume and (found := load_checkpoint(own, parameters, optimiser, scaler, run)) is not None:
        first = found[0].step
        rows += [row for row in _read_rows(directory) if row.startswith(f"{stage},")][:first]
        log(f"stage {stage}: going on after step {first}")
    losses = [float(row.split(",")[2]) for row in rows if row.startswith(f"{stage},")]
    order = next((float(cell) for row in reversed(rows) if (cell := row.split(",")[4])), None)

    # The steps.
    began = time.perf_counter()
    device = towers.model.device
    towers.train()
    with _own_randomness(device):
        for step in range(first, config.steps):
            tick = time.perf_counter()
            rate = config.learning_rate_at(step)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["rate"]
            batch = batches.at(step)
            torch.manual_seed(config.seed * 1_000_003 + step)  # dropout
            loss = stage_loss(stage, towers, batch, config, anchor)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(list(parameters.values()), config.grad_clip or math.inf)
            value = loss.item()
            if not math.isfinite(value) or not torch.isfinite(norm):
                _write_rows(directory, rows)
                raise OptionError(
                    f"The loss is no longer finite at step {step + 1} of stage {stage} (learning rate {rate:g}).",
                    "Lower the learning rate, then resume from the last checkpoint.",
                )
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            losses.append(value)
            speed = len(batch.mels) / (time.perf_counter() - tick)

            # A look at what it has not seen, and what is kept.
            done, seen = step + 1, ("", "")
            if validation and (done % config.eval_every == 0 or done == config.steps):
                validation_loss, order = validation.look(stage)
                towers.train()
                seen = (f"{validation_loss:.6f}", f"{order:.4f}")
            rows.append(f"{stage},{done},{value:.6f},{seen[0]},{seen[1]},{rate:.4e},{speed:.1f}")
            if done % config.checkpoint_every == 0 or done == config.steps:
                _write_rows(directory, rows)  # first: rows beyond a checkpoint are cut off, missing ones stay missing
                save_checkpoint(own, parameters, optimiser, scaler, {}, Progress(step=done), run)
            if done % max(1, config.steps // 10) == 0:
                pace = (done - first) * len(batch.mels) / (time.perf_counter() - began)
                suffix = f", validation {seen[0]}, order {seen[1]}" if seen[0] else ""
                log(f"stage {stage}, step {done}: loss {np.mean(losses[-50:]):.4f}{suffix}, {pace:.0f} sounds/s")
    return float(np.mean(losses[-50:])), order


def _groups(parameters: Mapping[str, nn.Parameter], config: PostTrainConfig) -> list[dict[str, Any]]:
    """The optimiser's groups: position biases have a rate of their own, and only matrices decay."""
    places = [p for name, p in parameters.items() if POSITIONS in name]
    others = [p for name, p in parameters.items() if POSITIONS not in name]
    return [
        {"params": [p for p in others if p.ndim >= 2], "weight_decay": config.weight_decay, "rate": 1.0},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0, "rate": 1.0},
        {"params": places, "weight_decay": 0.0, "rate": config.position_rate},
    ]


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leave the global generators as they were found."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _run_digest(towers: Towers, powers: ClipPowers, config: PostTrainConfig) -> str:
    """Which run a checkpoint belongs to: the CLAP it began with, the clips, and what shapes a step."""
    shape = asdict(config)
    del shape["checkpoint_every"]
    shape["precision"] = DIGEST_NAMES[config.precision]
    facts = [towers.clap.fingerprint, sorted((clip.id, clip.label) for clip in powers.clips), shape]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _write_rows(directory: str, rows: list[str]) -> None:
    files.write_bytes(files.join(directory, CURVE), "\n".join([_HEADER, *rows, ""]).encode())


def _read_rows(directory: str) -> list[str]:
    path = files.join(directory, CURVE)
    return files.read_bytes(path).decode().splitlines()[1:] if files.exists(path) else []
